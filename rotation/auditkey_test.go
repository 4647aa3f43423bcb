package rotation

import (
	"context"
	"errors"
	"testing"

	"sealpost/store"
	"sealpost/store/storetest"
)

// What waits is sealed under the key in use before another one is used, and a log that cannot be sealed keeps
// no key in use.
func TestPendingIsSealedBeforeTheAuditKeyChanges(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		var under []string
		var fails error
		var i *installation
		i = install(t, st, t.TempDir(), func(o *Options) {
			o.SealPending = func(context.Context) error {
				under = append(under, i.Keys().Audit.Current().ID)
				return fails
			}
		})
		first := i.state(AuditSigningKey).KeyID
		if len(under) != 0 {
			t.Errorf("sealed %d times, and nothing was rotated", len(under))
		}
		i.rotate(AuditSigningKey, false)
		second := i.state(AuditSigningKey).KeyID
		if len(under) != 1 || under[0] != first || second == first {
			t.Errorf("sealed under %v; %s was followed by %s", under, first, second)
		}
		fails = errors.New("the disk is full")
		i.rotate(AuditSigningKey, true)
		if third := i.state(AuditSigningKey).KeyID; len(under) != 2 || under[1] != second || third == second {
			t.Errorf("sealed under %v; %s was followed by %s", under, second, third)
		}
		i.rotate(JWTSecret, true)
		i.state(JWTSecret)
		if len(under) != 2 {
			t.Error("another secret's rotation seals")
		}
	})
}
