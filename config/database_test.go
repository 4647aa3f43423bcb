package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// withoutLibpq takes away the variables that libpq, and so the driver, would add to every URL.
func withoutLibpq(t *testing.T) {
	t.Helper()
	for _, entry := range os.Environ() {
		if name, _, _ := strings.Cut(entry, "="); strings.HasPrefix(name, "PG") {
			t.Setenv(name, "")
			if err := os.Unsetenv(name); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func TestDatabaseURL(t *testing.T) {
	withoutLibpq(t)
	for _, text := range []string{
		"sqlite:sealpost.db", "sqlite:/var/lib/sealpost/sealpost.db", "sqlite:./a b#c.db",
		"postgres://localhost/sealpost", "postgresql://u:p%40ss@db.example:5433/sealpost?sslmode=require",
		"postgres://u:p@a.example:5432,b.example:5433,c.example/sealpost?target_session_attrs=read-write",
		"postgres://u@[::1]:5432/db", "postgres:///db?host=/run/postgresql", "postgres://h/db?application_name=x&statement_timeout=1s",
	} {
		if got := string(mustParse(t, []string{"DATABASE_URL=" + text}).DatabaseURL.Reveal()); got != text {
			t.Errorf("got %q, want %q", got, text)
		}
	}
	const unreadable = "a PostgreSQL URL whose user, password, hosts or ports cannot be read " +
		"(special characters in a name or a password are written as %40 and the like)"
	for text, want := range map[string]string{
		"sealpost.db":                                "11 bytes that begin neither with sqlite: nor with postgres://",
		"mysql://h/db":                               "12 bytes that begin neither with sqlite: nor with postgres://",
		"POSTGRES://h/db":                            "15 bytes that begin neither with sqlite: nor with postgres://",
		"host=h dbname=d":                            "15 bytes that begin neither with sqlite: nor with postgres://",
		"sqlite:":                                    "sqlite: without a path",
		"sqlite:///srv/a.db":                         "sqlite: with two slashes; the path begins right behind the colon",
		"sqlite::memory:":                            "sqlite: without a file; what is accepted must survive a restart",
		"sqlite:a.db?mode=ro":                        "sqlite: with parameters; it takes none",
		"postgres://h:0/db":                          unreadable,
		"postgres://h:65536/db":                      unreadable,
		"postgres://a:1,b:x/db":                      unreadable,
		"postgres://u:p%zz@h/db":                     unreadable,
		"postgres://u:p/w@h/db":                      unreadable,
		"postgres://h/db?sslmode=on":                 "a PostgreSQL URL whose parameter sslmode is wrong",
		"postgres://h/db?a=b&target_session_attrs=x": "a PostgreSQL URL whose parameter target_session_attrs is wrong",
		"postgres://h/db?sslmode=verify-full&sslrootcert=/none.pem": "a PostgreSQL URL whose parameter sslrootcert is wrong",
		"postgres://h/db?sslmode=on&connect_timeout=soon":           "a PostgreSQL URL with a parameter that cannot be read",
		"postgres://h/db?connect_timeout=soon":                      "a PostgreSQL URL whose parameter connect_timeout is wrong",
		"postgres://h/db?lonely":                                    "a PostgreSQL URL with a parameter that cannot be read",
	} {
		if p := only(t, "DATABASE_URL", []string{"DATABASE_URL=" + text}); p.Got != want {
			t.Errorf("%s: got %s, want %s", text, p.Got, want)
		}
	}
}

func TestDatabaseURLComesFromItsPlaces(t *testing.T) {
	withoutLibpq(t)
	c := mustParse(t, []string{"DATA_DIR=/srv/x/"})
	if got := string(c.DatabaseURL.Reveal()); got != "sqlite:/srv/x/sealpost.db" || c.DatabaseURL.Source() != (Source{Kind: Default}) {
		t.Error(got, c.DatabaseURL.Source())
	}
	path := write(t, filepath.Join(t.TempDir(), "DATABASE_URL"), "postgres://u:p@h/db\n")
	for _, environ := range [][]string{{"DATABASE_URL_FILE=" + path}, {"CREDENTIALS_DIRECTORY=" + filepath.Dir(path)}} {
		c := mustParse(t, environ)
		if got := string(c.DatabaseURL.Reveal()); got != "postgres://u:p@h/db" || c.DatabaseURL.Source().Path != path {
			t.Error(got, c.DatabaseURL.Source())
		}
	}
}

func TestDatabaseInClearIsWarnedAbout(t *testing.T) {
	withoutLibpq(t)
	for text, want := range map[string]bool{
		"postgres://u:p@db.example/x":                                       true,
		"postgres://u:p@db.example/x?sslmode=disable":                       true,
		"postgres://u:p@127.0.0.1,db.example/x":                             true,
		"postgres://u:p@db.example/x?sslmode=require":                       false,
		"postgres://u:p@127.0.0.1/x":                                        false,
		"postgres://u:p@localhost/x?sslmode=disable":                        false,
		"postgres:///x?host=/run/postgresql":                                false,
		"sqlite:x.db":                                                       false,
		"postgres://u:p@a.example,b.example/x?sslmode=verify-full&sslsni=1": false,
	} {
		_, warnings, err := Parse(production(t, "DATABASE_URL="+text))
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Contains(strings.Join(warnings, "\n"), "DATABASE_URL allows"); got != want {
			t.Errorf("%s: warned is %t, want %t", text, got, want)
		}
		if _, warnings, _ := Parse([]string{"DATABASE_URL=" + text}); len(warnings) > 0 {
			t.Errorf("%s: development warns: %v", text, warnings)
		}
	}
}
