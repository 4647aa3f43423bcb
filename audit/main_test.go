package audit_test

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"sealpost/audit"
	"sealpost/fault"
	"sealpost/keys"
	"sealpost/store"
	"sealpost/store/storetest"
)

func TestMain(m *testing.M) { storetest.Main(m) }

var admin = audit.Principal{
	Kind: audit.User, UserID: "user-1", Email: "kim@example.org", Role: audit.Admin, SessionID: "session-1",
	IP: "192.0.2.7", UserAgent: "Mozilla/5.0", RequestID: "request-1",
}

// newLog makes the log of a server on a database, with a key of its own.
func newLog(t *testing.T, st *store.Store) (*audit.Log, *keys.Key) {
	t.Helper()
	log, key := audit.New(st, slog.New(slog.DiscardHandler)), keys.NewKey(keys.NewID(), bytes.Repeat([]byte{42}, 32))
	log.Use(keys.NewRing(key, nil))
	t.Cleanup(func() { log.Close(context.Background()) })
	return log, key
}

// one is a change of nothing but its events.
func one(events ...audit.Event) func(*store.Tx) ([]audit.Event, error) {
	return func(*store.Tx) ([]audit.Event, error) { return events, nil }
}

// execute changes the database behind the log's back.
func execute(t *testing.T, st *store.Store, statements ...string) {
	t.Helper()
	for _, s := range statements {
		err := st.Write(t.Context(), func(tx *store.Tx) error { _, err := tx.Exec(t.Context(), s); return err })
		if err != nil {
			t.Fatal(err)
		}
	}
}

func number(t *testing.T, st *store.Store, query string, args ...any) int {
	t.Helper()
	var n int
	if err := st.Read(t.Context(), func(tx *store.Tx) error { return tx.QueryRow(t.Context(), query, args...).Scan(&n) }); err != nil {
		t.Fatal(err)
	}
	return n
}

// row is an event as the tables have it.
type row struct {
	id, body, writer, envelopeWriter         string
	requestID, actor, action, entity, object string
	outcome                                  string
	at                                       time.Time
	counter                                  uint64
	salt, envelope, mac                      []byte
}

// rows reads all events in their order, each with what is to be sealed of it.
func rows(t *testing.T, st *store.Store) []row {
	t.Helper()
	var list []row
	err := st.Read(t.Context(), func(tx *store.Tx) error {
		return tx.Each(t.Context(), func(scan func(...any) error) error {
			var r row
			err := scan(&r.id, store.Time(&r.at), store.String(&r.requestID), store.String(&r.actor), &r.action, store.String(&r.entity),
				store.String(&r.object), &r.outcome, &r.writer, &r.counter, &r.salt, &r.body, &r.envelopeWriter, &r.envelope, &r.mac)
			list = append(list, r)
			return err
		}, `select e.id, e.at, e.request_id, e.actor_id, e.action, e.entity, e.entity_id, e.outcome, e.writer, e.counter, e.salt, e.body,
		           p.writer, p.envelope, p.mac
		      from "AuditLog" e left join audit_pending p on p.event_id = e.id and p.counter = e.counter order by e.id`)
	})
	if err != nil {
		t.Fatal(err)
	}
	if pending := number(t, st, `select count(*) from audit_pending`); pending != len(list) {
		t.Errorf("there are %d events and %d envelopes", len(list), pending)
	}
	return list
}

// verify holds everything about the events in the tables that a sealer relies on.
func verify(t *testing.T, st *store.Store, log *audit.Log, key *keys.Key) []row {
	t.Helper()
	list := rows(t, st)
	counters := map[string]bool{}
	var last time.Time
	for _, r := range list {
		e, err := audit.ParseEnvelope(r.envelope)
		if err != nil {
			t.Fatalf("%s: %v", r.id, err)
		}
		if e.KeyID != key.ID || e.Writer != r.writer || r.writer != log.Writer() || e.Counter != r.counter || !e.At.Equal(r.at) {
			t.Errorf("%s: the envelope %+v does not fit the row %+v", r.id, e, r)
		}
		if sum := sha256.Sum256(append(bytes.Clone(r.salt), r.body...)); sum != e.BodyHash || len(r.salt) != 16 {
			t.Errorf("%s: the envelope's hash is not that of salt and body", r.id)
		}
		h := hmac.New(sha256.New, key.Derive(keys.EnvelopeMAC))
		h.Write([]byte(r.id))
		h.Write(r.envelope)
		if !hmac.Equal(h.Sum(nil), r.mac) {
			t.Errorf("%s: the HMAC does not hold", r.id)
		}
		if id := fmt.Sprint(r.writer, r.counter); counters[id] || r.counter == 0 {
			t.Errorf("the number %d is there twice, or none", r.counter)
		} else {
			counters[id] = true
		}
		// Ids are times.
		if r.at.Before(last) || r.id < audit.FirstID(r.at) || r.id >= audit.FirstID(r.at.Add(time.Microsecond)) {
			t.Errorf("%s is not of its time, %v, or out of order", r.id, r.at)
		}
		last = r.at
		var b struct {
			V        int
			ID, Time string
		}
		if err := json.Unmarshal([]byte(r.body), &b); err != nil || b.V != 1 || b.ID != r.id || b.Time != r.at.Format("2006-01-02T15:04:05.000000Z") {
			t.Errorf("%s: the body says %+v (%v)", r.id, b, err)
		}
	}
	return list
}

// fullDisk makes the next event that is large fail as an outage does, and gives what ends that.
func fullDisk(t *testing.T, st *store.Store) (large map[string]any, end func()) {
	t.Helper()
	large = map[string]any{"reason": strings.Repeat("x", 12<<10)}
	if st.Dialect() == store.Postgres { // of one connection: the next one is new, and well
		execute(t, st, `set session characteristics as transaction read only`)
		return large, func() {}
	}
	pages := number(t, st, `select page_count from pragma_page_count()`)
	execute(t, st, fmt.Sprintf(`pragma max_page_count = %d`, pages))
	return large, func() { execute(t, st, `pragma max_page_count = 1000000`) }
}

var errUndo = errors.New("undo")

func wantKind(t *testing.T, err error, kind fault.Kind) {
	t.Helper()
	if !fault.Is(err, kind) {
		t.Errorf("got %v, want a fault of kind %d", err, kind)
	}
}

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.Join(strings.Fields(s), ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}
