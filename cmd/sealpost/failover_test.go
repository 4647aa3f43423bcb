package main

import (
	"encoding/json"
	"net/http"
	"slices"
	"testing"
	"time"

	"sealpost/client"
	"sealpost/store"
	"sealpost/store/storetest"
	"sealpost/store/storetest/pgtest"
)

// TestThePrimaryIsKilled kills PostgreSQL's primary under load, with all that its standby had not read yet,
// and promotes the standby. The server, whose DATABASE_URL names both, goes on by itself, and every job
// that was answered 2xx is there and arrives.
func TestThePrimaryIsKilled(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	primary, err := pgtest.StartWith(ctx, pgtest.Options{Settings: pgtest.SynchronousSettings})
	if err != nil {
		t.Fatal(err)
	}
	cleanup := func(c *pgtest.Cluster) {
		t.Cleanup(func() {
			if err := c.Stop(); err != nil {
				t.Errorf("stop PostgreSQL: %v", err)
			}
		})
	}
	cleanup(primary)
	standby, err := primary.Standby(ctx, pgtest.Options{})
	if err != nil {
		t.Fatal(err)
	}
	cleanup(standby)

	rc := newCountingReceiver(t)
	p := newProcess(t, pgtest.URLs("postgres", primary, standby))
	p.start()
	p.firstAdmin()
	endpoints := []string{p.endpoint(rc.URL + "/1"), p.endpoint(rc.URL + "/2")}
	load := post(t, p, endpoints, func(err error) { // an outage has one answer
		if status := client.StatusOf(err); status != 0 && status != http.StatusServiceUnavailable {
			t.Errorf("while the primary is lost: %v", err)
		}
	})
	await(t, "jobs are accepted and delivered", func() bool { return len(load.ids()) > 100 && len(rc.missing(load.ids())) < 50 })

	lose, err := standby.LoseReplication(ctx)
	if err != nil {
		t.Fatal(err)
	}
	// Long enough for jobs to be accepted that nobody but the primary has, if it did not wait for the standby.
	time.Sleep(300 * time.Millisecond)
	if err := primary.Kill(ctx); err != nil {
		t.Fatal(err)
	}
	lost := time.Now()
	if err := lose(); err != nil {
		t.Fatal(err)
	}
	await(t, "the health check says so", func() bool {
		h := p.health()
		return h.Status == "FAIL" && h.Checks["database"].Reason == "the database is away"
	})
	before := load.ids()
	if err := standby.Promote(ctx); err != nil {
		t.Fatal(err)
	}
	promoted := time.Now()
	await(t, "jobs are accepted again", func() bool { return len(load.ids()) > len(before) })
	t.Logf("jobs are accepted again %.1f s after the primary was lost, %.1f s after the standby was promoted",
		time.Since(lost).Seconds(), time.Since(promoted).Seconds())
	await(t, "the server is well again", func() bool { return p.health().Status == "PASS" })
	await(t, "many more are accepted", func() bool { return len(load.ids()) > len(before)+100 })
	load.stop()

	st := storetest.Open(t, standby.URL("postgres"))
	there := map[string]bool{}
	err = st.Read(ctx, func(tx *store.Tx) error {
		return tx.Each(ctx, func(scan func(...any) error) error {
			var id string
			err := scan(&id)
			there[id] = true
			return err
		}, `select id from dispatch_job`)
	})
	if err != nil {
		t.Fatal(err)
	}
	if gone := slices.DeleteFunc(load.ids(), func(id string) bool { return there[id] }); len(gone) > 0 {
		t.Errorf("%d of %d jobs that were answered 202 are gone, %s the first", len(gone), len(load.ids()), gone[0])
	}
	await(t, "every accepted job arrives", func() bool { return len(rc.missing(load.ids())) == 0 })
	waitUntilNothingIsUnfinished(t, p)
	if err := p.stop(); err != nil {
		t.Errorf("the server ended with %v", err)
	}
	t.Logf("%d jobs accepted, %d of them before the primary was killed, all delivered", len(load.ids()), len(before))
	checkNothingHalfWritten(t, standby.URL("postgres"))
}

// health is what GET /health says.
type health struct {
	Status string
	Checks map[string]struct{ Status, Reason string }
}

func (p *process) health() (h health) {
	p.t.Helper()
	res, err := p.api.HTTP.Get(p.api.URL + "/health")
	if err != nil {
		p.t.Fatal(err)
	}
	defer res.Body.Close() //nolint:errcheck // read to its end
	if err := json.NewDecoder(res.Body).Decode(&h); err != nil {
		p.t.Fatalf("GET /health: %v", err)
	}
	if (res.StatusCode == http.StatusOK) != (h.Status == "PASS") {
		p.t.Errorf("GET /health says %d and %s", res.StatusCode, h.Status)
	}
	return h
}
