package storetest_test

import (
	"context"
	"testing"

	"github.com/jackc/pgx/v5"

	"sealpost/store/storetest"
)

func TestMain(m *testing.M) { storetest.Main(m) }

// database runs a test on PostgreSQL and gives its database's name: a test ends with its cleanups.
func database(t *testing.T, statements ...string) (name string, events int) {
	t.Helper()
	t.Run("test", func(t *testing.T) {
		conn, err := pgx.Connect(t.Context(), storetest.PostgresURL(t))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close(context.WithoutCancel(t.Context())) //nolint:errcheck // the test is over
		name = conn.Config().Database
		if err := conn.QueryRow(t.Context(), `select (select count(*) from session) + (select count(*) from account) + (select count(*) from node)`).Scan(&events); err != nil {
			t.Fatal(err)
		}
		for _, s := range statements {
			if _, err := conn.Exec(t.Context(), s); err != nil {
				t.Fatalf("%s: %v", s, err)
			}
		}
	})
	return name, events
}

// A database is used again only as it was.
func TestPostgresDatabasesAreUsedAgain(t *testing.T) {
	const node = `insert into node (incarnation, server, started_at, seen_at) values `
	first, _ := database(t)
	same, rows := database(t, node+`('a', 'b', 1, 1)`,
		`insert into account (id, email, email_key, name, role, password_by_admin, mfa_enabled, totp_step, disabled, created_at, updated_at)
		 values ('u', 'e', 'e', 'n', 'ADMIN', false, false, 0, false, 1, 1)`,
		`insert into session (id, user_id, created_at, expires_at, authenticated_at) values ('s', 'u', 1, 1, 1)`)
	if same != first || rows != 0 {
		t.Errorf("the second test got %s with %d rows, want %s", same, rows, first)
	}
	last, rows := database(t, `create table mine (id text primary key references node (incarnation))`)
	if last != first || rows != 0 {
		t.Errorf("after rows were written: %s with %d rows", last, rows)
	}
	last, rows = database(t, `create table mine (id bigint)`)
	if last != first || rows != 0 {
		t.Errorf("after a table was made: %s with %d rows", last, rows)
	}
	// What a large table was does not show in the plans of the next test.
	last, rows = database(t, node+`('a', 'b', 1, 1)`,
		`insert into node (incarnation, server, started_at, seen_at) select g :: text, 'b', 1, 1 from generate_series(1, 6000) g`,
		`update node set seen_at = 2`, `analyze`)
	if last != first || rows != 0 {
		t.Errorf("after a table was made large: %s with %d rows", last, rows)
	}
	last, rows = database(t, `do $$ begin
		if exists (select 1 from pg_stats where schemaname = 'public' and tablename <> 'goose_db_version') then raise exception 'there are statistics'; end if;
		if pg_total_relation_size('node') > 65536 then raise exception 'it is still large'; end if;
		if (select reltuples from pg_class where relname = 'node') > 0 then raise exception 'it is still said to have rows'; end if;
	end $$`)
	if last != first || rows != 0 {
		t.Errorf("after it was emptied: %s with %d rows", last, rows)
	}
	for what, statement := range map[string]string{
		"a lost table": `drop table node`,
		"a lost index": `drop index dispatch_job_due`,
		"a constraint": `alter table node add check (server <> '')`,
		"a setting":    `do $$ begin execute 'alter database ' || current_database() || ' set deadlock_timeout = ''5ms'''; end $$`,
		"a migration":  `insert into goose_db_version (version_id, is_applied) values (99999, true)`,
	} {
		last, _ = database(t)
		changed, _ := database(t, statement)
		next, rows := database(t)
		if changed != last || next == changed || rows != 0 {
			t.Errorf("after %s: %s, %s, %s, %d rows", what, last, changed, next, rows)
		}
	}
}
