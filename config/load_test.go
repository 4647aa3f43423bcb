package config

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// files gives the names below a directory, with their modes.
func files(t *testing.T, dir string) map[string]string {
	t.Helper()
	found := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		info, err := d.Info()
		name, _ := filepath.Rel(dir, path)
		found[name] = info.Mode().String()
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func TestFirstStartGeneratesSecrets(t *testing.T) {
	data := filepath.Join(t.TempDir(), "not", "yet")
	environ := []string{"DATA_DIR=" + data}
	c, warnings, err := Load(environ)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"not set, so generated into " + data + "/secrets: JWT_SECRET, DATA_ENCRYPTION_KEY, AUDIT_SIGNING_KEY"}
	if diff := cmp.Diff(want, warnings); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(map[string]string{
		"secrets": "drwx------", "secrets/JWT_SECRET": "-rw-------",
		"secrets/DATA_ENCRYPTION_KEY": "-rw-------", "secrets/AUDIT_SIGNING_KEY": "-rw-------",
	}, files(t, data)); diff != "" {
		t.Error(diff)
	}
	if info, err := os.Stat(data); err != nil || info.Mode().Perm() != 0o700 {
		t.Error(info.Mode(), err)
	}
	if c.Secrets.Bootstrap.IsSet() {
		t.Error("development made a bootstrap token, which it does not ask for")
	}
	if len(c.Secrets.Data.Reveal()) != 32 || len(c.Secrets.Audit.Reveal()) != 32 || len(c.Secrets.JWT.Reveal()) < 32 {
		t.Error("a generated secret has another length than the environment's")
	}
	if got := c.Secrets.JWT.Source(); got != (Source{Generated, data + "/secrets/JWT_SECRET"}) {
		t.Error(got)
	}

	again, warnings, err := Load(environ)
	if err != nil || len(warnings) > 0 {
		t.Fatal(err, warnings)
	}
	if !again.Secrets.JWT.Equal(c.Secrets.JWT) || !again.Secrets.Data.Equal(c.Secrets.Data) || !again.Secrets.Audit.Equal(c.Secrets.Audit) {
		t.Error("the second start has other secrets than the first")
	}
	// What was generated is good enough to be taken into production.
	mustParse(t, production(t, "JWT_SECRET="+string(c.Secrets.JWT.Reveal())))
}

func TestOnlyWhatIsUnsetIsGenerated(t *testing.T) {
	data := t.TempDir()
	c, warnings, err := Load([]string{"DATA_DIR=" + data, "JWT_SECRET=" + randomKey(), "NODE_ENV=test"})
	if err != nil || len(warnings) != 1 || !strings.HasSuffix(warnings[0], ": DATA_ENCRYPTION_KEY, AUDIT_SIGNING_KEY") {
		t.Fatal(err, warnings)
	}
	if _, exists := files(t, data)["secrets/JWT_SECRET"]; exists || c.Secrets.JWT.Source().Kind != Environment {
		t.Error("a secret that was set was generated")
	}
}

func TestProductionGeneratesTheBootstrapTokenOnly(t *testing.T) {
	environ := production(t)
	c, warnings, err := Load(environ)
	if err != nil {
		t.Fatal(err)
	}
	path := c.DataDir + "/secrets/BOOTSTRAP_TOKEN"
	if diff := cmp.Diff([]string{"not set, so generated into " + c.DataDir + "/secrets: BOOTSTRAP_TOKEN"}, warnings); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(map[string]string{"secrets": "drwx------", "secrets/BOOTSTRAP_TOKEN": "-rw-------"}, files(t, c.DataDir)); diff != "" {
		t.Error(diff)
	}
	if got := c.Secrets.Bootstrap.Source(); got != (Source{Generated, path}) {
		t.Error(got)
	}
	again, warnings, err := Load(environ)
	if err != nil || len(warnings) > 0 || !again.Secrets.Bootstrap.Equal(c.Secrets.Bootstrap) {
		t.Error(err, warnings)
	}
	given, _, err := Load(append(environ, "BOOTSTRAP_TOKEN=0f5e-77ab-19cd-42ee"))
	if err != nil || string(given.Secrets.Bootstrap.Reveal()) != "0f5e-77ab-19cd-42ee" {
		t.Error(err)
	}
}

func TestProblemsGenerateNothing(t *testing.T) {
	for _, environ := range [][]string{development(t, "PORT=0"), production(t, "MFA_REQUIRED=0")} {
		data := t.TempDir()
		c, _, err := Load(append(environ, "DATA_DIR="+data))
		if err == nil || c != nil {
			t.Fatal(c, err)
		}
		if found := files(t, data); len(found) > 0 {
			t.Error(found)
		}
	}
	// Parse alone never does.
	environ := development(t)
	c := mustParse(t, environ)
	if found := files(t, c.DataDir); len(found) > 0 || c.Secrets.JWT.IsSet() {
		t.Error(found)
	}
}

func TestDamagedGeneratedSecret(t *testing.T) {
	data := t.TempDir()
	path := write(t, filepath.Join(data, "secrets", "DATA_ENCRYPTION_KEY"), "AAAA\n")
	_, _, err := Load([]string{"DATA_DIR=" + data})
	want := Problems{{"DATA_ENCRYPTION_KEY", "base64 of 3 bytes in the file " + path, takesKey}}
	if diff := cmp.Diff(error(want), err); diff != "" {
		t.Error(diff)
	}
}

func TestDataDirThatCannotKeepSecrets(t *testing.T) {
	file := write(t, filepath.Join(t.TempDir(), "file"), "")
	only(t, "DATA_DIR", []string{"DATA_DIR=" + file})

	data := t.TempDir()
	write(t, filepath.Join(data, "secrets"), "")
	_, _, err := Load([]string{"DATA_DIR=" + data})
	want := Problems{{
		"DATA_DIR", "mkdir " + data + "/secrets: not a directory",
		"a directory in which this process can keep JWT_SECRET, or that variable itself",
	}}
	if diff := cmp.Diff(error(want), err); diff != "" {
		t.Error(diff)
	}
}

// Many starts at once agree on one value of each secret, whoever is first.
func TestRacingStartsAgree(t *testing.T) {
	for range 20 {
		data := filepath.Join(t.TempDir(), "data")
		configs := make([]*Config, 8)
		start := make(chan struct{})
		var running sync.WaitGroup
		for i := range configs {
			running.Go(func() {
				<-start
				c, _, err := Load([]string{"DATA_DIR=" + data})
				if err != nil {
					t.Error(err)
					return
				}
				configs[i] = c
			})
		}
		close(start)
		running.Wait()
		for _, c := range configs {
			if t.Failed() {
				return
			}
			first := configs[0].Secrets
			if !c.Secrets.JWT.Equal(first.JWT) || !c.Secrets.Data.Equal(first.Data) || !c.Secrets.Audit.Equal(first.Audit) {
				t.Error("two starts have different secrets")
			}
		}
		if found := files(t, data); len(found) != 4 {
			t.Error("more than the secrets is left:", found)
		}
	}
}

func TestCreateOnceGivesWhatIsThere(t *testing.T) {
	path := filepath.Join(t.TempDir(), "data", "secrets", "NAME")
	for _, text := range []string{"first", "second"} {
		if got, err := createOnce(path, text); got != "first" || err != nil {
			t.Errorf("got %q, %v", got, err)
		}
	}
}
