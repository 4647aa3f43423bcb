package pgtest

import (
	"testing"

	"github.com/jackc/pgx/v5"
)

func TestHaltAndResume(t *testing.T) {
	tmp := tempDir(t)
	c, err := Start(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stop(t, c) })
	conn := connect(t, c.URL("postgres"))
	if _, err := conn.Exec(t.Context(), `create table kept (id integer)`); err != nil {
		t.Fatal(err)
	}
	if err := c.Resume(t.Context()); err == nil {
		t.Error("a running server was resumed")
	}
	if err := c.Halt(t.Context()); err != nil {
		t.Fatal(err)
	}
	if away, err := pgx.Connect(t.Context(), c.URL("postgres")); err == nil {
		t.Error("the halted server answers")
		_ = away.Close(t.Context())
	}
	if err := c.Halt(t.Context()); err == nil {
		t.Error("a halted server was halted")
	}
	if err := c.Resume(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := connect(t, c.URL("postgres")).Exec(t.Context(), `select * from kept`); err != nil {
		t.Errorf("what was in the database is gone: %v", err)
	}
	if err := c.Halt(t.Context()); err != nil {
		t.Fatal(err)
	}
	stop(t, c)
	if left := leftovers(t, tmp); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
}
