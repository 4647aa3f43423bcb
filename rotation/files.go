package rotation

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"sealpost/config"
)

// Files are where a secret of ours and its previous value are kept, both in files.
type Files struct {
	Secret         string
	Path, Previous string
	current        string // as the file says it
	removable      bool   // without a previous value its file may be absent; else it is there, and empty
}

// FilesOf finds the files of a secret that can be rotated by replacing them: JWT_SECRET,
// DATA_ENCRYPTION_KEY, AUDIT_SIGNING_KEY. Where it is not kept in files, the error says what its
// operator has to do instead.
func FilesOf(s config.Secrets, name string) (Files, error) {
	current, previous := s.JWT, s.JWTPrevious
	switch name {
	case JWTSecret:
	case DataEncryptionKey:
		current, previous = s.Data, s.DataPrevious
	case AuditSigningKey:
		current, previous = s.Audit, s.AuditPrevious
	default:
		return Files{}, fmt.Errorf("%s is not among what can be rotated by replacing a file", name)
	}
	if !current.IsSet() {
		return Files{}, fmt.Errorf("%s is not set yet: start the server once, which makes it", name)
	}
	f := Files{
		Secret: name, Path: current.Source().Path, Previous: previous.Source().Path, current: string(current.Reveal()),
		removable: current.Source().Kind == config.Generated,
	}
	if name != JWTSecret {
		f.current = base64.StdEncoding.EncodeToString(current.Reveal())
	}
	switch kind := current.Source().Kind; {
	case kind == config.Credential:
		return Files{}, fmt.Errorf("%s is a credential of the service manager, which cannot be written from here.\n%s", name, byHand(name,
			"in the files that the unit's LoadCredential= names"))
	case kind != config.File && kind != config.Generated:
		return Files{}, fmt.Errorf("%s comes from an environment variable, which cannot be changed from here.\n%s", name, byHand(name,
			"wherever the variables are kept"))
	case f.Previous == "" || previous.Source().Kind == config.Credential:
		return Files{}, fmt.Errorf("%s is in a file and %s_PREVIOUS is not. Make an empty file for it, readable by the server, "+
			"name it in %s_PREVIOUS_FILE, restart the servers, and run this again", name, name, name)
	}
	return f, nil
}

// byHand is what to do where a command cannot.
func byHand(name, where string) string {
	return fmt.Sprintf(`Do it by hand:
  1. make a new secret:  openssl rand -base64 32
  2. %[2]s, set %[1]s_PREVIOUS to what %[1]s is now, and %[1]s to the new secret
     (after a leak of JWT_SECRET leave JWT_SECRET_PREVIOUS unset: its tokens then stop at once)
  3. restart each server; none signs with the new secret before all that run have it
  4. record it:  POST /api/admin/security/secret-rotation/record
     and look:   GET /api/admin/security/secret-rotation/status
To have this command do it the next time, keep both in files and name those in %[1]s_FILE and
%[1]s_PREVIOUS_FILE: servers read them again by themselves.`, name, where)
}

// Replace makes a new secret and puts it into its file, and the one until now into the previous one's;
// after a leak there is no previous one. The previous one is written first, so that at no time a server
// that looks finds the new one alone. undo puts back what was there. Where it fails nothing has changed.
func (f Files) Replace(leaked bool) (undo func() error, err error) {
	b := make([]byte, 32)
	_, _ = rand.Read(b)
	before, err := readIfThere(f.Previous)
	if err != nil {
		return nil, err
	}
	next := base64.StdEncoding.EncodeToString(b)
	keep := &f.current
	if leaked {
		keep = nil
	}
	// Both are on disk before either gets its name: a full disk is met here.
	current, err := f.stage(f.Path, next)
	if err != nil {
		return nil, err
	}
	if err := f.put(f.Previous, keep); err != nil {
		return nil, errors.Join(err, os.Remove(current))
	}
	if err := os.Rename(current, realPath(f.Path)); err != nil {
		return nil, errors.Join(fmt.Errorf("replace %s: %w", f.Path, err), os.Remove(current), f.put(f.Previous, before))
	}
	undo = func() error {
		return errors.Join(f.put(f.Path, &f.current), f.put(f.Previous, before))
	}
	return undo, syncFolder(f.Path)
}

// put makes a file hold a text, whole or not at all; nil: nothing.
func (f Files) put(path string, text *string) error {
	if text == nil && f.removable {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return syncFolder(path)
	}
	if text == nil {
		text = new(string)
	}
	staged, err := f.stage(path, *text)
	if err != nil {
		return err
	}
	if err := os.Rename(staged, realPath(path)); err != nil {
		return errors.Join(fmt.Errorf("replace %s: %w", path, err), os.Remove(staged))
	}
	return syncFolder(path)
}

// stage writes a file beside the one that it is to replace, for its owner alone. It belongs to whom the
// secret's file belongs to, and is readable by the group where that is: a server that runs under another
// account than whoever rotates must be able to read it.
func (f Files) stage(path, text string) (string, error) {
	info, err := os.Stat(f.Path)
	if err != nil {
		return "", err
	}
	temp, err := os.CreateTemp(filepath.Dir(realPath(path)), "."+filepath.Base(path)+"-*") // exclusive, 0600
	if err != nil {
		return "", err
	}
	if text != "" {
		text += "\n"
	}
	_, err = temp.WriteString(text)
	err = errors.Join(err, temp.Chmod(0o600|info.Mode().Perm()&0o040), sameOwner(temp, info), temp.Sync(), temp.Close())
	if err != nil {
		return "", errors.Join(fmt.Errorf("write beside %s: %w", path, err), os.Remove(temp.Name()))
	}
	return temp.Name(), nil
}

// sameOwner gives a new file the owner and group of another one.
func sameOwner(f *os.File, like os.FileInfo) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	got, ok := info.Sys().(*syscall.Stat_t)
	want, ok2 := like.Sys().(*syscall.Stat_t)
	if !ok || !ok2 || got.Uid == want.Uid && got.Gid == want.Gid {
		return nil
	}
	return f.Chown(int(want.Uid), int(want.Gid))
}

// realPath follows links, so that the file and not the link to it is replaced.
func realPath(path string) string {
	if real, err := filepath.EvalSymlinks(path); err == nil {
		return real
	}
	return path
}

// readIfThere gives what a file of a secret holds, nil where there is none or it is empty.
func readIfThere(path string) (*string, error) {
	content, err := os.ReadFile(path) //nolint:gosec // the operator names the file
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil //nolint:nilnil // nothing is there
	}
	if err != nil {
		return nil, err
	}
	text := strings.TrimRight(string(content), "\r\n")
	if text == "" {
		return nil, nil //nolint:nilnil // nor here
	}
	return &text, nil
}

// syncFolder puts a folder's new names on disk.
func syncFolder(path string) error {
	d, err := os.Open(filepath.Dir(realPath(path)))
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
