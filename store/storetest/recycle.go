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
		var rows int
		err = conn.QueryRowContext(ctx, `select cast(current_setting('storetest.rows') as bigint)`).Scan(&rows)
		if err != nil {
			return err
		}
		now, err := shape(ctx, conn)
		free.Lock()
		defer free.Unlock()
		same = now == free.pattern && rows < manyRows
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

// manyRows is how many rows a test may leave: behind more the tables would stay large.
const manyRows = 5000

// emptyTables drops tables that the template does not have, deletes every row of the others, and keeps
// how many there were.
const emptyTables = `
	do $$
	declare name text; n bigint; total bigint := 0;
	begin
		set local session_replication_role = replica; -- foreign keys are not looked at
		for name in select relname from pg_class where relkind = 'r' and relnamespace = 'public' :: regnamespace
			and relname <> 'goose_db_version' loop
			if name = any (string_to_array(current_setting('storetest.tables'), ',')) then
				execute format('delete from public.%I', name);
				get diagnostics n = row_count;
				total := total + n;
			else
				execute format('drop table public.%I cascade', name);
			end if;
		end loop;
		perform set_config('storetest.rows', total :: text, false);
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
