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

// The events that tell of it.
const (
	actSignedIn     = "auth.login.succeeded"
	actSignInFailed = "auth.login.failed"
	actRefreshed    = "auth.refresh.succeeded"
	actReused       = "auth.refresh.reused"
)

// Activity counts. It costs as much for a busy week as for a busy hour: see audit.MaxTally.
func (a *Accounts) Activity(ctx context.Context, since time.Time) (Activity, error) {
	events, err := a.log.Tally(ctx, since, actSignedIn, actRefreshed, actReused)
	if err != nil {
		return Activity{}, err
	}
	reasons, failed, err := a.log.TallyBy(ctx, since, actSignInFailed, "reason")
	if err != nil {
		return Activity{}, err
	}
	failed.N -= reasons[reasonNoFactor] + reasons[reasonEnrollment]
	activity := Activity{
		SignIns: events[actSignedIn], FailedSignIns: failed,
		Refreshes: events[actRefreshed], ReusedTokens: events[actReused],
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

// Trend is who came in within a span of time, and what was refused.
type Trend struct {
	SignIns, FailedSignIns, Refreshes, ReusedTokens int
	Refused                                         int // everything that was not allowed, on whatever route
}

// Trend counts in buckets. atLeast tells that of the latest some may have been left out.
func (a *Accounts) Trend(ctx context.Context, b audit.Buckets) (trend []Trend, atLeast bool, err error) {
	s, err := a.log.Series(ctx, b, actSignedIn, actSignInFailed, actRefreshed, actReused)
	if err != nil {
		return nil, false, err
	}
	signIns, failed, refreshes, reused, refused := s.Of(actSignedIn), s.Of(actSignInFailed), s.Of(actRefreshed), s.Of(actReused), s.Refused()
	noFactor, enrollment := s.By(actSignInFailed, reasonNoFactor), s.By(actSignInFailed, reasonEnrollment)
	trend = make([]Trend, b.N)
	for i := range trend {
		trend[i] = Trend{
			SignIns: signIns[i], FailedSignIns: failed[i] - noFactor[i] - enrollment[i],
			Refreshes: refreshes[i], ReusedTokens: reused[i], Refused: refused[i],
		}
	}
	return trend, s.AtLeast, nil
}
