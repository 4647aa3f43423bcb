package rotation

import (
	"crypto/rand"
	"encoding/base64"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sealpost/config"
)

// configured reads a configuration whose secrets are given by env, and else generated.
func configured(t *testing.T, dir string, env ...string) config.Secrets {
	t.Helper()
	c, _, err := config.Load(append([]string{"NODE_ENV=test", "DATA_DIR=" + dir}, env...))
	if err != nil {
		t.Fatal(err)
	}
	return c.Secrets
}

func TestWhatCannotBeRotatedSaysWhatToDo(t *testing.T) {
	dir := t.TempDir()
	key := func(fill string) string { return base64.StdEncoding.EncodeToString([]byte(strings.Repeat(fill, 16))) }
	random := func() string {
		b := make([]byte, 32)
		_, _ = rand.Read(b)
		return base64.StdEncoding.EncodeToString(b)
	}
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	credentials := filepath.Join(dir, "credentials")
	if err := os.Mkdir(credentials, 0o700); err != nil {
		t.Fatal(err)
	}
	file("credentials/DATA_ENCRYPTION_KEY", key("cd"))
	for _, tt := range []struct {
		name, secret string
		env          []string
		want         []string
	}{
		{"a variable", JWTSecret, []string{"JWT_SECRET=" + key("ab")}, []string{"environment variable", "openssl rand", "JWT_SECRET_PREVIOUS", "secret-rotation/record", "JWT_SECRET_FILE"}},
		{"a credential", DataEncryptionKey, []string{"CREDENTIALS_DIRECTORY=" + credentials}, []string{"LoadCredential=", "DATA_ENCRYPTION_KEY_PREVIOUS"}},
		{
			"no file for the previous one, which a test has in DATA_DIR", JWTSecret,
			[]string{
				"NODE_ENV=production", "PUBLIC_URL=https://sealpost.example.org", "JWT_SECRET_FILE=" + file("jwt", random()),
				"DATA_ENCRYPTION_KEY=" + random(), "AUDIT_SIGNING_KEY=" + random(),
			},
			[]string{"JWT_SECRET_PREVIOUS_FILE", "empty file"},
		},
		{
			"the previous one in a variable", AuditSigningKey,
			[]string{"AUDIT_SIGNING_KEY_FILE=" + file("audit", key("gh")), "AUDIT_SIGNING_KEY_PREVIOUS=" + key("ij")},
			[]string{"AUDIT_SIGNING_KEY_PREVIOUS_FILE"},
		},
		{"something else", OpenAIKey, nil, []string{"not among"}},
	} {
		_, err := FilesOf(configured(t, t.TempDir(), tt.env...), tt.secret)
		for _, want := range tt.want {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v, want %q in it", tt.name, err, want)
			}
		}
	}
	if _, err := FilesOf(config.Secrets{}, JWTSecret); err == nil || !strings.Contains(err.Error(), "not set yet") {
		t.Errorf("no secret: %v", err)
	}
}

func TestFilesAreReplacedWhole(t *testing.T) {
	dir := t.TempDir()
	read := func(path string) string {
		t.Helper()
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	// The file is a link, as secret managers make them, and its group may read it.
	real, link, previous := filepath.Join(dir, "data", "jwt"), filepath.Join(dir, "jwt"), filepath.Join(dir, "previous")
	const first = "the first secret, of more than 32 bytes 4711"
	if err := os.Mkdir(filepath.Join(dir, "data"), 0o700); err != nil {
		t.Fatal(err)
	}
	for path, text := range map[string]string{real: first + "\n", previous: ""} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(real, link); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(real, 0o647); err != nil {
		t.Fatal(err)
	}
	env := []string{"JWT_SECRET_FILE=" + link, "JWT_SECRET_PREVIOUS_FILE=" + previous}
	rotate := func(leaked bool) func() error {
		t.Helper()
		f, err := FilesOf(configured(t, t.TempDir(), env...), JWTSecret)
		if err != nil {
			t.Fatal(err)
		}
		undo, err := f.Replace(leaked)
		if err != nil {
			t.Fatal(err)
		}
		return undo
	}
	undo := rotate(false)
	second := read(real)
	if second == first+"\n" || len(second) != 45 || read(previous) != first+"\n" {
		t.Errorf("%q and before it %q", second, read(previous))
	}
	if info, err := os.Lstat(link); err != nil || info.Mode()&os.ModeSymlink == 0 {
		t.Errorf("the link is gone: %v", err)
	}
	for _, path := range []string{real, previous} {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o640 {
			t.Errorf("%s has the mode %v, want that of the secret's file without others", path, info.Mode())
		}
	}
	if err := undo(); err != nil || read(real) != first+"\n" || read(previous) != "" {
		t.Errorf("undone: %q and %q, %v", read(real), read(previous), err)
	}
	rotate(false)
	second = read(real)
	rotate(false)
	if read(previous) != second {
		t.Error("the previous secret is not the one before")
	}
	rotate(true)
	if read(previous) != "" {
		t.Error("after a leak there is a previous secret")
	}
	for _, folder := range []string{dir, filepath.Join(dir, "data")} {
		entries, err := os.ReadDir(folder)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			if strings.HasPrefix(e.Name(), ".") {
				t.Errorf("%s is left over", e.Name())
			}
		}
	}

	// Where the second file cannot be written the first one is as it was.
	f, err := FilesOf(configured(t, t.TempDir(), env...), JWTSecret)
	if err != nil {
		t.Fatal(err)
	}
	before := read(real)
	f.Previous = filepath.Join(dir, "none", "previous")
	if _, err := f.Replace(false); err == nil || read(real) != before {
		t.Errorf("a half rotation: %v", err)
	}
}
