// Package storetest gives a test a database of its own on each of the two that Sealpost runs on: a
// SQLite file, and a database on a private PostgreSQL that is started from the machine's binaries.
// Both are copies of a migrated template, so a test has its tables in some milliseconds; making a copy
// takes PostgreSQL longer than most tests do, so those that a test leaves as it found them are used again.
//
// A machine without PostgreSQL fails the test: what is not tested on both is not tested.
package storetest

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"testing"

	_ "github.com/jackc/pgx/v5/stdlib" // the driver "pgx"
	"go.uber.org/goleak"

	"sealpost/store"
	"sealpost/store/storetest/pgtest"
)

// Each runs a test on both databases, each time on an empty one with all tables.
func Each(t *testing.T, test func(t *testing.T, st *store.Store)) {
	t.Helper()
	EachURL(t, func(t *testing.T, url string) {
		t.Helper()
		test(t, Open(t, url))
	})
}

// EachURL is Each for tests that open the database themselves, or have a program do it.
func EachURL(t *testing.T, test func(t *testing.T, url string)) {
	t.Helper()
	t.Run("sqlite", func(t *testing.T) { test(t, SQLiteURL(t)) })
	t.Run("postgres", func(t *testing.T) { test(t, PostgresURL(t)) })
}

// Open opens a database until the test ends.
func Open(t testing.TB, url string) *store.Store {
	t.Helper()
	st, err := store.Open(t.Context(), url, store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := st.Close(); err != nil {
			t.Errorf("close the database: %v", err)
		}
	})
	return st
}

// Main is a package's TestMain: it stops the PostgreSQL that the tests started, and fails where they
// left a goroutine behind.
func Main(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		if err := errors.Join(dropFree(context.Background()), pgtest.StopShared()); err != nil {
			_, _ = fmt.Fprintln(os.Stderr, "stop PostgreSQL:", err)
			code = max(code, 1)
		}
		os.Exit(code)
	}), goleak.IgnoreAnyFunction("os/exec.(*Cmd).watchCtx"))
}

// SQLiteURL makes a migrated SQLite database that is gone when the test ends.
func SQLiteURL(t testing.TB) string {
	t.Helper()
	template, err := sqliteTemplate()
	if err != nil {
		t.Fatalf("make the SQLite template: %v", err)
	}
	path := filepath.Join(t.TempDir(), "test.db")
	if err := os.WriteFile(path, template, 0o600); err != nil {
		t.Fatal(err)
	}
	return "sqlite:" + path
}

// sqliteTemplate is the bytes of a migrated file.
var sqliteTemplate = sync.OnceValues(func() ([]byte, error) {
	dir, err := os.MkdirTemp("", "sealpost-template-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir) //nolint:errcheck // the system's temporary folder
	path := filepath.Join(dir, "template.db")
	ctx := context.Background()
	st, err := store.Open(ctx, "sqlite:"+path, store.Options{})
	if err != nil {
		return nil, err
	}
	if err := st.Migrate(ctx); err != nil {
		return nil, err
	}
	if err := st.Close(); err != nil { // the last connection brings the WAL into the file
		return nil, err
	}
	return os.ReadFile(path)
})

// PostgresURL gives a migrated, empty database on the shared cluster until the test ends.
func PostgresURL(t testing.TB) string {
	t.Helper()
	cluster, err := pgtest.Shared(t.Context())
	if err != nil {
		t.Fatalf("start PostgreSQL: %v", err)
	}
	template, err := postgresTemplate(cluster)
	if err != nil {
		t.Fatalf("make the PostgreSQL template: %v", err)
	}
	name, err := take(context.Background(), cluster, template)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := giveBack(context.Background(), cluster, name); err != nil {
			t.Error(err)
		}
	})
	return cluster.URL(name)
}

var (
	templateOnce sync.Once
	templateName string
	errTemplate  error
)

// postgresTemplate makes the template that is named after the migrations, once for all packages that
// share the cluster: it gets its name only when it is whole.
func postgresTemplate(cluster *pgtest.Cluster) (string, error) {
	templateOnce.Do(func() {
		ctx := context.Background()
		var print string
		if print, errTemplate = migrationsPrint(); errTemplate != nil {
			return
		}
		templateName = "template_" + print
		var there bool
		if there, errTemplate = exists(ctx, cluster, templateName); errTemplate != nil || there {
			return
		}
		draft := "draft_" + randomName()
		if errTemplate = admin(ctx, cluster, "create database "+draft); errTemplate != nil {
			return
		}
		var st *store.Store
		if st, errTemplate = store.Open(ctx, cluster.URL(draft), store.Options{}); errTemplate != nil {
			return
		}
		if errTemplate = st.Migrate(ctx); errTemplate != nil {
			return
		}
		if errTemplate = st.Close(); errTemplate != nil {
			return
		}
		err := admin(ctx, cluster, "alter database "+draft+" rename to "+templateName)
		if there, errTemplate = exists(ctx, cluster, templateName); errTemplate == nil && !there {
			errTemplate = err
		}
	})
	return templateName, errTemplate
}

func migrationsPrint() (string, error) {
	h := sha256.New()
	err := fs.WalkDir(store.Migrations(), ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := fs.ReadFile(store.Migrations(), path)
		_, _ = fmt.Fprintf(h, "%s %d\n%s", path, len(text), text)
		return err
	})
	return hex.EncodeToString(h.Sum(nil)[:8]), err
}

func exists(ctx context.Context, cluster *pgtest.Cluster, name string) (there bool, err error) {
	db, err := sql.Open("pgx", cluster.URL("postgres"))
	if err != nil {
		return false, err
	}
	defer db.Close() //nolint:errcheck // only read
	err = db.QueryRowContext(ctx, `select exists (select 1 from pg_database where datname = $1)`, name).Scan(&there)
	return there, err
}

func admin(ctx context.Context, cluster *pgtest.Cluster, statement string) error {
	db, err := sql.Open("pgx", cluster.URL("postgres"))
	if err != nil {
		return err
	}
	defer db.Close() //nolint:errcheck // the statement's own error tells
	if _, err := db.ExecContext(ctx, statement); err != nil {
		return fmt.Errorf("%s: %w", statement, err)
	}
	return nil
}

func randomName() string {
	b := make([]byte, 6)
	_, _ = rand.Read(b)
	return hex.EncodeToString(b)
}
