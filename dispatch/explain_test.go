package dispatch

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"sealpost/audit"
	"sealpost/store"
	"sealpost/store/storetest"
)

// What the statements on the large tables go through, on tables that are large. With half a million
// jobs each would be slow in its own way, and with ten none is: so the plan itself is held.
func TestPlans(t *testing.T) {
	if testing.Short() {
		return // the tables take some seconds to fill
	}
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		big := fillTables(t, st)
		// SQLite plans by rules while nobody has analysed it, which nobody does by himself.
		if st.Dialect() == store.SQLite {
			t.Run("before analyze", func(t *testing.T) { holdPlans(t, st, big) })
		}
		write(t, st, `analyze`)
		holdPlans(t, st, big)
		holdLists(t, st, big)
	})
}

// bigTables are 50,000 finished and 50,000 waiting jobs, nine in ten of these at one endpoint, and 200
// that are in flight; each tenth is of a document, and each fiftieth has a time at which it is over.
type bigTables struct {
	endpoints []string
	crowded   string
	first     time.Time // when the first job was accepted; one more came each second
	last      string    // id
	now       time.Time
}

const (
	bigEndpoints = 100
	bigWaiting   = 50_000
	bigFinished  = 50_000
	bigLeased    = 200
)

func fillTables(t *testing.T, st *store.Store) bigTables {
	t.Helper()
	now := time.Now().UTC().Truncate(time.Second)
	all := bigFinished + bigWaiting + bigLeased
	b := bigTables{first: now.Add(-time.Duration(all+60) * time.Second), now: now}
	id := func(n string) string { return fmt.Sprintf(`'00000000-0000-7000-8000-' || %s`, hexOf(st, n, 12)) }
	for i := range bigEndpoints {
		b.endpoints = append(b.endpoints, fmt.Sprintf("00000000-0000-7000-8000-%012x", i))
	}
	b.crowded = b.endpoints[0]
	write(t, st, `
		with recursive n (i) as (select 0 union all select i + 1 from n where i < $1)
		insert into dispatch_endpoint (id, name, url, paused, secrets, version, created_at, updated_at)
		select `+id("i")+`, 'receiver', 'http://127.0.0.1:9/', false, null, 1, 0, 0 from n`, bigEndpoints-1)

	// An id is made a moment before its row, of the same second. The finished come first.
	ms := fmt.Sprintf("(%d + cast(i as bigint) * 1000)", b.first.UnixMilli())
	hex := hexOf(st, ms, 12)
	jobID := fmt.Sprintf(`substr(%s, 1, 8) || '-' || substr(%s, 9, 4) || '-7000-8000-' || %s`, hex, hex, hexOf(st, "i", 12))
	write(t, st, `
		with recursive n (i) as (select 0 union all select i + 1 from n where i < $1),
		s (i, id, endpoint, status) as (
			select i, `+jobID+`,
			       case when i >= $2 and i % 10 > 0 then `+id("0")+` else `+id("i % 100")+` end,
			       case when i >= $3 then 'IN_FLIGHT' when i < $2 and i % 97 = 0 then 'DEAD_LETTER' when i < $2 then 'DISPATCHED'
			            when i % 89 = 0 then 'RETRYING' else 'PENDING' end
			  from n)
		insert into dispatch_job (id, endpoint_id, status, attempt_count, attempt_budget, max_attempts, due_at,
		       expire_at, lease_token, lease_node, lease_until, payload_size, created_at, updated_at)
		select id, endpoint, status, 0, 12, 12,
		       case when status in ('PENDING', 'RETRYING') then (`+ms+` * 1000) end,
		       case when i % 50 = 0 then (`+ms+` * 1000) + 86400000000 end,
		       case when status = 'IN_FLIGHT' then 'token-' || (i % 8) end,
		       case when status = 'IN_FLIGHT' then 'node-' || (i % 2) end,
		       case when status = 'IN_FLIGHT' then (`+ms+` * 1000) + 3600000000 end,
		       10, `+ms+` * 1000, `+ms+` * 1000
		  from s`, all-1, bigFinished, bigFinished+bigWaiting)
	write(t, st, `
		insert into dispatch_payload (job_id, endpoint_id, owner_id, document_id, content_type, hash)
		select id, endpoint_id, 'user-' || (created_at / 1000000 % 10),
		       case when created_at / 1000000 % 10 = 3 then `+strings.Replace(id("created_at / 1000000"), "7000", "7aaa", 1)+` end,
		       'text/plain', cast('x' as blob)
		  from dispatch_job`)
	write(t, st, `insert into dispatch_breaker (endpoint_id, failures, failing_since, trips, open_until)
		select id, 10, 0, 1, case when id > '00000000-0000-7000-8000-000000000040' then cast($1 as bigint) end from dispatch_endpoint where id > '00000000-0000-7000-8000-000000000020'`,
		now.Add(time.Hour).UnixMicro())
	write(t, st, `insert into node (incarnation, server, started_at, seen_at) values ('node-0', 'a', 0, 0), ('node-1', 'b', 0, 0)`)
	err := st.Read(t.Context(), func(tx *store.Tx) error {
		return tx.QueryRow(t.Context(), `select max(id) from dispatch_job`).Scan(&b.last)
	})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// hexOf is a number in so many digits, in the words of each database.
func hexOf(st *store.Store, n string, digits int) string {
	if st.Dialect() == store.SQLite {
		return fmt.Sprintf("printf('%%0%dx', %s)", digits, n)
	}
	return fmt.Sprintf("lpad(to_hex(%s), %d, '0')", n, digits)
}

func write(t *testing.T, st *store.Store, query string, args ...any) {
	t.Helper()
	err := st.Write(t.Context(), func(tx *store.Tx) error {
		_, err := tx.Exec(t.Context(), query, args...)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// planned is a statement and the indexes that it goes through. The key of a table goes by its name.
type planned struct {
	name  string
	query string
	args  []any
	want  []string
	sorts bool // it may sort: what it sorts is few
}

func statements(st *store.Store, b bigTables) []planned {
	now := b.now.UnixMicro()
	lock := func(of string) string {
		if st.Dialect() == store.SQLite {
			return ""
		}
		return " for no key update" + of + " skip locked"
	}
	ids := func(n int) []any {
		var list []any
		for i := range n {
			list = append(list, b.endpoints[i])
		}
		return list
	}
	lease := []any{"token", "node", now, now}
	for _, e := range ids(32) {
		lease = append(lease, e, now, 8)
	}
	complete := []any{now}
	for i := range 64 {
		complete = append(complete, b.last, fmt.Sprintf("token-%d", i%8), "DISPATCHED", nil, nil, now, nil, nil, 0)
	}
	list := []planned{
		// Endpoints are few, and with a hundred of them PostgreSQL may as well sort them: it is of jobs that
		// none may be looked at in vain.
		{
			"endpoints with due work", candidatesText(0, lock(" of e")),
			[]any{16, "", lastID, now, maxEndpoints, now},
			[]string{"dispatch_job_due", "dispatch_job_leased"},
			true,
		},
		{
			"the same, but for some", candidatesText(16, lock(" of e")), append([]any{16, b.endpoints[10], lastID, now, maxEndpoints, now}, ids(16)...),
			[]string{"dispatch_job_due", "dispatch_job_leased"},
			true,
		},
		{"leases of endpoints", countText(32), ids(32), []string{"dispatch_job_leased"}, true},
		{"claim", leaseText(32, lock("")), lease, []string{"dispatch_job_due", "key of dispatch_job"}, false},
		{"complete", completeText(64), complete, []string{"key of dispatch_job"}, false},
		{
			"dead servers' leases", takeBackText(`lease_node in (select incarnation from node where seen_at < $1)`) + lock(""),
			[]any{now},
			[]string{"dispatch_job_leased"},
			false,
		},
		{"overdue leases", takeBackText(overdue) + lock(""), []any{now}, []string{"dispatch_job_leased"}, false},
		{"jobs that are over", expiredText + lock(""), []any{now, maxExpired}, []string{"dispatch_job_expire"}, false},
		{"jobs of orders that are over", expiredOrderedText, []any{now, maxExpired}, []string{"dispatch_job_expire"}, false},
		{"the next of an order", nextTurnText, []any{b.crowded, "key"}, []string{"dispatch_job_behind", "key of dispatch_job"}, false},
		{"old payloads", oldPayloadsText, []any{"", b.last, forgetPiece}, []string{"key of dispatch_payload"}, false},
		{"own leases", ownLeases, []any{"node-0"}, []string{"dispatch_job_leased"}, false},
		{"retry-due: endpoints", dueEndpointsText, []any{now}, []string{"dispatch_job_due"}, true},
		{"retry-due: jobs", dueText, []any{b.crowded, now, 20}, []string{"dispatch_job_due"}, false},
		{"retry-due: jobs that wait", dueOrRetryingText, []any{b.crowded, now, 20, now}, []string{"dispatch_job_due"}, false},
	}
	page := store.Page{Limit: 50, After: b.last}
	hour := JobFilter{From: b.first.Add(time.Hour), To: b.first.Add(2 * time.Hour)}
	for _, l := range []struct {
		name   string
		filter JobFilter
		want   []string
		sorts  bool
	}{
		{"all", JobFilter{}, []string{"key of dispatch_payload"}, false},
		{"of an endpoint", JobFilter{EndpointID: b.crowded}, []string{"dispatch_payload_endpoint"}, false},
		{"of an owner", JobFilter{OwnerID: "user-3"}, []string{"dispatch_payload_owner"}, false},
		{"of an hour", hour, []string{"key of dispatch_payload"}, false},
		{"pending", JobFilter{Status: Pending}, []string{"dispatch_job_status"}, false},
		{"retrying", JobFilter{Status: Retrying}, []string{"dispatch_job_status"}, false},
		{"dispatched", JobFilter{Status: Dispatched}, []string{"dispatch_job_status"}, false},
		{"dead", JobFilter{Status: DeadLetter}, []string{"dispatch_job_status"}, false},
		{"in flight", JobFilter{Status: InFlight}, []string{"dispatch_job_leased"}, true},
		{"in flight, of an endpoint", JobFilter{Status: InFlight, EndpointID: b.crowded}, []string{"dispatch_job_leased"}, true},
		{"dispatched, of an hour", JobFilter{Status: Dispatched, From: hour.From, To: hour.To}, []string{"dispatch_job_status"}, false},
		{"pending, of an endpoint", JobFilter{Status: Pending, EndpointID: b.crowded}, []string{"dispatch_payload_endpoint"}, false},
		{"dispatched, of an owner", JobFilter{Status: Dispatched, OwnerID: "user-3"}, []string{"dispatch_payload_owner"}, false},
	} {
		q := l.filter.query(page, allIDs)
		list = append(list, planned{"jobs " + l.name, q.pageText(), q.args, l.want, l.sorts},
			planned{"jobs " + l.name + ", whole", q.text(), q.args, l.want, true}) // a page is sorted
	}
	start, _ := startingWith(b.last[:9])
	q := JobFilter{}.query(page, start)
	list = append(list, planned{"jobs that begin so", q.pageText(), q.args, []string{"key of dispatch_payload"}, false})
	start, _ = startingWith(fmt.Sprintf("00000000-0000-7aaa-8000-%012x", b.first.Unix())[:34])
	q = JobFilter{}.queryOfDocuments(page, start)
	list = append(list, planned{"jobs of documents that begin so", q.text(), q.args, []string{"dispatch_payload_document"}, true})
	return list
}

var errUndo = errors.New("explained")

func holdPlans(t *testing.T, st *store.Store, b bigTables) {
	explain, scan, sorts := "explain ", regexp.MustCompile(`Seq Scan on dispatch_(job|payload)`), "Sort"
	if st.Dialect() == store.SQLite {
		explain, scan, sorts = "explain query plan ", regexp.MustCompile(`SCAN (dispatch_job|dispatch_payload|[jpf])(\n|$)`), "TEMP B-TREE"
	}
	for _, p := range statements(st, b) {
		t.Run(p.name, func(t *testing.T) {
			var plan string
			err := st.Write(t.Context(), func(tx *store.Tx) error {
				plan = ""
				err := tx.Each(t.Context(), func(scan func(...any) error) error {
					var line string
					dest := []any{&line}
					if st.Dialect() == store.SQLite {
						var id, parent, unused int
						dest = []any{&id, &parent, &unused, &line}
					}
					err := scan(dest...)
					plan += line + "\n"
					return err
				}, explain+p.query, p.args...)
				return errors.Join(err, errUndo)
			})
			if !errors.Is(err, errUndo) || plan == "" {
				t.Fatal(err)
			}
			if scan.MatchString(plan) {
				t.Errorf("a table is scanned:\n%s", plan)
			}
			if !p.sorts && strings.Contains(plan, sorts) {
				t.Errorf("rows are sorted:\n%s", plan)
			}
			for _, index := range p.want {
				if table, ok := strings.CutPrefix(index, "key of "); ok {
					index = table + "_pkey"
					if st.Dialect() == store.SQLite {
						index = "sqlite_autoindex_" + table
					}
				}
				if !strings.Contains(plan, index) {
					t.Errorf("%s is not used:\n%s", index, plan)
				}
			}
		})
	}
}

// holdLists holds that lists give what they should, whichever index each goes through.
func holdLists(t *testing.T, st *store.Store, b bigTables) {
	d := newDispatcher(t, st, fast())
	for _, f := range []JobFilter{
		{},
		{EndpointID: b.endpoints[7]},
		{OwnerID: "user-3"},
		{Status: Pending},
		{Status: Retrying},
		{Status: Dispatched},
		{Status: DeadLetter},
		{Status: InFlight},
		{Status: DeadLetter, EndpointID: b.endpoints[7]},
		{Status: Dispatched, OwnerID: "user-3", To: b.first.Add(time.Hour)},
		{From: b.first.Add(time.Hour), To: b.first.Add(time.Hour + 50*time.Second)},
		{Q: b.last[:8]},
		{Q: b.last[:13]},
		{Q: b.last},
		{Q: "00000000-0000-7aaa-8000"},
		{Q: "00000000-0000-7aaa-8000", Status: DeadLetter, OwnerID: "user-3"},
	} {
		list, err := d.List(t.Context(), audit.Principal{Kind: audit.User, Role: audit.Auditor}, f, store.Page{Limit: 30})
		if err != nil {
			t.Fatal(err)
		}
		if len(list.Items) == 0 {
			t.Errorf("%+v finds nothing", f)
		}
		for i, j := range list.Items {
			if i > 0 && j.ID >= list.Items[i-1].ID || f.Status != "" && j.Status != f.Status || f.EndpointID != "" && j.EndpointID != f.EndpointID ||
				f.OwnerID != "" && j.OwnerID != f.OwnerID || !f.From.IsZero() && j.CreatedAt.Before(f.From) || !f.To.IsZero() && !j.CreatedAt.Before(f.To) ||
				f.Q != "" && !strings.HasPrefix(j.ID, f.Q) && !strings.HasPrefix(j.DocumentID, f.Q) {
				t.Fatalf("%+v gives, at %d, %+v", f, i, j)
			}
		}
	}
}
