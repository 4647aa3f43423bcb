package rotation

import (
	"os"
	"slices"
	"testing"
	"time"

	"sealpost/store"
	"sealpost/store/storetest"
)

// beat makes a server one that others count with, as its dispatcher does.
func (i *installation) beat(server string, ago time.Duration) {
	i.t.Helper()
	err := i.log.Bookkeep(i.t.Context(), func(tx *store.Tx) error {
		now, err := tx.Now(i.t.Context())
		if err != nil {
			return err
		}
		_, err = tx.Exec(i.t.Context(), `
			insert into node (incarnation, server, started_at, seen_at) values ($1, $2, $3, $3)
			on conflict (incarnation) do update set seen_at = excluded.seen_at`, i.log.Writer(), server, now.Add(-ago).UnixMicro())
		return err
	})
	if err != nil {
		i.t.Fatal(err)
	}
}

// takeFrom copies a secret's files from another server.
func (i *installation) takeFrom(other *installation, names ...string) {
	i.t.Helper()
	for _, name := range names {
		i.write(name, other.read(name))
	}
}

var allSecrets = []string{JWTSecret, DataEncryptionKey, AuditSigningKey}

// two starts two servers with the same secrets on one database.
func two(t *testing.T) (a, b *installation) {
	t.Helper()
	st := storetest.Open(t, storetest.PostgresURL(t))
	a = install(t, st, t.TempDir())
	dir := t.TempDir()
	if err := os.Mkdir(dir+"/secrets", 0o700); err != nil {
		t.Fatal(err)
	}
	(&installation{t: t, dir: dir}).takeFrom(a, allSecrets...)
	b = install(t, st, dir)
	a.beat("a", 0)
	b.beat("b", 0)
	for _, i := range []*installation{a, b} {
		i.state(JWTSecret)
	}
	return a, b
}

// No server signs with a new key before every server has it; both keys verify on each that has both.
func TestServersWaitForEachOther(t *testing.T) {
	for _, name := range allSecrets {
		t.Run(name, func(t *testing.T) {
			a, b := two(t)
			old := a.state(name).KeyID
			a.rotate(name, false)
			s := a.state(name)
			if s.KeyID != old || s.NextKeyID == "" || !slices.Equal(s.WaitsFor, []string{"b"}) {
				t.Fatalf("a does not wait: %+v", s)
			}
			ring := map[string]int{JWTSecret: 0, DataEncryptionKey: 1, AuditSigningKey: 2}[name]
			if r := a.slots[ring].ring; r.Current().ID != old || r.Find(s.NextKeyID) == nil {
				t.Error("a's ring signs with the new key, or does not verify it")
			}
			if n := len(a.events("secret.changed", name)); n != 0 {
				t.Errorf("%d changes were recorded", n)
			}
			// A server that starts with the new files meanwhile waits as well.
			c := install(t, a.st, a.dir)
			if c.slots[ring].ring.Current().ID != old {
				t.Error("a third server signs with the new key at once")
			}

			b.takeFrom(a, name+"_PREVIOUS", name)
			if got := b.state(name); got.KeyID != s.NextKeyID || len(got.WaitsFor) != 0 {
				t.Fatalf("b has it, and a has: %+v", got)
			}
			if got := a.state(name); got.KeyID != s.NextKeyID || got.PreviousKeyID != old || len(got.WaitsFor) != 0 {
				t.Fatalf("a has it, and b has: %+v", got)
			}
			if n := len(a.events("secret.changed", name)); n != 1 {
				t.Errorf("%d changes were recorded", n)
			}

			// A server that has told of nothing yet does not make the others go back.
			late := install(t, a.st, a.dir)
			late.beat("late", 0)
			if got := a.state(name); got.KeyID != s.NextKeyID || !slices.Equal(got.WaitsFor, []string{"late"}) {
				t.Errorf("a server comes: %+v", got)
			}
		})
	}
}

func TestADeadServerIsNotWaitedFor(t *testing.T) {
	a, b := two(t)
	old := a.state(JWTSecret).KeyID
	a.rotate(JWTSecret, false)
	b.beat("b", deadAfter-5*time.Second)
	if s := a.state(JWTSecret); s.KeyID != old {
		t.Errorf("b lives and is not waited for: %+v", s)
	}
	b.beat("b", deadAfter)
	if s := a.state(JWTSecret); s.KeyID == old {
		t.Errorf("b is dead and waited for: %+v", s)
	}
}

// After a leak nobody waits, and it is told who still has the old key.
func TestALeakWaitsForNobody(t *testing.T) {
	a, b := two(t)
	old := a.state(JWTSecret).KeyID
	a.rotate(JWTSecret, true)
	if s := a.state(JWTSecret); s.KeyID == old || s.PreviousKeyID != "" || !slices.Equal(s.WaitsFor, []string{"b"}) {
		t.Errorf("a: %+v", s)
	}
	b.takeFrom(a, JWTSecret)
	if s := b.state(JWTSecret); s.KeyID == old || len(s.WaitsFor) != 0 {
		t.Errorf("b: %+v", s)
	}
	if s := a.state(JWTSecret); len(s.WaitsFor) != 0 {
		t.Errorf("a: %+v", s)
	}
	if n := len(a.events("secret.changed", JWTSecret)); n != 1 {
		t.Errorf("%d changes were recorded", n)
	}
}

// The data key before is not let go while another server may still encrypt with it.
func TestSettlingWaitsForEveryServer(t *testing.T) {
	a, b := two(t)
	a.rotate(DataEncryptionKey, false)
	a.state(DataEncryptionKey)
	b.takeFrom(a, "DATA_ENCRYPTION_KEY_PREVIOUS", DataEncryptionKey)
	b.state(DataEncryptionKey)
	a.state(DataEncryptionKey) // a signs with it now; b has told so
	a.later(settleAfter)
	a.state(DataEncryptionKey)
	// b's heartbeat says that it still encrypts with the old one.
	a.exec(`update node set keys = $2 where incarnation = $1`, b.log.Writer(),
		`{"DATA_ENCRYPTION_KEY":["`+a.state(DataEncryptionKey).PreviousKeyID+`","`+a.state(DataEncryptionKey).KeyID+`"]}`)
	if err := a.Reencrypt(t.Context()); err != nil {
		t.Fatal(err)
	}
	if a.state(DataEncryptionKey).Settled {
		t.Error("it is settled while b encrypts with the old key")
	}
	b.state(DataEncryptionKey)
	if err := a.Reencrypt(t.Context()); err != nil {
		t.Fatal(err)
	}
	if !a.state(DataEncryptionKey).Settled {
		t.Error("it is not settled")
	}
}
