package dispatch

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"sealpost/keys"
	"sealpost/store"
	"sealpost/store/storetest"
)

// A secret's age counts from its own change, whatever else changes about its endpoint.
func TestSecretAges(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		d := newDispatcher(t, st, fast())
		first, second, gone := endpoint(t, d, "http://127.0.0.1:1/"), endpoint(t, d, "http://127.0.0.1:1/"), endpoint(t, d, "http://127.0.0.1:1/")
		if err := d.DeleteEndpoint(t.Context(), admin, gone.ID); err != nil {
			t.Fatal(err)
		}
		old := time.Now().Add(-91 * 24 * time.Hour).UTC().Truncate(time.Microsecond)
		err := st.Write(t.Context(), func(tx *store.Tx) error {
			_, err := tx.Exec(t.Context(), `update dispatch_endpoint set created_at = $1, secret_changed_at = $1`, old.UnixMicro())
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := d.SetPaused(t.Context(), admin, first.ID, true, ""); err != nil {
			t.Fatal(err)
		}
		if _, _, err := d.RotateSecret(t.Context(), admin, second.ID, 0); err != nil {
			t.Fatal(err)
		}
		ages, err := d.SecretAges(t.Context())
		if err != nil || len(ages) != 2 || ages[0].EndpointID != first.ID || ages[0].Name != first.Name || !ages[0].ChangedAt.Equal(old) ||
			ages[1].EndpointID != second.ID || time.Since(ages[1].ChangedAt) > time.Minute {
			t.Errorf("%+v, %v", ages, err)
		}
	})
}

// All that is kept encrypted is encrypted anew after a rotation, and then read with the new key alone.
func TestSealedValuesAreEncryptedAnew(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		d := newDispatcher(t, st, fast())
		rc := receive(t, func(_ int, w http.ResponseWriter, _ *http.Request) {
			http.Error(w, "no", http.StatusInternalServerError)
		})
		e, _, err := d.CreateEndpoint(t.Context(), admin, NewEndpoint{
			Name: "receiver", URL: rc.URL, Credentials: Credentials{Auth: &Auth{Kind: Bearer, Token: "t0ken"}},
		})
		if err != nil {
			t.Fatal(err)
		}
		stop := run(t, d)
		id := accept(t, d, e.ID, "the payload")
		await(t, d, id, DeadLetter)
		stop()
		current := keys.NewKey(keys.NewID(), []byte("another key, of 32 bytes exactly"))
		d.data.Replace(current, d.data.Current())
		for _, column := range Sealed() {
			r, err := d.log.Reencrypt(t.Context(), admin, d.data, column, "")
			if err != nil || r.Changed == 0 || r.Failed != 0 {
				t.Errorf("%s.%s: %+v, %v", column.Table, column.Column, r, err)
			}
		}
		d.data.Replace(current, nil)
		if _, payload, err := d.Payload(t.Context(), admin, id); err != nil || string(payload) != "the payload" {
			t.Errorf("the payload is %q, %v", payload, err)
		}
		if attempts, err := d.Attempts(t.Context(), id); err != nil || len(attempts) == 0 || !strings.Contains(attempts[0].Answer, "no") {
			t.Errorf("the attempts are %v, %v", attempts, err)
		}
		if _, _, err := d.RotateSecret(t.Context(), admin, e.ID, time.Hour); err != nil { // it reads the old one
			t.Error(err)
		}
		run(t, d)
		await(t, d, accept(t, d, e.ID, "another"), DeadLetter)
		arrived := rc.all()
		if got := arrived[len(arrived)-1]; got.body != "another" || got.head.Get("Authorization") != "Bearer t0ken" {
			t.Errorf("arrived %q with %v", got.body, got.head)
		}
	})
}
