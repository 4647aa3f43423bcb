package account

import (
	"testing"
	"time"

	"sealpost/keys"
	"sealpost/store"
	"sealpost/store/storetest"
)

// Second factors, and those that are offered, are read with the new data key alone once they have been
// encrypted anew.
func TestSealedFactorsAreEncryptedAnew(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		f := newFixture(t, st)
		a := f.admin()
		f.clock.add(31 * time.Second)
		if _, err := f.MFASetup(f.ctx(), a.by); err != nil { // stages a second one
			t.Fatal(err)
		}
		current := keys.NewKey(keys.NewID(), []byte("another key, of 32 bytes exactly"))
		f.keys.Data.Replace(current, f.keys.Data.Current())
		for _, column := range Sealed() {
			r, err := f.log.Reencrypt(f.ctx(), a.by, f.keys.Data, column, "")
			if err != nil || r.Changed != 1 || r.Failed != 0 {
				t.Errorf("%s.%s: %+v, %v", column.Table, column.Column, r, err)
			}
		}
		f.keys.Data.Replace(current, nil)
		if _, err := f.Login(f.ctx(), from, Credentials{Email: a.email, Password: goodPassword, Factor: Factor{MFACode: f.code(a.secret)}}); err != nil {
			t.Errorf("sign-in with the factor: %v", err)
		}
	})
}
