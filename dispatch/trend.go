package dispatch

import (
	"context"

	"sealpost/audit"
)

// Trend is what became of jobs within a span of time, by the audit log.
type Trend struct {
	Accepted, Dispatched   int
	Retried, Interrupted   int // attempts
	Replayed, DeadLettered int
	ByReason               map[Reason]int // of DeadLettered; what there was none of is not in it
	AlertsRaised           int
}

// Trend counts in buckets. atLeast tells that of the latest some may have been left out.
func (d *Dispatcher) Trend(ctx context.Context, b audit.Buckets) (trend []Trend, atLeast bool, err error) {
	s, err := d.log.Series(ctx, b, actAccepted, actDispatched, actRetried, actInterrupted, actReplayed, actDied, actAlertRaised)
	if err != nil {
		return nil, false, err
	}
	accepted, dispatched, retried := s.Of(actAccepted), s.Of(actDispatched), s.Of(actRetried)
	interrupted, replayed, dead, raised := s.Of(actInterrupted), s.Of(actReplayed), s.Of(actDied), s.Of(actAlertRaised)
	trend = make([]Trend, b.N)
	for i := range trend {
		trend[i] = Trend{
			Accepted: accepted[i], Dispatched: dispatched[i], Retried: retried[i], Interrupted: interrupted[i],
			Replayed: replayed[i], DeadLettered: dead[i], ByReason: map[Reason]int{}, AlertsRaised: raised[i],
		}
	}
	for _, reason := range []Reason{Exhausted, Permanent, Blocked, Expired, Operator} {
		for i, n := range s.By(actDied, string(reason)) {
			if n > 0 {
				trend[i].ByReason[reason] = n
			}
		}
	}
	return trend, s.AtLeast, nil
}
