package store_test

import (
	"context"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"

	"sealpost/store"
	"sealpost/store/storetest"
	"sealpost/store/storetest/pgtest"
)

// empty makes a database without tables on each of the two.
func empty(t *testing.T, test func(t *testing.T, url string)) {
	t.Helper()
	t.Run("sqlite", func(t *testing.T) { test(t, "sqlite:"+filepath.Join(t.TempDir(), "a.db")) })
	t.Run("postgres", func(t *testing.T) {
		cluster, err := pgtest.Shared(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		name := "empty_" + strings.ReplaceAll(store.NewID(), "-", "")
		run := func(statement string) {
			conn, err := pgx.Connect(context.Background(), cluster.URL("postgres"))
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close(context.Background()) //nolint:errcheck // the test is over
			if _, err := conn.Exec(context.Background(), statement); err != nil {
				t.Fatal(err)
			}
		}
		run(`create database ` + name)
		t.Cleanup(func() { run(`drop database ` + name + ` with (force)`) })
		test(t, cluster.URL(name))
	})
}

func migrate(t *testing.T, st *store.Store) {
	t.Helper()
	if err := st.Migrate(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestMigrate(t *testing.T) {
	empty(t, func(t *testing.T, url string) {
		st := open(t, url, store.Options{})
		migrate(t, st)
		write(t, st, `insert into node (incarnation, server, started_at, seen_at) values ('a', 'b', 1, 1)`)
		migrate(t, st)
		if n := number(t, st, `select count(*) from node`); n != 1 {
			t.Errorf("%d rows after the second time", n)
		}
	})
}

// Servers that start together on an empty database all find it whole.
func TestMigrateFromManyServersAtOnce(t *testing.T) {
	empty(t, func(t *testing.T, url string) {
		servers := make([]*store.Store, 4)
		for i := range servers {
			if i > 0 && strings.HasPrefix(url, "sqlite:") {
				servers[i] = servers[0] // it has one, which may yet ask twice
				continue
			}
			servers[i] = open(t, url, store.Options{})
		}
		var wg sync.WaitGroup
		for _, st := range servers {
			wg.Go(func() {
				migrate(t, st)
				write(t, st, `insert into node (incarnation, server, started_at, seen_at) values ('`+store.NewID()+`', 'b', 1, 1)`)
			})
		}
		wg.Wait()
		if n := number(t, servers[0], `select count(*) from node`); n != len(servers) {
			t.Errorf("%d servers could write, want %d", n, len(servers))
		}
		if all, once := number(t, servers[0], `select count(*) from goose_db_version`),
			number(t, servers[0], `select count(distinct version_id) from goose_db_version`); all != once {
			t.Errorf("of %d migrations %d ran once", all, once)
		}
	})
}

func TestADatabaseOfANewerProgramIsRefused(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		write(t, st, `insert into goose_db_version (version_id, is_applied) values (99999, true)`)
		err := st.Migrate(t.Context())
		if err == nil || !strings.Contains(err.Error(), "the database is at version 99999 and this program knows") {
			t.Errorf("got %v", err)
		}
	})
}

// Every migration can be undone and done again, which tells of a table that is missing in its Down.
func TestMigrationsCanBeUndone(t *testing.T) {
	empty(t, func(t *testing.T, url string) {
		st := open(t, url, store.Options{})
		migrate(t, st)
		provider, done, err := st.Migrator(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer done()
		if _, err := provider.DownTo(t.Context(), 0); err != nil {
			t.Fatal(err)
		}
		left := `select count(*) from sqlite_schema where name not like 'goose%' and name not like 'sqlite%'`
		if st.Dialect() == store.Postgres {
			left = `select count(*) from pg_tables where schemaname = 'public' and tablename not like 'goose%'`
		}
		if n := number(t, st, left); n != 0 {
			t.Errorf("%d tables are left", n)
		}
		migrate(t, st)
		write(t, st, `insert into node (incarnation, server, started_at, seen_at) values ('a', 'b', 1, 1)`)
	})
}
