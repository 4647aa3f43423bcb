package account

import (
	"context"
	"fmt"
	"time"

	"sealpost/audit"
	"sealpost/store"
)

// Activity is who has come in since a time, by the audit log, and who is in now.
type Activity struct {
	SignIns       audit.Tally
	FailedSignIns audit.Tally // a right password with which one is on the way, to a code or to enrollment, is none
	Refreshes     audit.Tally
	ReusedTokens  audit.Tally // refresh tokens that came back: each has ended a session
	LiveSessions  audit.Tally // now
}

// liveText runs on the index of sessions by their end.
const liveText = `select count(*) from (select 1 from session where expires_at > $1 and revoked_at is null limit $2) as s`

// Activity counts. It costs as much for a busy week as for a busy hour: see audit.MaxTally.
func (a *Accounts) Activity(ctx context.Context, since time.Time) (Activity, error) {
	events, err := a.log.Tally(ctx, since, "auth.login.succeeded", "auth.refresh.succeeded", "auth.refresh.reused")
	if err != nil {
		return Activity{}, err
	}
	reasons, failed, err := a.log.TallyBy(ctx, since, "auth.login.failed", "reason")
	if err != nil {
		return Activity{}, err
	}
	failed.N -= reasons[reasonNoFactor] + reasons[reasonEnrollment]
	activity := Activity{
		SignIns: events["auth.login.succeeded"], FailedSignIns: failed,
		Refreshes: events["auth.refresh.succeeded"], ReusedTokens: events["auth.refresh.reused"],
	}
	err = a.log.Store().Read(ctx, func(tx *store.Tx) error {
		var n int
		if err := tx.QueryRow(ctx, liveText, a.now().UnixMicro(), audit.MaxTally+1).Scan(&n); err != nil {
			return err
		}
		activity.LiveSessions = audit.TallyOf(n)
		return nil
	})
	if err != nil {
		return Activity{}, fmt.Errorf("count sessions: %w", err)
	}
	return activity, nil
}
