package audit_test

import (
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"sealpost/audit"
	"sealpost/store"
	"sealpost/store/storetest"
)

// The closed list in the code is the one that was decided on.
func TestBookkeepingIsWhatWasDecided(t *testing.T) {
	text, err := os.ReadFile("../docs/decisions/0005-audit-doors.md")
	if err != nil {
		t.Fatal(err)
	}
	decided := map[string]bool{}
	entry := regexp.MustCompile("`((?:insert|update|delete) [a-z_]+)`")
	for line := range strings.SplitSeq(string(text), "\n") {
		cells := strings.Split(line, "|")
		if len(cells) != 4 {
			continue
		}
		for _, m := range entry.FindAllStringSubmatch(cells[1], -1) {
			decided[m[1]] = true
			if len(strings.TrimSpace(cells[2])) < 20 {
				t.Errorf("%s is on the list without a reason", m[1])
			}
		}
	}
	if !maps.Equal(decided, audit.Bookkeeping()) {
		t.Errorf("decided is\n%q\nand the code has\n%q", slices.Sorted(maps.Keys(decided)), slices.Sorted(maps.Keys(audit.Bookkeeping())))
	}
}

// Every entry of the list names a table that is there, and can be written so.
func TestBookkeepWritesWhatIsOnItsList(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		log, _ := newLog(t, st)
		for entry := range audit.Bookkeeping() {
			verb, table, _ := strings.Cut(entry, " ")
			statement := map[string]string{
				"insert": `insert into ` + table + ` select * from ` + table + ` where 1 = 0`,
				"delete": `delete from ` + table + ` where 1 = 0`,
				"update": `update ` + table + ` set ` + column(t, st, table) + ` = ` + column(t, st, table) + ` where 1 = 0`,
			}[verb]
			err := log.Bookkeep(t.Context(), func(tx *store.Tx) error { _, err := tx.Exec(t.Context(), statement); return err })
			if err != nil {
				t.Errorf("%s: %v", entry, err)
			}
		}
	})
}

// column gives a table's first column.
func column(t *testing.T, st *store.Store, table string) (name string) {
	t.Helper()
	err := st.Read(t.Context(), func(tx *store.Tx) error {
		rows, err := tx.Query(t.Context(), `select * from `+table+` where 1 = 0`)
		if err != nil {
			return err
		}
		defer rows.Close() //nolint:errcheck // the test is over
		names, err := rows.Columns()
		if err == nil {
			name = names[0]
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return name
}

func TestBookkeepRefusesEverythingElse(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		log, _ := newLog(t, st)
		const node = `insert into node (incarnation, server, started_at, seen_at) values ('a', 'b', 1, 1)`
		for _, statement := range []string{
			`delete from "AuditLog"`,
			`update "AuditLog" set action = 'x'`,
			`delete from audit_pending`,
			`insert into dispatch_job (id) values ('x')`,
			`delete from dispatch_job`,
			`update session set revoked_at = null`,
			`insert into idempotency (caller) values ('x')`,
			`delete from secret_fingerprint_key`,
			`update account set role = 'ADMIN'`,
			`with gone as (delete from account returning id) insert into node (incarnation) select id from gone`,
			`drop table account`,
			`replace into account (id) values ('x')`,
			`select 1; delete from account`,
		} {
			err := log.Bookkeep(t.Context(), func(tx *store.Tx) error {
				if _, err := tx.Exec(t.Context(), node); err != nil {
					return err
				}
				_, err := tx.Exec(t.Context(), statement)
				return err
			})
			if err == nil || !strings.Contains(err.Error(), "a change goes through audit.Change") {
				t.Errorf("%s: %v", statement, err)
			}
		}
		if n := number(t, st, `select count(*) from node`); n != 0 {
			t.Errorf("what came before a refused write is stored")
		}
	})
}

func TestChangeOrBookkeep(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		log, key := newLog(t, st)
		execute(t, st, `create table thing (id text primary key)`)
		const (
			node  = `insert into node (incarnation, server, started_at, seen_at) values ('a', 'b', 1, 1) on conflict (incarnation) do update set seen_at = 2`
			thing = `insert into thing (id) values ('x')`
		)
		for _, tt := range []struct {
			name       string
			statements []string
			events     []audit.Event
			ok         bool
		}{
			{"bookkeeping alone", []string{node}, nil, true},
			{"nothing at all", nil, nil, true},
			{"a change without an event", []string{thing}, nil, false},
			{"a change among bookkeeping, without an event", []string{node, thing}, nil, false},
			{"a change with its event", []string{node, thing}, []audit.Event{{Action: "thing.made"}}, true},
		} {
			err := log.ChangeOrBookkeep(t.Context(), admin, func(tx *store.Tx) ([]audit.Event, error) {
				for _, s := range tt.statements {
					if _, err := tx.Exec(t.Context(), s); err != nil {
						return nil, err
					}
				}
				return tt.events, nil
			})
			if (err == nil) != tt.ok {
				t.Errorf("%s: %v", tt.name, err)
			}
		}
		if n := number(t, st, `select count(*) from thing`); n != 1 || len(verify(t, st, log, key)) != 1 {
			t.Errorf("%d things are there", n)
		}
		if n := number(t, st, `select count(*) from node`); n != 1 {
			t.Errorf("%d nodes are there", n)
		}
	})
}
