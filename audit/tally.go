package audit

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"sealpost/store"
)

// Tally is how often something happened. Where AtLeast is true counting stopped at N.
type Tally struct {
	N       int
	AtLeast bool
}

// The limits of counting, so that a look at a busy week costs no more than one at a busy hour.
const (
	MaxTally  = 100_000 // events that are counted of one action
	MaxBodies = 10_000  // events that are read to be counted
)

// TallyOf makes a tally of a count that stopped at MaxTally+1 at the latest.
func TallyOf(n int) Tally { return Tally{N: min(n, MaxTally), AtLeast: n > MaxTally} }

// Tally counts the events of each action since a time, through the index of actions: at most MaxTally
// of each.
func (l *Log) Tally(ctx context.Context, since time.Time, actions ...string) (map[string]Tally, error) {
	tallies := make(map[string]Tally, len(actions))
	err := l.st.Read(ctx, func(tx *store.Tx) error {
		for _, action := range actions {
			var n int
			err := tx.QueryRow(ctx, tallyText, action, FirstID(since), MaxTally+1).Scan(&n)
			if err != nil {
				return err
			}
			tallies[action] = TallyOf(n)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("count audit events: %w", err)
	}
	return tallies, nil
}

const (
	tallyText   = `select count(*) from (select 1 from "AuditLog" where action = $1 and id >= $2 limit $3) as t`
	bodiesText  = `select body from "AuditLog" where action = $1 and id >= $2 order by id desc limit $3`
	refusedText = `select body from "AuditLog" where outcome = 'DENIED' and id >= $1 order by id desc limit $2`
)

// TallyBy counts the events of one action since a time by a detail of theirs ("reason"), at most
// MaxBodies of them, the newest. A flood that was recorded as one event with its count counts in full.
func (l *Log) TallyBy(ctx context.Context, since time.Time, action, detail string) (map[string]int, Tally, error) {
	return l.tallyBodies(ctx, detail, bodiesText, action, FirstID(since), MaxBodies+1)
}

// TallyRefused counts everything that was refused since a time, floods in full, from at most MaxBodies
// events, the newest.
func (l *Log) TallyRefused(ctx context.Context, since time.Time) (Tally, error) {
	_, total, err := l.tallyBodies(ctx, "", refusedText, FirstID(since), MaxBodies+1)
	return total, err
}

func (l *Log) tallyBodies(ctx context.Context, detail, query string, args ...any) (map[string]int, Tally, error) {
	by := map[string]int{}
	var total Tally
	read := 0
	err := l.st.Read(ctx, func(tx *store.Tx) error {
		return tx.Each(ctx, func(scan func(...any) error) error {
			var text string
			if err := scan(&text); err != nil {
				return err
			}
			if read++; read > MaxBodies {
				total.AtLeast = true
				return nil
			}
			var b struct {
				Details map[string]any `json:"details"`
			}
			if err := json.Unmarshal([]byte(text), &b); err != nil {
				return fmt.Errorf("an audit event's body cannot be read: %w", err)
			}
			n := 1
			if windows, ok := b.Details["windowSeconds"]; ok && windows != nil { // see refused.go
				if count, ok := b.Details["count"].(float64); ok && count > 1 {
					n = int(count)
				}
			}
			word, _ := b.Details[detail].(string)
			by[word] += n
			total.N += n
			return nil
		}, query, args...)
	})
	if err != nil {
		return nil, Tally{}, fmt.Errorf("count audit events: %w", err)
	}
	return by, total, nil
}
