package pgtest

import (
	"context"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// What a primary has answered for is on its standby, which takes its place when it is killed, at an address that
// names both. What the standby has not got the primary does not answer for.
func TestStandby(t *testing.T) {
	tmp := tempDir(t)
	ctx := t.Context()
	primary, err := StartWith(ctx, Options{Settings: SynchronousSettings})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stop(t, primary) })
	standby, err := primary.Standby(ctx, Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stop(t, standby) })
	both := URLs("postgres", standby, primary)

	conn := connect(t, both) // to the one that takes writes
	if _, err := conn.Exec(ctx, `create table kept (id integer)`); err != nil {
		t.Fatal(err)
	}
	if _, err := connect(t, standby.URL("postgres")).Exec(ctx, `insert into kept values (1)`); err == nil {
		t.Error("a standby takes writes")
	}
	lose, err := standby.LoseReplication(ctx)
	if err != nil {
		t.Fatal(err)
	}
	// It waits for the standby, and nobody knows how it ends.
	within, cancel := context.WithTimeout(ctx, 300*time.Millisecond)
	defer cancel()
	if _, err := conn.Exec(within, `insert into kept values (2)`); err == nil {
		t.Error("a commit was answered for that the standby has not got")
	}
	if err := primary.Kill(ctx); err != nil {
		t.Fatal(err)
	}
	if err := lose(); err != nil {
		t.Fatal(err)
	}
	if none, err := pgx.Connect(ctx, both); err == nil {
		t.Error("a standby is connected to where a server is wanted that takes writes")
		_ = none.Close(ctx)
	}
	if err := standby.Promote(ctx); err != nil {
		t.Fatal(err)
	}
	var n int
	if err := connect(t, both).QueryRow(ctx, `insert into kept values (3) returning (select count(*) from kept)`).Scan(&n); err != nil || n != 0 {
		t.Errorf("before the first row there are %d: %v", n, err)
	}
	if err := primary.Kill(ctx); err == nil {
		t.Error("a killed server was killed")
	}
	stop(t, primary)
	stop(t, standby)
	if left := leftovers(t, tmp); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
}
