package storetest

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"sync"

	"sealpost/store/storetest/pgtest"
)

// free is the databases that tests are done with: empty, and with the tables of the template.
var free struct {
	sync.Mutex
	names   []string
	tables  string // the template's tables, and its shape
	pattern string
}

// take gives a free database, or makes one.
func take(ctx context.Context, cluster *pgtest.Cluster, template string) (string, error) {
	free.Lock()
	defer free.Unlock()
	if n := len(free.names); n > 0 {
		name := free.names[n-1]
		free.names = free.names[:n-1]
		return name, nil
	}
	name := "test_" + randomName()
	if err := admin(ctx, cluster, "create database "+name+" template "+template); err != nil {
		return "", err
	}
	if free.pattern == "" {
		err := inside(ctx, cluster, name, func(conn *sql.Conn) (err error) {
			err = conn.QueryRowContext(ctx, `select string_agg(relname, ',') from pg_class
				where relkind = 'r' and relnamespace = 'public' :: regnamespace`).Scan(&free.tables)
			if err != nil {
				return err
			}
			free.pattern, err = shape(ctx, conn)
			return err
		})
		if err != nil {
			return "", err
		}
	}
	return name, nil
}

// giveBack empties a database for the next test. One that a test has changed in another way than by
// writing some rows and making some tables is dropped.
func giveBack(ctx context.Context, cluster *pgtest.Cluster, name string) error {
	same := false
	err := inside(ctx, cluster, name, func(conn *sql.Conn) error {
		_, err := conn.ExecContext(ctx, `select pg_terminate_backend(pid, 10000) from pg_stat_activity
			where datname = current_database() and pid <> pg_backend_pid()`)
		if err != nil {
			return err
		}
		if _, err := conn.ExecContext(ctx, `select set_config('storetest.tables', $1, false)`, free.tables); err != nil {
			return err
		}
		if _, err := conn.ExecContext(ctx, emptyTables); err != nil {
			return err
		}
		now, err := shape(ctx, conn)
		free.Lock()
		defer free.Unlock()
		same = now == free.pattern
		return err
	})
	if err != nil || !same {
		return admin(ctx, cluster, "drop database "+name+" with (force)")
	}
	free.Lock()
	defer free.Unlock()
	free.names = append(free.names, name)
	return nil
}

// dropFree drops what is left on a server that goes on without us.
func dropFree(ctx context.Context) error {
	if os.Getenv(pgtest.SharedEnv) == "" {
		return nil
	}
	cluster, err := pgtest.Shared(ctx)
	if err != nil {
		return err
	}
	for _, name := range free.names {
		if err := admin(ctx, cluster, "drop database "+name+" with (force)"); err != nil {
			return err
		}
	}
	return nil
}

func inside(ctx context.Context, cluster *pgtest.Cluster, name string, fn func(*sql.Conn) error) error {
	db, err := sql.Open("pgx", cluster.URL(name))
	if err != nil {
		return err
	}
	defer db.Close() //nolint:errcheck // the statements' own errors tell
	conn, err := db.Conn(ctx)
	if err != nil {
		return err
	}
	defer conn.Close() //nolint:errcheck // likewise
	return fn(conn)
}

// emptyTables drops tables that the template does not have and deletes every row of the others. A table
// that has grown, or has been analyzed, is truncated: what it was would show in the plans of the next
// test. For most, which have had some rows, deleting those takes less time. The rows that migrations make,
// which nobody changes, stay.
const emptyTables = `
	do $$
	declare t record; statistics boolean;
	begin
		set local session_replication_role = replica; -- foreign keys are not looked at
		for t in select oid, relname as name, pg_total_relation_size(oid) > 256 * 1024 as large from pg_class
			where relkind = 'r' and relnamespace = 'public' :: regnamespace and relname <> 'goose_db_version' loop
			delete from pg_statistic where starelid = t.oid;
			statistics := found;
			continue when t.name = 'audit_retention_lock';
			if t.name <> all (string_to_array(current_setting('storetest.tables'), ',')) then
				execute format('drop table public.%I cascade', t.name);
			elsif t.large or statistics then
				execute format('truncate public.%I cascade', t.name);
			else
				execute format('delete from public.%I', t.name);
			end if;
		end loop;
	end $$`

// shape tells everything about a database that emptyTables does not undo.
func shape(ctx context.Context, conn *sql.Conn) (text string, err error) {
	err = conn.QueryRowContext(ctx, `
		select coalesce(string_agg(line, E'\n' order by line), '') from (
			select concat_ws(' ', 'column', c.relname, c.relkind, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull, pg_get_expr(d.adbin, d.adrelid))
			  from pg_class c join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
			  left join pg_attrdef d on d.adrelid = c.oid and d.adnum = a.attnum
			 where c.relnamespace = 'public' :: regnamespace
			union all select indexdef from pg_indexes where schemaname = 'public'
			union all select concat_ws(' ', 'constraint', conrelid :: regclass, conname, pg_get_constraintdef(oid))
			  from pg_constraint where connamespace = 'public' :: regnamespace
			union all select concat_ws(' ', 'function', proname) from pg_proc where pronamespace = 'public' :: regnamespace
			union all select concat_ws(' ', 'trigger', tgname, tgenabled) from pg_trigger where not tgisinternal
			union all select concat_ws(' ', 'type', typname) from pg_type where typnamespace = 'public' :: regnamespace
			union all select concat_ws(' ', 'schema', nspname) from pg_namespace where nspname !~ '^pg_'
			union all select concat_ws(' ', 'setting', setconfig) from pg_db_role_setting s join pg_database d on d.oid = s.setdatabase
			 where d.datname = current_database()
			union all select concat_ws(' ', 'migration', version_id) from public.goose_db_version
		) as lines (line)`).Scan(&text)
	if err != nil {
		err = fmt.Errorf("read the database's shape: %w", err)
	}
	return text, err
}
