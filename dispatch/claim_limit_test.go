package dispatch

import (
	"fmt"
	"testing"

	"sealpost/audit"
	"sealpost/store"
	"sealpost/store/storetest"
)

// A claim takes what it was granted and no more, whichever way PostgreSQL goes about it. In a nested loop
// it may run a subquery once for each row of the table; one that locks and skips what is locked would give
// other rows each time, and the cap of an endpoint would not hold.
func TestAClaimKeepsToItsGrantWhateverThePlan(t *testing.T) {
	st := storetest.Open(t, storetest.PostgresURL(t))
	for _, off := range [][]string{
		nil,
		{"enable_hashjoin", "enable_mergejoin"},
		{"enable_hashjoin", "enable_mergejoin", "enable_material", "enable_indexscan", "enable_bitmapscan"},
		{"enable_hashjoin", "enable_mergejoin", "enable_material", "enable_hashagg", "enable_sort"},
		{"enable_hashjoin", "enable_mergejoin", "enable_material", "enable_hashagg", "enable_sort", "enable_indexscan", "enable_bitmapscan", "enable_indexonlyscan"},
	} {
		t.Run(fmt.Sprint(off), func(t *testing.T) {
			d := newDispatcher(t, st, fast())
			e := endpoint(t, d, "http://127.0.0.1:9/")
			for range 10 {
				accept(t, d, e.ID, "x")
			}
			err := d.log.ChangeOrBookkeep(t.Context(), audit.Itself("dispatcher"), func(tx *store.Tx) ([]audit.Event, error) {
				for _, setting := range off {
					var was string
					if err := tx.QueryRow(t.Context(), `select set_config($1, 'off', true)`, setting).Scan(&was); err != nil {
						return nil, err
					}
				}
				now, err := tx.Now(t.Context())
				if err != nil {
					return nil, err
				}
				var c claimed
				ring := []candidate{{target: &target{id: e.ID}, until: now.UnixMicro()}}
				if err := d.lease(t.Context(), tx, now, store.NewID(), ring, []int{2}, &c); err != nil {
					return nil, err
				}
				if len(c.jobs) != 2 {
					t.Errorf("%d jobs are leased, 2 were granted", len(c.jobs))
				}
				return nil, nil
			})
			if err != nil {
				t.Fatal(err)
			}
		})
	}
}
