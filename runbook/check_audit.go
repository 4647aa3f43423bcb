package runbook

import (
	"context"
	"fmt"
	"slices"
	"time"

	"golang.org/x/mod/sumdb/note"

	"sealpost/audit"
	"sealpost/audit/verify"
	"sealpost/fault"
	"sealpost/store"
)

// How far back a recent event is looked for.
const (
	recentEvents = 200
	recentSpan   = 30 * 24 * time.Hour
)

// eventsAreFound takes a recent event that has both a request id and an actor, and looks it up by each, as
// somebody does after a leak (runbook §4).
func eventsAreFound(ctx context.Context, c *Checker) (Finding, error) {
	recent, err := c.o.Log.Events(ctx, audit.Filter{From: c.o.Now().Add(-recentSpan)}, store.Page{Limit: recentEvents})
	if err != nil {
		return Finding{}, err
	}
	at := slices.IndexFunc(recent.Items, func(r audit.Record) bool { return r.RequestID != "" && r.Actor.ID != "" })
	if at < 0 {
		return found(false, map[string]any{"looked": len(recent.Items)},
			"none of the %d newest events has a request id and an actor, so nothing could be looked up", len(recent.Items)), nil
	}
	event := recent.Items[at]
	// The events of that id or later: a busy actor's newest may be others by now.
	before := event.Time.Add(time.Second)
	byRequest, err := c.finds(ctx, event.ID, audit.Filter{RequestID: event.RequestID, From: event.Time, To: before})
	if err != nil {
		return Finding{}, err
	}
	byActor, err := c.finds(ctx, event.ID, audit.Filter{ActorID: event.Actor.ID, From: event.Time, To: before})
	if err != nil {
		return Finding{}, err
	}
	return decideFound(event.ID, byRequest, byActor), nil
}

func (c *Checker) finds(ctx context.Context, id string, f audit.Filter) (bool, error) {
	list, err := c.o.Log.Events(ctx, f, store.Page{Limit: 1000})
	return slices.ContainsFunc(list.Items, func(r audit.Record) bool { return r.ID == id }), err
}

func decideFound(id string, byRequest, byActor bool) Finding {
	return found(byRequest && byActor, map[string]any{"eventId": id, "byRequestId": byRequest, "byActor": byActor},
		"event %s is found by its request id: %t; by its actor: %t", id, byRequest, byActor)
}

// sealedWithin is how old an event may be that is not under a checkpoint yet, beside the time between two of
// them.
const sealedWithin = 30 * time.Second

// sealFacts is what is known of the sealed log.
type sealFacts struct {
	newest    audit.Record // of the events; zero: there is none
	state     audit.SealState
	every     time.Duration // between two checkpoints
	signature error         // why the newest checkpoint does not verify
	origin    string
	copyDir   bool // AUDIT_CHECKPOINT_DIR is set
	copied    audit.Checkpoint
	copyWrong error // why the copy does not verify, or cannot be read
	witnesses int
	end       verify.Report // of the last leaves
	rightCopy bool          // the copy is the log's checkpoint of its size, where that is still kept
}

// verifiedLeaves is how many of the last leaves are verified with each check, each with its event.
const verifiedLeaves = 2048

// auditLog is what the data says of the sealed log: everything is sealed but the last moments, the newest
// checkpoint is signed by the key in use, the last leaves verify against it one by one, and a copy of it has
// left the database. All leaves are verified by `sealpost audit verify`, whose time grows with the log.
func auditLog(ctx context.Context, c *Checker) (Finding, error) {
	f := sealFacts{
		every: c.o.Config.Audit.CheckpointEvery, copyDir: c.o.Config.Audit.CheckpointDir != "", witnesses: len(c.o.Config.Audit.Witnesses),
	}
	newest, err := c.o.Log.Events(ctx, audit.Filter{}, store.Page{Limit: 1})
	if err != nil {
		return Finding{}, err
	}
	if len(newest.Items) > 0 {
		f.newest = newest.Items[0]
	}
	if f.state, err = c.o.Log.Sealing(ctx); err != nil {
		return Finding{}, err
	}
	if f.state.Signed > 0 {
		if err := f.look(ctx, c); err != nil {
			return Finding{}, err
		}
	}
	return decideSealed(f), nil
}

// look opens the newest checkpoint, and its copy outside.
func (f *sealFacts) look(ctx context.Context, c *Checker) error {
	checkpoint, err := c.o.Log.Checkpoint(ctx)
	if err != nil {
		return err
	}
	f.origin = checkpoint.Origin
	history, err := c.o.Log.LogKeys(ctx)
	if err != nil {
		return err
	}
	var verifiers []note.Verifier
	for _, k := range history {
		v, err := note.NewVerifier(k.Verifier)
		if err != nil {
			return fmt.Errorf("read a key of the log: %w", err)
		}
		verifiers = append(verifiers, v)
	}
	current, err := c.o.Log.VerifierOf(ctx, checkpoint)
	if err != nil {
		f.signature = err
	} else if v, err := note.NewVerifier(current); err != nil {
		f.signature = err
	} else {
		_, f.signature = audit.OpenCheckpoint(checkpoint.Note, v)
		if f.end, err = verify.Recent(ctx, c.o.Log, verifiedLeaves, v); err != nil {
			return err
		}
	}
	if !f.copyDir {
		return nil
	}
	f.copied, f.copyWrong = audit.ReadCopy(c.o.Config.Audit.CheckpointDir)
	if f.copyWrong == nil {
		f.copied, f.copyWrong = audit.OpenCheckpoint(f.copied.Note, verifiers...)
	}
	if f.copyWrong != nil {
		return nil //nolint:nilerr // that it is not good is what was found out
	}
	same, err := c.o.Log.CheckpointCovering(ctx, f.copied.Size-1)
	f.rightCopy = err == nil && (same.Size != f.copied.Size || same.Root == f.copied.Root)
	if err != nil && !fault.Is(err, fault.NotFound) {
		return err
	}
	return nil
}

// outside tells whether a copy of the newest checkpoint, or of one that is not much older, is out of reach
// of whoever can write the database.
func (f sealFacts) outside() (bool, string) {
	enough := f.witnesses > 0 && f.state.Cosigned >= audit.Quorum(f.witnesses)
	switch {
	case enough:
		return true, fmt.Sprintf("%d of %d witnesses have cosigned it", f.state.Cosigned, f.witnesses)
	case !f.copyDir && f.witnesses == 0:
		return false, "no copy leaves the database: neither AUDIT_CHECKPOINT_DIR nor AUDIT_WITNESS_URLS is set"
	case !f.copyDir:
		return false, fmt.Sprintf("%d of %d witnesses have cosigned it, and %d have to", f.state.Cosigned, f.witnesses, audit.Quorum(f.witnesses))
	case f.copyWrong != nil:
		return false, "its copy in AUDIT_CHECKPOINT_DIR is not good: " + f.copyWrong.Error()
	case !f.rightCopy || f.copied.Size > f.state.Signed:
		return false, fmt.Sprintf("the copy in AUDIT_CHECKPOINT_DIR (%d events) is of another log than the database has", f.copied.Size)
	case f.state.SignedAt.Sub(f.copied.Time) > f.every+sealedWithin:
		return false, fmt.Sprintf("the copy in AUDIT_CHECKPOINT_DIR is of %s", f.copied.Time.Format(time.RFC3339))
	}
	return true, fmt.Sprintf("a copy of %d events is in AUDIT_CHECKPOINT_DIR", f.copied.Size)
}

// decideSealed is RB-6.1.
func decideSealed(f sealFacts) Finding {
	evidence := map[string]any{
		"events": f.newest.ID != "", "leaves": f.state.Size, "signed": f.state.Signed, "rejected": f.state.Rejected,
		"verified": f.end.Bodies, "cosigned": f.state.Cosigned, "witnesses": f.witnesses, "origin": f.origin,
	}
	if !f.state.SignedAt.IsZero() {
		evidence["signedAt"] = f.state.SignedAt
	}
	outside, where := f.outside()
	waits := f.state.WaitingSince
	if waits.IsZero() || !f.state.UnsignedAt.IsZero() && f.state.UnsignedAt.Before(waits) {
		waits = f.state.UnsignedAt
	}
	switch {
	case f.newest.ID == "":
		return found(false, evidence, "there is no event in AuditLog")
	case f.state.Rejected > 0:
		return found(false, evidence, "%d rows that waited to be sealed had been changed or forged, the last at %s",
			f.state.Rejected, f.state.RejectedAt.Format(time.RFC3339))
	case f.state.Signed == 0:
		return found(false, evidence, "there is no checkpoint yet")
	case f.signature != nil:
		return found(false, evidence, "the newest checkpoint does not verify: %v", f.signature)
	case len(f.end.Findings) > 0:
		return found(false, evidence, "the end of the log does not verify against its checkpoint: %s (%d findings; `sealpost audit verify` tells all)",
			f.end.Findings[0], len(f.end.Findings)+f.end.More)
	case !waits.IsZero() && f.state.Now.Sub(waits) > f.every+sealedWithin:
		return found(false, evidence, "events since %s are not under a checkpoint", waits.Format(time.RFC3339))
	case !outside:
		return found(false, evidence, "the log is sealed and signed up to %d events, but %s", f.state.Signed, where)
	}
	evidence["outside"] = true
	return found(true, evidence, "%d events are under a checkpoint of %s, against which the last %d verify one by one, and %s; all of them are verified by `sealpost audit verify`",
		f.state.Signed, f.state.SignedAt.Format(time.RFC3339), f.end.Bodies, where)
}
