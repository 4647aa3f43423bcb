package config

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// A file of secrets holds one value; a larger file is not what its name says.
const maxSecretFile = 64 << 10

// readSecretFile gives what a file holds, without one newline at its end. Its errors tell nothing of
// the content.
func readSecretFile(path string) (string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return "", err
	}
	if !info.Mode().IsRegular() { // a pipe could not be read again, and would keep the start waiting
		return "", &fs.PathError{Op: "read", Path: path, Err: errors.New("not a regular file")}
	}
	f, err := os.Open(path) //nolint:gosec // the operator names the file
	if err != nil {
		return "", err
	}
	defer f.Close() //nolint:errcheck // it was only read
	content, err := io.ReadAll(io.LimitReader(f, maxSecretFile+1))
	if err != nil {
		return "", err
	}
	if len(content) > maxSecretFile {
		return "", &fs.PathError{Op: "read", Path: path, Err: fmt.Errorf("larger than %d bytes", maxSecretFile)}
	}
	if text, cut := strings.CutSuffix(string(content), "\n"); cut {
		return strings.TrimSuffix(text, "\r"), nil
	}
	return string(content), nil
}

// whyUnread says why the file that a variable names cannot be read. It shows the path only where it is
// one for sure: people also put the secret itself into NAME_FILE.
func whyUnread(path string, err error) string {
	dir := filepath.Dir(path)
	if _, lookup := os.Stat(path); lookup != nil {
		if _, lookup = os.Stat(dir); lookup != nil || dir == "." || dir == "/" {
			return bytesOf(path) + " that are the path of no file"
		}
	}
	if failed, ok := errors.AsType[*fs.PathError](err); ok {
		err = failed.Err
	}
	return fmt.Sprintf("%s (%v)", path, err)
}

// keptPath is where a secret that nobody has set is kept.
func (c *Config) keptPath(name string) string {
	return filepath.Join(c.DataDir, "secrets", name)
}

// find gives the text of a secret and where it is from: the variable or the file that NAME_FILE names,
// else the service manager's credential, else what an earlier start has kept. ok is false where that
// is already a problem. A secret of a rotation that is in none of them is given the path where it may
// appear while the program runs.
func (r *reading) find(v variable) (text string, from Source, ok bool) {
	text, file := r.env[v.Name], r.env[v.Name+"_FILE"]
	switch {
	case text != "" && file != "":
		r.problem(v.Name, fmt.Sprintf("both %s and %s_FILE", v.Name, v.Name), "one of the two")
		return "", from, false
	case text != "":
		return text, Source{Kind: Environment}, true
	case file != "":
		text, err := readSecretFile(file)
		if err != nil {
			r.problem(v.Name+"_FILE", whyUnread(file, err), "the path of a file that can be read")
			return "", from, false
		}
		return text, Source{File, file}, true
	}
	var places []Source
	if dir := r.env[credentialsDirectory]; dir != "" {
		places = append(places, Source{Credential, filepath.Join(dir, v.Name)})
	}
	if v.kind.kept(r.config.Production()) {
		places = append(places, Source{Generated, r.config.keptPath(v.Name)})
	}
	for _, place := range places {
		text, err := readSecretFile(place.Path)
		switch {
		case absent(err):
			continue
		case err != nil:
			r.problem(v.Name, whyUnread(place.Path, err), "a file that can be read")
			return "", from, false
		}
		if place.Kind == Generated {
			r.warnIfOpen(place.Path)
		}
		return text, place, true
	}
	if v.kind.previous && len(places) > 0 {
		from = places[0]
	}
	return "", from, true
}

// absent tells whether an error means that there is no such file, or no directory in which it could be.
func absent(err error) bool { return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) }

// warnIfOpen warns when other users of the machine can read a file that Sealpost has made private.
func (r *reading) warnIfOpen(path string) {
	if info, err := os.Stat(path); err == nil && info.Mode().Perm()&0o077 != 0 {
		r.warn("%s can be read by other users (mode %#o): chmod 600, and rotate it if they may have", path, info.Mode().Perm())
	}
}

// Reload reads the secret's file again. changed tells whether it holds another value, which is then
// the result's. A secret that did not come from a file stays as it is, and so does every secret when
// there is an error: the file is gone, unreadable, or holds what the secret may not be. A _PREVIOUS
// secret is unset by an empty file.
//
// The file should be replaced by renaming another one onto it. One that is written in place can be
// seen half written.
func (s Secret) Reload() (next Secret, changed bool, err error) {
	if s.kind == nil || s.source.Path == "" {
		return s, false, nil
	}
	text, err := readSecretFile(s.source.Path)
	switch {
	case absent(err) && s.kind.previous && s.source.Kind != File:
		text = "" // nobody has said that it must be there
	case err != nil:
		return s, false, fmt.Errorf("reload %s: %w", s.name, err)
	}
	next, err = s.taking(text)
	if err != nil {
		return s, false, fmt.Errorf("reload %s: %s holds %w", s.name, s.source.Path, err)
	}
	return next, !next.Equal(s), nil
}

// taking gives the same secret with the value that a text stands for.
func (s Secret) taking(text string) (Secret, error) {
	if text == "" && s.kind.previous {
		s.open = nil
		return s, nil
	}
	if text == "" {
		return s, errors.New("nothing")
	}
	value, err := s.kind.read(text, s.production)
	if err != nil {
		return s, err
	}
	return s.holding(value, text), nil
}
