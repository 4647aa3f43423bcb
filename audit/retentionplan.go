package audit

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	"sealpost/fault"
	"sealpost/store"
)

// planLife is how long a dry run's plan can be applied.
const planLife = time.Hour

// plan is what a dry run has found may go. Its hash is over all of the first part, so whoever applies it
// says by the hash what they have seen.
type plan struct {
	Days     int       `json:"days"`
	Cutoff   time.Time `json:"cutoff"`
	Eligible int64     `json:"eligible"`
	Held     int64     `json:"held"`
	Holds    holds     `json:"holds"`

	CheckpointSize int64      `json:"checkpointSize"` // 0: none is old enough
	CheckpointTime time.Time  `json:"checkpointTime"`
	Cosigned       int        `json:"cosigned"`
	Ranges         leafRanges `json:"ranges"` // the leaves that may go; those that are held are not in it

	hash        string
	createdAt   time.Time
	intendedAt  time.Time
	completedAt time.Time
	lastID      string
	deleted     int64
}

// sum gives a plan its hash: SHA-256 of its JSON, in hex.
func (p *plan) sum() error {
	if p.Holds == nil {
		p.Holds = holds{}
	}
	b, err := json.Marshal(p)
	if err != nil {
		return err
	}
	sum := sha256.Sum256(b)
	p.hash = hex.EncodeToString(sum[:])
	return nil
}

// past is where the ids of the events before the cutoff end. Ids are times to the millisecond.
func (p *plan) past() string { return FirstID(p.Cutoff.Add(time.Millisecond)) }

// may tells whether a plan may be begun, or gone on with, at a time.
func (p *plan) may(now time.Time) error {
	switch {
	case !p.completedAt.IsZero():
		return fault.New(fault.Conflict, "this plan was applied at %s", p.completedAt.Format(time.RFC3339))
	case p.intendedAt.IsZero() && now.Sub(p.createdAt) >= planLife:
		return errNoPlan()
	}
	return nil
}

func errNoPlan() error {
	return fault.New(fault.Conflict, "there is no such plan, or it is older than an hour: make a dry run, and apply its planHash")
}

func errPlanChanged(what string) error {
	return fault.New(fault.Conflict, "%s since the dry run: make another one, and apply its planHash", what)
}

// findRows is how many events are looked at in one statement, so that no transaction is long.
const findRows = 5000

// find fills in what a plan with a cutoff and holds is about: the newest checkpoint before the cutoff, and
// of the events under it those that are old and not held.
func (r *Retention) find(ctx context.Context, p *plan) error {
	c, err := r.log.CheckpointBefore(ctx, p.Cutoff)
	if err != nil && !fault.Is(err, fault.NotFound) {
		return err
	}
	p.CheckpointSize, p.CheckpointTime, p.Cosigned, p.Ranges = c.Size, c.Time, c.Cosigned, leafRanges{}
	p.Eligible, p.Held = 0, 0
	if c.Size == 0 {
		return nil
	}
	if err := r.log.verifyOwn(ctx, c); err != nil {
		return err
	}
	var leaves leafMap
	err = r.log.st.Read(ctx, func(tx *store.Tx) (err error) {
		leaves, err = readLeafMap(ctx, tx, c.Size)
		return err
	})
	if err != nil {
		return err
	}
	may := newLeafSet(c.Size)
	for behind := ""; ; {
		var rows []oldRow
		err := r.log.st.Read(ctx, func(tx *store.Tx) (err error) {
			rows, err = readOld(ctx, tx, behind, p.past(), p.Holds, findRows)
			return err
		})
		if err != nil {
			return err
		}
		if len(rows) == 0 {
			p.Ranges = may.ranges()
			return nil
		}
		for _, row := range rows {
			leaf, sealed := leaves.leaf(row.writer, row.counter)
			switch {
			case !sealed || row.lasts || !row.at.Before(p.Cutoff):
			case row.held:
				p.Held++
			case !may.has(leaf):
				may.add(leaf)
				p.Eligible++
			}
		}
		behind = rows[len(rows)-1].id
	}
}

// Plan is the dry run: it finds what may go, and keeps that as a plan for an hour. Nothing is deleted but
// plans that nobody has applied.
func (r *Retention) Plan(ctx context.Context, by Principal) (Report, error) {
	now := r.now()
	p := &plan{Days: r.o.Days, Cutoff: now.AddDate(0, 0, -r.o.Days), createdAt: now}
	err := r.log.st.Read(ctx, func(tx *store.Tx) (err error) {
		p.Holds, err = readHolds(ctx, tx)
		return err
	})
	if err != nil {
		return Report{}, err
	}
	// Outside any transaction: it looks at every old event, and writers must not wait for that.
	if err := r.find(ctx, p); err != nil {
		return Report{}, err
	}
	text, err := p.Holds.text()
	if err == nil {
		err = p.sum()
	}
	if err != nil {
		return Report{}, err
	}
	ranges, err := json.Marshal(p.Ranges)
	if err != nil {
		return Report{}, err
	}
	err = r.log.Change(ctx, by, func(tx *store.Tx) ([]Event, error) {
		_, err := tx.Exec(ctx, `delete from audit_retention_plan where completed_at is null and intended_at is null and created_at < $1`,
			now.Add(-planLife).UnixMicro())
		if err != nil {
			return nil, fmt.Errorf("forget old plans: %w", err)
		}
		_, err = tx.Exec(ctx, `
			insert into audit_retention_plan (hash, days, cutoff, eligible, held, holds, created_at, last_id, deleted,
			       checkpoint_size, checkpoint_at, cosigned, ranges)
			values ($1, $2, $3, $4, $5, $6, $7, '', 0, $8, $9, $10, $11) on conflict (hash) do nothing`,
			p.hash, p.Days, p.Cutoff.UnixMicro(), p.Eligible, p.Held, text, now.UnixMicro(),
			p.CheckpointSize, microsOrZero(p.CheckpointTime), p.Cosigned, string(ranges))
		if err != nil {
			return nil, fmt.Errorf("keep a plan: %w", err)
		}
		return []Event{p.event("audit.retention.planned", nil)}, nil
	})
	if err != nil {
		return Report{}, err
	}
	report := p.report()
	report.DryRun = true
	return report, nil
}

// begin makes sure that a plan still fits, and writes the intent before anything goes. A plan that was
// begun before, and broke off, is gone on with as it is.
func (r *Retention) begin(ctx context.Context, by Principal, hash string) (*plan, error) {
	p, err := r.readPlan(ctx, hash)
	if err == nil {
		err = p.may(r.now())
	}
	if err != nil || !p.intendedAt.IsZero() {
		return p, err
	}
	again := &plan{Days: p.Days, Cutoff: p.Cutoff, Holds: p.Holds}
	if err := r.find(ctx, again); err != nil {
		return nil, err
	}
	if again.CheckpointSize != p.CheckpointSize || again.Held != p.Held || !slices.Equal(again.Ranges, p.Ranges) {
		return nil, errPlanChanged("the old events have changed")
	}
	err = r.log.Change(ctx, by, func(tx *store.Tx) ([]Event, error) {
		if err := lockHolds(ctx, tx); err != nil {
			return nil, err
		}
		now, err := lockPlan(ctx, tx, p)
		if err != nil {
			return nil, err
		}
		if !p.intendedAt.IsZero() {
			return nil, ErrNothing // somebody else has begun it
		}
		current, err := readHolds(ctx, tx)
		if err != nil {
			return nil, err
		}
		same, err := sameHolds(current, p.Holds)
		if err != nil {
			return nil, err
		}
		if !same {
			return nil, errPlanChanged("the holds have changed")
		}
		if _, err := tx.Exec(ctx, `update audit_retention_plan set intended_at = $2 where hash = $1`, hash, now.UnixMicro()); err != nil {
			return nil, fmt.Errorf("begin a plan: %w", err)
		}
		return p.intents(), nil
	})
	return p, err
}

// rangesInOne is how many ranges of leaves one event of an intent names, so that it fits into its body.
const rangesInOne = 350

// parts is how many events tell of the intent.
func (p *plan) parts() int { return max(1, (len(p.Ranges)+rangesInOne-1)/rangesInOne) }

// intents are the events that say what is to go, by which leaves, before it does.
func (p *plan) intents() []Event {
	events, rest := make([]Event, p.parts()), p.Ranges
	for i := range events {
		n := min(rangesInOne, len(rest))
		events[i] = p.event("audit.retention.intended", map[string]any{
			"checkpointSize": p.CheckpointSize, "checkpointTime": p.CheckpointTime.Format(timeLayout),
			"part": i + 1, "parts": len(events), "ranges": rest[:n],
		})
		rest = rest[n:]
	}
	return events
}

func microsOrZero(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMicro()
}

func sameHolds(a, b holds) (bool, error) {
	first, err := a.text()
	if err != nil {
		return false, err
	}
	second, err := b.text()
	return first == second, err
}

const planColumns = `hash, days, cutoff, eligible, held, holds, created_at, intended_at, completed_at, last_id, deleted,
	checkpoint_size, checkpoint_at, cosigned, ranges`

func (p *plan) scan(row store.Row) error {
	var text, ranges string
	err := row.Scan(&p.hash, &p.Days, store.Time(&p.Cutoff), &p.Eligible, &p.Held, &text, store.Time(&p.createdAt),
		store.Time(&p.intendedAt), store.Time(&p.completedAt), &p.lastID, &p.deleted,
		&p.CheckpointSize, store.Time(&p.CheckpointTime), &p.Cosigned, &ranges)
	if store.NoRow(err) {
		return errNoPlan()
	}
	if err != nil {
		return fmt.Errorf("read a plan: %w", err)
	}
	p.Holds = nil
	if err := json.Unmarshal([]byte(text), &p.Holds); err != nil {
		return fmt.Errorf("read a plan's holds: %w", err)
	}
	p.Ranges = nil
	if err := json.Unmarshal([]byte(ranges), &p.Ranges); err != nil {
		return fmt.Errorf("read a plan's leaves: %w", err)
	}
	return nil
}

func (r *Retention) readPlan(ctx context.Context, hash string) (*plan, error) {
	p := &plan{}
	err := r.log.st.Read(ctx, func(tx *store.Tx) error {
		return p.scan(tx.QueryRow(ctx, `select `+planColumns+` from audit_retention_plan where hash = $1`, hash))
	})
	return p, err
}

// lockPlan reads a plan that nobody else works on meanwhile, and the time.
func lockPlan(ctx context.Context, tx *store.Tx, p *plan) (time.Time, error) {
	now, err := tx.Now(ctx)
	if err != nil {
		return now, err
	}
	return now, p.scan(tx.QueryRow(ctx, `select `+planColumns+` from audit_retention_plan where hash = $1`+tx.ForUpdate(), p.hash))
}

// event tells of a plan.
func (p *plan) event(action string, more map[string]any) Event {
	ids := make([]string, len(p.Holds))
	for i, h := range p.Holds {
		ids[i] = h.ID
	}
	details := map[string]any{
		"planHash": p.hash, "days": p.Days, "cutoff": p.Cutoff.Format(timeLayout), "eligibleCount": p.Eligible,
		"heldCount": p.Held, "holds": ids, "ageProof": p.ageProof(),
	}
	maps.Copy(details, more)
	return Event{Action: action, Entity: "AuditRetention", EntityID: p.hash, Details: details}
}
