package audit_test

import (
	"bytes"
	"context"
	"fmt"
	"testing"

	"sealpost/audit"
	"sealpost/keys"
	"sealpost/store"
	"sealpost/store/storetest"
)

// Large values are encrypted anew in several transactions, each with its event; one that no key opens is
// left and told of; what is already under the current key is not touched.
func TestReencrypt(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		log, _ := newLog(t, st)
		column := keys.Sealed{Table: "dispatch_payload", Place: "job_id", Column: "body", Purpose: keys.JobPayload}
		old, current := keys.NewKey(keys.NewID(), bytes.Repeat([]byte{1}, 32)), keys.NewKey(keys.NewID(), bytes.Repeat([]byte{2}, 32))
		lost := keys.NewKey(keys.NewID(), bytes.Repeat([]byte{3}, 32))
		large := bytes.Repeat([]byte{7}, 3<<20)
		insert := func(n int, key *keys.Key, value []byte) {
			t.Helper()
			var box []byte
			if key != nil {
				var err error
				if box, err = keys.NewRing(key, nil).Encrypt(column.Purpose, fmt.Sprint("job-", n), value); err != nil {
					t.Fatal(err)
				}
			}
			err := st.Write(t.Context(), func(tx *store.Tx) error {
				_, err := tx.Exec(t.Context(), `
					insert into dispatch_payload (job_id, endpoint_id, content_type, hash, body) values ($1, 'e', 'text/plain', $2, $3)`,
					fmt.Sprint("job-", n), []byte{0}, box)
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		for n := range 3 {
			insert(n, old, large)
		}
		insert(3, lost, []byte("lost"))
		insert(4, current, []byte("current"))
		insert(5, nil, nil) // its payload has gone
		ring := keys.NewRing(current, old)
		untouched := number(t, st, `select count(*) from dispatch_payload where body is null`)
		r, err := log.Reencrypt(t.Context(), admin, ring, column, "")
		if err != nil || r.Changed != 3 || r.Failed != 1 || r.Next != "job-4" || untouched != 1 {
			t.Fatalf("%+v, %v", r, err)
		}
		if r, err := log.Reencrypt(t.Context(), admin, ring, column, r.Next); err != nil || r != (audit.Reencrypted{}) {
			t.Errorf("behind the end: %+v, %v", r, err)
		}
		if r, err := log.Reencrypt(t.Context(), admin, ring, column, ""); err != nil || r.Changed != 0 || r.Failed != 1 {
			t.Errorf("once more: %+v, %v", r, err)
		}
		list, err := log.Events(context.Background(), audit.Filter{Action: "secret.values_reencrypted"}, store.Page{Limit: 10})
		if err != nil || len(list.Items) != 2 || list.Items[0].Details["count"] != 1.0 || list.Items[1].Details["count"] != 2.0 {
			t.Errorf("the events are %+v, %v: want 2 values of 3 MiB in the first transaction and 1 in the next", list.Items, err)
		}
		alone := keys.NewRing(current, nil)
		err = st.Read(t.Context(), func(tx *store.Tx) error {
			return tx.Each(t.Context(), func(scan func(...any) error) error {
				var id string
				var box []byte
				if err := scan(&id, &box); err != nil {
					return err
				}
				if value, err := alone.Decrypt(column.Purpose, id, box); (err == nil) != (id != "job-3") || id < "job-3" && !bytes.Equal(value, large) {
					t.Errorf("%s: %d bytes, %v", id, len(value), err)
				}
				return nil
			}, `select job_id, body from dispatch_payload where body is not null order by job_id`)
		})
		if err != nil {
			t.Fatal(err)
		}
	})
}
