package document

import (
	"context"
	"crypto/rand"
	"log/slog"
	"testing"

	"sealpost/assist"
	"sealpost/audit"
	"sealpost/dispatch"
	"sealpost/fault"
	"sealpost/keys"
	"sealpost/store"
	"sealpost/store/storetest"
)

func TestMain(m *testing.M) { storetest.Main(m) }

// desk is a database with what documents need.
type desk struct {
	*Documents
	st       *store.Store
	log      *audit.Log
	dispatch *dispatch.Dispatcher
}

func newDesk(t *testing.T, st *store.Store) *desk {
	t.Helper()
	ring := func() *keys.Ring {
		secret := make([]byte, 32)
		_, _ = rand.Read(secret)
		return keys.NewRing(keys.NewKey(keys.NewID(), secret), nil)
	}
	set := &keys.Set{JWT: ring(), Data: ring(), Audit: ring()}
	log := audit.New(st, slog.New(slog.DiscardHandler))
	log.Use(set.Audit)
	t.Cleanup(func() { log.Close(context.WithoutCancel(t.Context())) })
	d := dispatch.New(log, set.Data, dispatch.Options{MaxAttempts: 3, AllowPrivateNetworks: true})
	return &desk{Documents: New(log, set, d, assist.New(assist.Options{})), st: st, log: log, dispatch: d}
}

// person is a signed-in person with a role.
func person(role audit.Role) audit.Principal {
	id := store.NewID()
	return audit.Principal{Kind: audit.User, UserID: id, Email: id + "@example.org", Role: role, IP: "192.0.2.1", RequestID: "r-" + id}
}

// endpoint makes a place to dispatch to.
func (d *desk) endpoint(t *testing.T) string {
	t.Helper()
	e, _, err := d.dispatch.CreateEndpoint(t.Context(), person(audit.Admin), dispatch.NewEndpoint{Name: "receiver", URL: "http://127.0.0.1:9/"})
	if err != nil {
		t.Fatal(err)
	}
	return e.ID
}

// draft makes a document.
func (d *desk) draft(t *testing.T, by audit.Principal) Document {
	t.Helper()
	doc, err := d.Create(t.Context(), by, audit.Once{}, Text{Title: "Minutes", Content: "# All agreed\n"})
	if err != nil {
		t.Fatal(err)
	}
	return doc
}

// final makes a final document that was sent to a new endpoint.
func (d *desk) final(t *testing.T, by audit.Principal) Document {
	t.Helper()
	doc := d.draft(t, by)
	_, err := d.Finalize(t.Context(), by, audit.Once{}, doc.ID, Finalization{Attest: true, EndpointIDs: []string{d.endpoint(t)}})
	if err != nil {
		t.Fatal(err)
	}
	if doc, err = d.Get(t.Context(), by, doc.ID); err != nil {
		t.Fatal(err)
	}
	return doc
}

// events gives the actions and outcomes that the audit log has of a thing, the oldest first.
func (d *desk) events(t *testing.T, entityID string) []string {
	t.Helper()
	list, err := d.log.Events(t.Context(), audit.Filter{EntityID: entityID}, store.Page{Limit: 100})
	if err != nil {
		t.Fatal(err)
	}
	var actions []string
	for _, e := range list.Items {
		actions = append([]string{e.Action + " " + e.Outcome}, actions...)
	}
	return actions
}

// count gives the number of rows of a table.
func (d *desk) count(t *testing.T, table string) (n int) {
	t.Helper()
	err := d.st.Read(t.Context(), func(tx *store.Tx) error {
		return tx.QueryRow(t.Context(), `select count(*) from `+table).Scan(&n)
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func wantFault(t *testing.T, err error, kind fault.Kind) {
	t.Helper()
	if err == nil || fault.Of(err) != kind {
		t.Errorf("got the error %v, want one of kind %v", err, kind)
	}
}
