package account

import (
	"context"
	"fmt"
	"time"

	"sealpost/store"
)

// Inspection is what the tables say about the runbook's §1 and §3. It needs no keys, so a database can
// be inspected by whoever can read it.
type Inspection struct {
	Bootstrapped    bool   // register-first is spent
	FirstID         string // of the first account; "" where there is none, or no longer
	FirstHasMFA     bool
	WithoutMFA      int // enabled accounts without an authenticator app, counted up to MaxInspected
	SessionsWithout int // their sessions that have not ended, without those that a passkey began

	RawRefreshTokens int      // rows that hold something else than a SHA-256
	TokenColumns     []string // of the table of refresh tokens
}

// MaxInspected is where counting stops.
const MaxInspected = 1000

// Both run on the partial index of accounts that have not enrolled; the second goes on to their
// sessions. (A cross join is one whose order SQLite keeps.)
const (
	withoutMFAText      = `select count(*) from (select 1 from account where not mfa_enabled and not disabled limit $1) as a`
	sessionsWithoutText = `
		select count(*) from (select 1 from account cross join session
		 where session.user_id = account.id and not account.mfa_enabled and not account.disabled and session.revoked_at is null and session.passkey_id is null and session.expires_at > $1 limit $2) as s`
	// rawTokensText runs on an index that has no rows unless the answer is more than 0.
	// The order is what keeps PostgreSQL, which takes most rows for such, from looking at the table.
	rawTokensText = `select count(*) from (select 1 from refresh_token where length(hash) <> 32 order by hash limit $1) as t` //nolint:gosec // SQL about tokens, not one
)

// Inspect reads the tables of accounts as they are at a time.
func Inspect(ctx context.Context, st *store.Store, now time.Time) (Inspection, error) {
	var i Inspection
	err := st.Read(ctx, func(tx *store.Tx) error {
		if err := i.readFirst(ctx, tx); err != nil {
			return err
		}
		if err := tx.QueryRow(ctx, withoutMFAText, MaxInspected).Scan(&i.WithoutMFA); err != nil {
			return err
		}
		if err := tx.QueryRow(ctx, sessionsWithoutText, now.UnixMicro(), MaxInspected).Scan(&i.SessionsWithout); err != nil {
			return err
		}
		if err := tx.QueryRow(ctx, rawTokensText, MaxInspected).Scan(&i.RawRefreshTokens); err != nil {
			return err
		}
		rows, err := tx.Query(ctx, `select * from refresh_token limit 0`)
		if err != nil {
			return err
		}
		defer rows.Close() //nolint:errcheck // there are none
		i.TokenColumns, err = rows.Columns()
		if err == nil {
			err = rows.Err()
		}
		return err
	})
	if err != nil {
		return Inspection{}, fmt.Errorf("inspect accounts: %w", err)
	}
	return i, nil
}

// readFirst finds the first account: the one that register-first made or, where another way was
// taken, the oldest.
func (i *Inspection) readFirst(ctx context.Context, tx *store.Tx) error {
	err := tx.QueryRow(ctx, `select user_id from bootstrap where id = 1`).Scan(&i.FirstID)
	i.Bootstrapped = err == nil
	if store.NoRow(err) {
		err = tx.QueryRow(ctx, `select id from account order by id limit 1`).Scan(&i.FirstID)
		if store.NoRow(err) {
			return nil
		}
		i.Bootstrapped = err == nil
	}
	if err != nil {
		return err
	}
	err = tx.QueryRow(ctx, `select mfa_enabled from account where id = $1`, i.FirstID).Scan(&i.FirstHasMFA)
	if store.NoRow(err) {
		i.FirstID, err = "", nil
	}
	return err
}
