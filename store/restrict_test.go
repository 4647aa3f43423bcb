package store_test

import (
	"slices"
	"strings"
	"testing"

	"sealpost/store"
	"sealpost/store/storetest"
)

// What a statement writes is found in every form that our statements have, and a form that they do not
// have is a write that no list allows.
func TestEffects(t *testing.T) {
	for _, tt := range []struct {
		query   string
		writes  []string
		control string
	}{
		{"select 1", nil, ""},
		{"\n\tSELECT id FROM node", nil, ""},
		{"values (1)", nil, ""},
		{"explain query plan select * from node", nil, ""},
		{"insert into node (id) values ($1)", []string{"insert node"}, ""},
		{"INSERT\n INTO\tNode (id) VALUES ($1)", []string{"insert node"}, ""},
		{`insert into "AuditLog" (id) values ($1)`, []string{`insert "AuditLog"`}, ""},
		{`insert into AuditLog (id) values ($1)`, []string{"insert auditlog"}, ""},
		{`insert into "node" (id) values ($1)`, []string{"insert node"}, ""},
		{`insert into "two words" (id) values ($1)`, []string{`insert "two words"`}, ""},
		{`insert into "a""b" (id) values ($1)`, []string{`insert "a""b"`}, ""},
		{"insert into public.node (id) values ($1)", []string{"insert public.node"}, ""},
		{`update "public"."node" set a = 1`, []string{"update public.node"}, ""},
		{"insert into node (id) values ($1) on conflict (id) do nothing", []string{"insert node"}, ""},
		{"insert into node (id) values ($1) on conflict (id) do update set seen_at = excluded.seen_at", []string{"insert node", "update node"}, ""},
		{"insert into node (id) select id from session returning id", []string{"insert node"}, ""},
		{"update node set a = 1", []string{"update node"}, ""},
		{"update only node set a = 1", []string{"update node"}, ""},
		{"update node as n set a = (select max(a) from session for update)", []string{"update node"}, ""},
		{"delete from node where id = $1", []string{"delete node"}, ""},
		{"delete from only node", []string{"delete node"}, ""},
		{"select a from node for update", nil, ""},
		{"select a from node for no key update of node skip locked", nil, ""},
		{"select a from node for key share", nil, ""},
		{"update node set a = 1 where id in (select id from node where b = $1 for no key update skip locked)", []string{"update node"}, ""},
		{"with v (id) as (values (cast($1 as text))) update node set a = 1 from v where node.id = v.id returning node.id", []string{"update node"}, ""},
		{"with gone as (delete from session returning id) insert into node (id) select id from gone", []string{"delete session", "insert node"}, ""},
		{"with a as (insert into x values (1) on conflict do update set b = 2), c as (update y set d = 1) select 1", []string{"insert x", "update x", "update y"}, ""},
		{"select * from node where note = 'insert into session; delete from session'", nil, ""},
		{"select 'it''s', ' update session set a' from node", nil, ""},
		{"select \"update\".a from node as \"update\"", []string{"update an unknown table", "update an unknown table"}, ""}, // closed rather than clever
		{"select a -- update session set\n from node", nil, ""},
		{"select a -- it's all\n, b from node -- delete from session", nil, ""},
		{"select /* delete from session ' */ 1", nil, ""},
		{"select updated_at, deleted, insert_count, into_ from node", nil, ""},
		{"select ünïcödé from node", nil, ""},
		// Not our style, so under no list.
		{"", []string{"run an empty statement"}, ""},
		{"-- nothing", []string{"run an empty statement"}, ""},
		{"insert or replace into node (id) values (1)", []string{"insert or", "write into node"}, ""},
		{"replace into node (id) values (1)", []string{"run replace", "write into node"}, ""},
		{"select replace(a, 'x', 'y') from node", nil, ""},
		{"select a into copied from node", []string{"write into copied"}, ""},
		{"merge into node using x on true when matched then delete", []string{"run merge", "write into node", "delete "}, ""},
		{"truncate node", []string{"run truncate"}, ""},
		{"drop table node", []string{"run drop"}, ""},
		{"alter table node add column x text", []string{"run alter"}, ""},
		{"create table x (id text references node (id) on delete cascade on update cascade)", []string{"run create"}, ""},
		{"copy node from stdin", []string{"run copy"}, ""},
		{"do $$ begin delete from node; end $$", []string{"run do", "run what cannot be read"}, ""},
		{"call p()", []string{"run call"}, ""},
		{"pragma user_version = 3", []string{"run pragma"}, ""},
		{"attach database 'x' as y", []string{"run attach"}, ""},
		{"select 1; delete from node", []string{"run several statements", "delete node"}, ""},
		{"select 1;", []string{"run several statements"}, ""},
		{"delete node", []string{"delete node"}, ""},
		{"update", []string{"update an unknown table"}, ""},
		{"update (node) set a = 1", []string{"update an unknown table"}, ""},
		{"insert into", []string{"insert an unknown table"}, ""},
		{"update [node] set a = 1", []string{"update an unknown table"}, ""},
		{"update `node` set a = 1", []string{"update an unknown table"}, ""},
		{"select E'\\' delete from node --'", []string{"run what cannot be read"}, ""},
		{"select 'unfinished, delete from node", []string{"run what cannot be read"}, ""},
		{"select \"unfinished, delete from node", []string{"run what cannot be read"}, ""},
		{"select /* unfinished, delete from node", []string{"run what cannot be read"}, ""},
		{"select /* a /* nested */ comment */ 1", []string{"run what cannot be read"}, ""},
		{"select $tag$ x $tag$", []string{"run what cannot be read"}, ""},
		// These would end the transaction, or SQLite's whole group.
		{"commit", nil, "commit"},
		{" ROLLBACK to job", nil, "rollback"},
		{"begin", nil, "begin"},
		{"savepoint x", nil, "savepoint"},
		{"release x", nil, "release"},
		{"end", nil, "end"},
		{"start transaction", nil, "start"},
		{"abort", nil, "abort"},
		{"/* c */ prepare transaction 'x'", nil, "prepare"},
	} {
		writes, control := store.Effects(tt.query)
		if !slices.Equal(writes, tt.writes) || control != tt.control {
			t.Errorf("%q\n writes %q, control %q; want %q, %q", tt.query, writes, control, tt.writes, tt.control)
		}
	}
}

func FuzzEffects(f *testing.F) {
	for _, q := range []string{`select 1`, `update "a""b" set x = 'y''z' -- c`, `with v as (select $1 /* c */) delete from only t`, `'`, `"`, `$`, `/*`} {
		f.Add(q)
	}
	f.Fuzz(func(t *testing.T, query string) {
		_, before := store.Effects(query)
		// Whatever stands before it in a common table expression, a write behind it is seen, or the
		// whole is called unreadable.
		writes, _ := store.Effects("with v as (" + query + ") delete from node")
		if !slices.ContainsFunc(writes, func(w string) bool {
			return w == "delete node" || w == "run what cannot be read"
		}) && !swallows(query) {
			t.Errorf("%q (%s) hides a write: %q", query, before, writes)
		}
	})
}

// swallows tells whether a text rightly makes what follows it a part of a comment or of a name.
func swallows(query string) bool {
	return strings.Contains(query, "--") || strings.HasSuffix(query, "on") || strings.HasSuffix(query, "ON")
}

func TestRestrict(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		ctx := t.Context()
		write(t, st, `create table a (id bigint primary key)`, `create table b (id bigint primary key)`, `insert into a (id) values (1)`)
		only := map[string]bool{"insert a": true, "update b": true}
		for statement, allowed := range map[string]bool{
			`insert into a (id) values (2)`: true,
			`update b set id = 2`:           true,
			`select * from a`:               true,
			`update a set id = 2`:           false,
			`delete from a`:                 false,
			`insert into b (id) values (1)`: false,
			`insert into a (id) values (1) on conflict (id) do update set id = 3`: false,
			`drop table a`: false,
		} {
			for how, run := range map[string]func(*store.Tx) error{
				"Exec":     func(tx *store.Tx) error { _, err := tx.Exec(ctx, statement); return err },
				"QueryRow": func(tx *store.Tx) error { err := tx.QueryRow(ctx, statement).Scan(new(int)); return noRow(err) },
				"Each": func(tx *store.Tx) error {
					return tx.Each(ctx, func(func(...any) error) error { return nil }, statement)
				},
			} {
				err := st.Write(ctx, func(tx *store.Tx) error {
					tx.Restrict(only)
					if err := run(tx); err != nil {
						return err
					}
					return errUndo
				})
				if refused := err != nil && strings.Contains(err.Error(), "this transaction may not"); refused == allowed {
					t.Errorf("%s of %q: %v", how, statement, err)
				}
			}
		}
		// A refusal that the function leaves aside undoes the transaction all the same.
		err := st.Write(ctx, func(tx *store.Tx) error {
			tx.Restrict(only)
			if _, err := tx.Exec(ctx, `insert into a (id) values (5)`); err != nil {
				return err
			}
			_, _ = tx.Exec(ctx, `delete from b`)
			return nil
		})
		if err == nil || number(t, st, `select count(*) from a`) != 1 {
			t.Errorf("a refused write was passed over: %v", err)
		}
	})
}

func TestWroteOnly(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		ctx := t.Context()
		write(t, st, `create table a (id bigint)`, `create table b (id bigint)`)
		for _, tt := range []struct {
			statements []string
			want       bool
		}{
			{nil, true},
			{[]string{`select 1`, `select id from b`}, true},
			{[]string{`update a set id = 1`}, true},
			{[]string{`update a set id = 1`, `insert into a (id) values (1)`}, false},
			{[]string{`update a set id = 1`, `update b set id = 1`}, false},
			{[]string{`delete from a`}, false},
		} {
			err := st.Write(ctx, func(tx *store.Tx) error {
				for _, s := range tt.statements {
					if _, err := tx.Exec(ctx, s); err != nil {
						return err
					}
				}
				if got := tx.WroteOnly(map[string]bool{"update a": true}); got != tt.want {
					t.Errorf("%q: WroteOnly = %t", tt.statements, got)
				}
				return nil
			})
			if err != nil {
				t.Error(err)
			}
		}
	})
}

// A function that ended its transaction would on SQLite end that of others with it.
func TestNoFunctionEndsItsTransaction(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		write(t, st, `create table t (id bigint)`)
		for _, statement := range []string{"commit", "rollback", "savepoint mine", "release job"} {
			err := st.Write(t.Context(), func(tx *store.Tx) error {
				if _, err := tx.Exec(t.Context(), `insert into t (id) values (1)`); err != nil {
					return err
				}
				_, err := tx.Exec(t.Context(), statement)
				return err
			})
			if err == nil || !strings.Contains(err.Error(), "its transaction is not its own to end") {
				t.Errorf("%s: %v", statement, err)
			}
		}
		if n := number(t, st, `select count(*) from t`); n != 0 {
			t.Errorf("%d rows are stored", n)
		}
	})
}
