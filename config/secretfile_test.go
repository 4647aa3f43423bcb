package config

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func write(t *testing.T, path, text string) string {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestSourcesOfASecret(t *testing.T) {
	dir := t.TempDir()
	values := map[string]string{}
	for _, name := range []string{"environment", "file", "credential", "generated"} {
		values[name] = randomKey()
	}
	file := write(t, filepath.Join(dir, "jwt.txt"), values["file"]+"\n")
	credentials, data := filepath.Join(dir, "credentials"), filepath.Join(dir, "data")
	credential := write(t, filepath.Join(credentials, "JWT_SECRET"), values["credential"]+"\r\n")
	kept := write(t, filepath.Join(data, "secrets", "JWT_SECRET"), values["generated"])

	for _, tt := range []struct {
		environ []string
		want    Source
	}{
		{[]string{"JWT_SECRET=" + values["environment"]}, Source{Environment, ""}},
		{[]string{"JWT_SECRET=" + values["environment"], "CREDENTIALS_DIRECTORY=" + credentials}, Source{Environment, ""}},
		{[]string{"JWT_SECRET_FILE=" + file, "CREDENTIALS_DIRECTORY=" + credentials}, Source{File, file}},
		{[]string{"CREDENTIALS_DIRECTORY=" + credentials}, Source{Credential, credential}},
		{[]string{"CREDENTIALS_DIRECTORY=" + dir}, Source{Generated, kept}},
		{nil, Source{Generated, kept}},
	} {
		got := mustParse(t, append([]string{"DATA_DIR=" + data}, tt.environ...)).Secrets.JWT
		if got.Source() != tt.want || string(got.Reveal()) != values[string(tt.want.Kind)] {
			t.Errorf("%v: from %v, want %v", tt.environ, got.Source(), tt.want)
		}
	}
	// Production does not take what development has left behind.
	only(t, "JWT_SECRET", append(production(t, "JWT_SECRET="), "DATA_DIR="+data))
	if got := mustParse(t, production(t, "JWT_SECRET=", "CREDENTIALS_DIRECTORY="+credentials)).Secrets.JWT; got.Source().Kind != Credential {
		t.Error(got.Source())
	}
}

func TestWrongSources(t *testing.T) {
	dir := t.TempDir()
	file := write(t, filepath.Join(dir, "file"), randomKey())
	empty := write(t, filepath.Join(dir, "empty"), "\n")
	short := write(t, filepath.Join(dir, "short"), "four\n")
	lines := write(t, filepath.Join(dir, "lines"), randomKey()+"\n\n")
	large := write(t, filepath.Join(dir, "large"), strings.Repeat("x", maxSecretFile+1))
	folder := filepath.Join(dir, "folder")
	write(t, filepath.Join(folder, "JWT_SECRET", "inside"), "")
	pipe := filepath.Join(dir, "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	const readable = "the path of a file that can be read"
	for _, tt := range []struct {
		environ []string
		want    Problem
	}{
		{[]string{"JWT_SECRET=" + randomKey(), "JWT_SECRET_FILE=" + file}, Problem{"JWT_SECRET", "both JWT_SECRET and JWT_SECRET_FILE", "one of the two"}},
		{[]string{"JWT_SECRET_FILE=" + dir + "/none"}, Problem{"JWT_SECRET_FILE", dir + "/none (no such file or directory)", readable}},
		{[]string{"JWT_SECRET_FILE=/no/such/thing"}, Problem{"JWT_SECRET_FILE", "14 bytes that are the path of no file", readable}},
		{[]string{"JWT_SECRET_FILE=" + dir}, Problem{"JWT_SECRET_FILE", dir + " (not a regular file)", readable}},
		{[]string{"JWT_SECRET_FILE=" + pipe}, Problem{"JWT_SECRET_FILE", pipe + " (not a regular file)", readable}},
		{[]string{"JWT_SECRET_FILE=" + large}, Problem{"JWT_SECRET_FILE", large + " (larger than 65536 bytes)", readable}},
		{[]string{"JWT_SECRET_FILE=" + empty}, Problem{"JWT_SECRET", "nothing in the file " + empty, "at least 32 bytes"}},
		{[]string{"JWT_SECRET_FILE=" + short}, Problem{"JWT_SECRET", "4 bytes in the file " + short, "at least 32 bytes"}},
		{[]string{"JWT_SECRET_FILE=" + lines}, Problem{"JWT_SECRET", errUnclean.Error() + " in the file " + lines, "at least 32 bytes"}},
		{[]string{"DATABASE_URL_FILE=" + empty}, Problem{"DATABASE_URL", "nothing in the file " + empty, "sqlite:PATH, or a postgres:// URL, which may name several hosts"}},
		{[]string{"CREDENTIALS_DIRECTORY=" + folder}, Problem{"JWT_SECRET", folder + "/JWT_SECRET (not a regular file)", "a file that can be read"}},
	} {
		if got := problemsOf(t, development(t, tt.environ...))[0]; got != tt.want {
			t.Errorf("%v:\n got %v\nwant %v", tt.environ, got, tt.want)
		}
	}
}

func TestOpenFileOfAGeneratedSecretIsWarnedAbout(t *testing.T) {
	environ := development(t)
	c, _, err := Load(environ)
	if err != nil {
		t.Fatal(err)
	}
	path := c.Secrets.JWT.Source().Path
	if err := os.Chmod(path, 0o640); err != nil {
		t.Fatal(err)
	}
	_, warnings, err := Load(environ)
	if err != nil || len(warnings) != 1 || !strings.HasPrefix(warnings[0], path+" can be read by other users (mode 0640)") {
		t.Error(err, warnings)
	}
}

func TestReload(t *testing.T) {
	dir := t.TempDir()
	first, second := randomKey(), randomKey()
	path := write(t, filepath.Join(dir, "key"), first)
	s := mustParse(t, production(t, "DATA_ENCRYPTION_KEY=", "DATA_ENCRYPTION_KEY_FILE="+path)).Secrets.Data

	reload := func(wantChanged bool, wantErr string) {
		t.Helper()
		next, changed, err := s.Reload()
		if changed != wantChanged || changed == next.Equal(s) {
			t.Errorf("changed is %t, and the values are equal: %t", changed, next.Equal(s))
		}
		if (err == nil) != (wantErr == "") || (err != nil && err.Error() != wantErr) {
			t.Errorf("got error %v, want %s", err, wantErr)
		}
		s = next
	}
	reload(false, "")
	write(t, path, second+"\n")
	reload(true, "")
	if key, _ := base64Key(second, true); string(s.Reveal()) != string(key) || s.Source() != (Source{File, path}) {
		t.Error("the new key is not what the file holds")
	}
	reload(false, "")
	write(t, path, second[:20])
	reload(false, "reload DATA_ENCRYPTION_KEY: "+path+" holds base64 of 15 bytes")
	write(t, path, "")
	reload(false, "reload DATA_ENCRYPTION_KEY: "+path+" holds nothing")
	write(t, path, strings.Repeat("A", 43)+"=")
	reload(false, "reload DATA_ENCRYPTION_KEY: "+path+" holds "+errSample.Error())
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	reload(false, "reload DATA_ENCRYPTION_KEY: stat "+path+": no such file or directory")
	write(t, path, first)
	reload(true, "")
}

// The file of a previous key may be empty, and the places that Sealpost looks into by itself may have
// none, so that a rotation needs no restart to begin or to end.
func TestReloadOfAPreviousKey(t *testing.T) {
	dir := t.TempDir()
	named := filepath.Join(dir, "named")
	write(t, named, "")
	for name, tt := range map[string]struct {
		environ []string
		path    string
		kind    SourceKind
	}{
		"named":      {[]string{"JWT_SECRET_PREVIOUS_FILE=" + named}, named, File},
		"credential": {[]string{"CREDENTIALS_DIRECTORY=" + dir}, filepath.Join(dir, "JWT_SECRET_PREVIOUS"), Credential},
		"generated":  {[]string{"NODE_ENV=development", "DATA_DIR=" + dir}, filepath.Join(dir, "secrets", "JWT_SECRET_PREVIOUS"), Generated},
	} {
		t.Run(name, func(t *testing.T) {
			environ := production(t, tt.environ...)
			s := mustParse(t, environ).Secrets.JWTPrevious
			if s.IsSet() || s.Source() != (Source{Unset, tt.path}) {
				t.Fatal(s, s.Source())
			}
			if next, changed, err := s.Reload(); next.IsSet() || changed || err != nil {
				t.Fatal(next, changed, err)
			}
			value := randomKey()
			write(t, tt.path, value)
			next, changed, err := s.Reload()
			if string(next.Reveal()) != value || !changed || err != nil || next.Source() != (Source{tt.kind, tt.path}) {
				t.Fatal(next, changed, err, next.Source())
			}
			if again := mustParse(t, environ).Secrets.JWTPrevious; !again.Equal(next) {
				t.Error("the next start does not read it")
			}
			write(t, tt.path, "\n")
			if last, changed, err := next.Reload(); last.IsSet() || !changed || err != nil {
				t.Fatal(last, changed, err)
			}
			if err := os.Remove(tt.path); err != nil {
				t.Fatal(err)
			}
			last, changed, err := next.Reload()
			if gone := err != nil; gone != (tt.kind == File) || changed == gone || last.IsSet() != gone {
				t.Fatal(last, changed, err)
			}
		})
	}
}

func TestReloadWithoutAFile(t *testing.T) {
	s := mustParse(t, development(t, "JWT_SECRET="+randomKey())).Secrets.JWT
	if next, changed, err := s.Reload(); !next.Equal(s) || changed || err != nil {
		t.Error(fmt.Sprint(next, changed, err))
	}
}
