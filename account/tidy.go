package account

import (
	"context"
	"fmt"
	"time"

	"sealpost/store"
)

// sessionMemory is for how long a session's row is kept after its end.
const sessionMemory = 30 * 24 * time.Hour

// tidyPiece bounds how many rows one transaction deletes, so that nobody waits long behind it.
const tidyPiece = 1000

// Tidy forgets what can no longer count: sessions with their refresh tokens 30 days after their end,
// offers that were not taken, challenges that are over, counters whose window and block are over. It
// tells how many rows went.
func (a *Accounts) Tidy(ctx context.Context) (total int64, err error) {
	now := a.now()
	for _, t := range []struct {
		query  string
		before time.Time
	}{
		{`delete from session where id in (select id from session where expires_at < $1 order by expires_at limit $2)`, now.Add(-sessionMemory)},
		{`delete from mfa_enrollment where user_id in (select user_id from mfa_enrollment where expires_at < $1 order by expires_at limit $2)`, now},
		{`delete from password_reset where user_id in (select user_id from password_reset where expires_at < $1 order by expires_at limit $2)`, now},
		{`delete from passkey_challenge where hash in (select hash from passkey_challenge where forget_at < $1 order by forget_at limit $2)`, now},
		{`delete from throttle where id in (select id from throttle where forget_at < $1 order by forget_at limit $2)`, now},
	} {
		for n := int64(tidyPiece); n == tidyPiece; total += n {
			err := a.log.Bookkeep(ctx, func(tx *store.Tx) (err error) {
				n, err = tx.Exec(ctx, t.query, t.before.UnixMicro(), tidyPiece)
				return err
			})
			if err != nil {
				return total, fmt.Errorf("tidy accounts: %w", err)
			}
		}
	}
	return total, nil
}
