package audit

import (
	"context"
	"fmt"
	"strings"
	"time"

	"sealpost/fault"
	"sealpost/store"
)

const (
	// retentionRows is how many events one transaction goes through at most. Accepting waits no longer
	// than that takes, and each piece is followed by a pause as long as it took.
	retentionRows = 500
	// applyFor is how long one call of Apply deletes, within the time that an answer may take.
	applyFor = 60 * time.Second
	// coverFor is how long it is waited for a checkpoint over an intent.
	coverFor = 20 * time.Second
)

// lasting are the events that retention and redaction leave, however old: those by which a verifier tells
// what was removed lawfully, and by whose keys the log is signed. A condition of SQL.
const lasting = `action in ('audit.retention.intended', 'audit.event.redaction_intended', 'audit.hold.placed', 'audit.hold.released', 'audit.key.changed')`

// RetentionOptions are what the environment decides about retention.
type RetentionOptions struct {
	Days      int              // AUDIT_RETENTION_DAYS
	EveryDays int              // AUDIT_RETENTION_EVERY_DAYS; 0: nothing is enforced by itself
	Now       func() time.Time // time.Now where it is nil; events are dated by this machine's clock too
	Sealer    *Sealer          // of this server, so that nobody waits for its next round; may be nil
}

// Retention removes what events said when they are older than the policy (runbook §6): body, search
// columns and salt. Their envelopes stay, so the log can still be verified, and nobody can tell any
// more what a body was.
//
// Age is proven by checkpoints: only leaves go that a checkpoint covers which is itself older than the
// policy. A dry run makes a plan of such leaves; applying it, by its hash, writes the intent as events,
// waits until a checkpoint covers those too, and deletes just what the plan names, in small transactions,
// each with an event that tells which leaves went. So whoever verifies the log can tell a body that went
// lawfully from one that somebody has removed. What was begun and broke off is gone on with. Legal holds
// keep events, whatever their age.
type Retention struct {
	log *Log
	o   RetentionOptions
}

// NewRetention makes the retention of a log.
func NewRetention(log *Log, o RetentionOptions) *Retention {
	if o.Now == nil {
		o.Now = time.Now
	}
	return &Retention{log: log, o: o}
}

func (r *Retention) now() time.Time { return r.o.Now().UTC().Truncate(time.Microsecond) }

// Report tells what a dry run has found, or what applying its plan has done.
type Report struct {
	DryRun        bool      `json:"dryRun"`
	Cutoff        time.Time `json:"cutoff" doc:"Events before it are older than AUDIT_RETENTION_DAYS"`
	EligibleCount int64     `json:"eligibleCount" doc:"How many of them the plan deletes"`
	DeletedCount  int64     `json:"deletedCount" doc:"How many it has deleted so far"`
	HeldCount     int64     `json:"heldCount" doc:"How many stay because they are held"`
	PlanHash      string    `json:"planHash" doc:"What to apply, within an hour"`
	Complete      bool      `json:"complete" doc:"Whether nothing is left to do; if not, the server goes on within the hour, or apply it again"`
	AgeProof      string    `json:"ageProof" doc:"The checkpoint by which the events' age is known, and who vouches for its time"`
}

func (p *plan) report() Report {
	return Report{
		Cutoff: p.Cutoff, EligibleCount: p.Eligible, DeletedCount: p.deleted, HeldCount: p.Held, PlanHash: p.hash,
		Complete: !p.completedAt.IsZero(), AgeProof: p.ageProof(),
	}
}

// Apply deletes what a plan says, for a minute at most. What then is left is done by calling it again, or
// by Resume. fault.Conflict where there is no such plan, it is over, or something has changed since.
func (r *Retention) Apply(ctx context.Context, by Principal, planHash string) (Report, error) {
	p, err := r.begin(ctx, by, planHash)
	if err != nil {
		return Report{}, err
	}
	until := time.Now().Add(applyFor)
	switch covered, err := r.covered(ctx, p); {
	case err != nil:
		return Report{}, err
	case !covered:
		return p.report(), nil // it is begun, and a server goes on when the intent is sealed
	}
	if err := r.finish(ctx, by, p, func() bool { return time.Now().Before(until) }); err != nil {
		return Report{}, err
	}
	return p.report(), nil
}

// Resume goes on with plans that were begun and not ended, because a server stopped or a plan is large,
// and tells how many events went. It ends with its context.
func (r *Retention) Resume(ctx context.Context) (n int64, err error) {
	var hashes []string
	err = r.log.st.Read(ctx, func(tx *store.Tx) error {
		return tx.Each(ctx, func(scan func(...any) error) error {
			var hash string
			err := scan(&hash)
			hashes = append(hashes, hash)
			return err
		}, `select hash from audit_retention_plan where completed_at is null and intended_at is not null order by created_at`)
	})
	if err != nil {
		return 0, fmt.Errorf("look for unfinished plans: %w", err)
	}
	for _, hash := range hashes {
		p, err := r.readPlan(ctx, hash)
		if err != nil {
			return n, err
		}
		covered, err := r.covered(ctx, p)
		if err != nil || !covered {
			return n, err
		}
		before := p.deleted
		err = r.finish(ctx, Itself("retention"), p, func() bool { return true })
		n += p.deleted - before
		if err != nil {
			return n, err
		}
	}
	return n, nil
}

// covered waits until a checkpoint covers the intent of a plan: before that, nothing outside this
// database would say that the deletion was meant.
func (r *Retention) covered(ctx context.Context, p *plan) (bool, error) {
	if !p.completedAt.IsZero() {
		return true, nil
	}
	var ids []string
	err := r.log.st.Read(ctx, func(tx *store.Tx) error {
		ids = nil
		return tx.Each(ctx, func(scan func(...any) error) error {
			var id string
			err := scan(&id)
			ids = append(ids, id)
			return err
		}, `select id from "AuditLog" where entity_id = $1 and action = 'audit.retention.intended' order by id`, p.hash)
	})
	if err != nil {
		return false, fmt.Errorf("look for a plan's intent: %w", err)
	}
	if len(ids) != p.parts() {
		return false, fault.New(fault.Conflict, "the intent of this plan has %d of its %d events: the log has been changed", len(ids), p.parts())
	}
	for _, id := range ids {
		covered, err := r.await(ctx, id)
		if err != nil || !covered {
			return false, err
		}
	}
	return true, nil
}

// await waits for a checkpoint over an event, and has this server seal if it leads.
func (r *Retention) await(ctx context.Context, eventID string) (bool, error) {
	if _, err := r.log.Prove(ctx, eventID); fault.Is(err, fault.Unavailable) && r.o.Sealer != nil {
		if err := r.o.Sealer.SealNow(ctx); err != nil {
			return false, err
		}
	}
	limit, cancel := context.WithTimeout(ctx, coverFor)
	defer cancel()
	_, err := r.log.Await(limit, eventID)
	switch {
	case err == nil:
		return true, nil
	case ctx.Err() != nil:
		return false, ctx.Err()
	case limit.Err() != nil || fault.Is(err, fault.Unavailable):
		return false, nil
	}
	return false, err
}

// finish deletes a plan's events piece by piece while it may, and then says that it is done.
func (r *Retention) finish(ctx context.Context, by Principal, p *plan, more func() bool) error {
	if !p.completedAt.IsZero() {
		return nil
	}
	var leaves leafMap
	err := r.log.st.Read(ctx, func(tx *store.Tx) (err error) {
		leaves, err = readLeafMap(ctx, tx, p.CheckpointSize)
		return err
	})
	if err != nil {
		return err
	}
	for p.completedAt.IsZero() && more() {
		started := time.Now()
		if err := r.piece(ctx, by, p, leaves); err != nil {
			return fmt.Errorf("delete old events: %w", err)
		}
		pause := time.NewTimer(time.Since(started))
		select {
		case <-pause.C:
		case <-ctx.Done():
			pause.Stop()
			return ctx.Err()
		}
	}
	return nil
}

// piece deletes what is not held of the next events, or ends the plan where there are none. What the plan
// knew as held stays, and what is held now: a hold counts at once, and releasing one needs another plan.
func (r *Retention) piece(ctx context.Context, by Principal, p *plan, leaves leafMap) error {
	var next plan
	err := r.log.ChangeOrBookkeep(ctx, by, func(tx *store.Tx) ([]Event, error) {
		if err := lockHolds(ctx, tx); err != nil {
			return nil, err
		}
		next = *p
		now, err := lockPlan(ctx, tx, &next)
		if err != nil {
			return nil, err
		}
		if !next.completedAt.IsZero() {
			return nil, ErrNothing // another server has done it
		}
		held, err := readHolds(ctx, tx)
		if err != nil {
			return nil, err
		}
		rows, err := readOld(ctx, tx, next.lastID, next.past(), append(held, next.Holds...), retentionRows)
		if err != nil {
			return nil, err
		}
		if len(rows) == 0 {
			return next.complete(ctx, tx, now)
		}
		ids, gone := next.mayGo(rows, leaves)
		next.lastID, next.deleted = rows[len(rows)-1].id, next.deleted+int64(len(ids))
		_, err = tx.Exec(ctx, `update audit_retention_plan set last_id = $2, deleted = $3 where hash = $1`, next.hash, next.lastID, next.deleted)
		if err != nil || len(ids) == 0 {
			return nil, err
		}
		if err := deleteEvents(ctx, tx, ids); err != nil {
			return nil, err
		}
		return []Event{{
			Action: "audit.retention.deleted", Entity: "AuditRetention", EntityID: next.hash,
			Details: map[string]any{"planHash": next.hash, "count": len(ids), "ranges": gone},
		}}, nil
	})
	if err == nil {
		*p = next
	}
	return err
}

// oldRow is an event of which it is decided whether it goes.
type oldRow struct {
	id, writer string
	counter    int64
	at         time.Time
	held       bool
	lasts      bool
}

// readOld reads the next events behind an id and before another one.
func readOld(ctx context.Context, tx *store.Tx, behind, before string, held holds, limit int) ([]oldRow, error) {
	condition, args := held.condition(4)
	list := make([]oldRow, 0, limit)
	err := tx.Each(ctx, func(scan func(...any) error) error {
		var row oldRow
		var isHeld, lasts int
		err := scan(&row.id, &row.writer, &row.counter, store.Time(&row.at), &isHeld, &lasts)
		row.held, row.lasts = isHeld == 1, lasts == 1
		list = append(list, row)
		return err
	}, `select id, writer, counter, at, case when `+condition+` then 1 else 0 end, case when `+lasting+` then 1 else 0 end
	      from "AuditLog" where id > $1 and id < $2 order by id limit $3`, append([]any{behind, before, limit}, args...)...)
	if err != nil {
		return nil, fmt.Errorf("read old events: %w", err)
	}
	return list, nil
}

// mayGo chooses the events that a plan names and nothing keeps, and their leaves.
func (p *plan) mayGo(rows []oldRow, leaves leafMap) (ids []any, gone leafRanges) {
	var of []int64
	for _, row := range rows {
		leaf, sealed := leaves.leaf(row.writer, row.counter)
		if sealed && !row.held && !row.lasts && row.at.Before(p.Cutoff) && p.Ranges.has(leaf) {
			ids, of = append(ids, row.id), append(of, leaf)
		}
	}
	return ids, rangesOf(of)
}

// deleteEvents deletes what events said. Their envelopes are elsewhere.
func deleteEvents(ctx context.Context, tx *store.Tx, ids []any) error {
	args := store.Padded(ids, 0)
	_, err := tx.Exec(ctx, `delete from "AuditLog" where id in (`+store.Placeholders(1, len(args))+`)`, args...)
	return err
}

// complete says that a plan is done, and how many of its events stay.
func (p *plan) complete(ctx context.Context, tx *store.Tx, now time.Time) ([]Event, error) {
	p.completedAt = now
	if _, err := tx.Exec(ctx, `update audit_retention_plan set completed_at = $2 where hash = $1`, p.hash, now.UnixMicro()); err != nil {
		return nil, err
	}
	return []Event{p.event("audit.retention.completed", map[string]any{"deletedCount": p.deleted})}, nil
}

// Enforce is a dry run and its application, when AUDIT_RETENTION_EVERY_DAYS have passed since the last
// one was completed. Of several servers the first does it. It tells how many events went.
func (r *Retention) Enforce(ctx context.Context) (int64, error) {
	if r.o.EveryDays == 0 {
		return 0, nil
	}
	last, err := lastEnforced(ctx, r.log.st)
	if err != nil || r.now().Before(last.completedAt.AddDate(0, 0, r.o.EveryDays)) {
		return 0, err
	}
	by := Itself("retention")
	report, err := r.Plan(ctx, by)
	if err == nil {
		report, err = r.Apply(ctx, by, report.PlanHash)
	}
	if fault.Is(err, fault.Conflict) {
		return 0, nil // somebody else is at it; the next hour tells
	}
	return report.DeletedCount, err
}

// ageProof says by which checkpoint the age of a plan's events is known.
func (p *plan) ageProof() string {
	if p.CheckpointSize == 0 {
		return "no checkpoint is older than the cutoff, so nothing is known to be old enough"
	}
	return fmt.Sprintf("the checkpoint of %s over %d events; vouched for by %s",
		p.CheckpointTime.Format(time.RFC3339), p.CheckpointSize, strings.TrimSpace(p.vouched()))
}

// vouched says who knows the time of the checkpoint.
func (p *plan) vouched() string {
	if p.Cosigned == 0 {
		return "this server only"
	}
	return fmt.Sprintf("this server and %d witnesses", p.Cosigned)
}
