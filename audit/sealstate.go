package audit

import (
	"context"
	"fmt"
	"time"

	"sealpost/fault"
	"sealpost/store"
)

const (
	// sealLag is how old an event may be that waits to be sealed.
	sealLag = 30 * time.Second
	// rejectionMemory is for how long something that was rejected makes the log unhealthy. The posture
	// (RB-6.1) does not forget it.
	rejectionMemory = time.Hour
)

// SealState is how far the log is sealed, as the database has it.
type SealState struct {
	Now          time.Time
	Size         int64     // leaves
	Signed       int64     // of them under the newest checkpoint
	SignedAt     time.Time // zero: there is no checkpoint yet
	Cosigned     int       // by how many witnesses the newest one
	UnsignedAt   time.Time // when the first event happened that is a leaf and under no checkpoint; zero: there is none
	WaitingSince time.Time // of the oldest event that waits, by each writer's first; zero: none does
	Rejected     int64     // what waited and was not ours
	RejectedAt   time.Time // the last of it
}

// Sealing reads how far the log is sealed.
func (l *Log) Sealing(ctx context.Context) (SealState, error) {
	var s SealState
	err := l.st.Read(ctx, func(tx *store.Tx) error {
		s = SealState{}
		var err error
		if s.Now, err = tx.Now(ctx); err != nil {
			return err
		}
		h, err := readHead(ctx, tx)
		if err != nil && !store.NoRow(err) {
			return err
		}
		s.Size = h.size
		var c Checkpoint
		err = c.scan(tx.QueryRow(ctx, `select `+checkpointColumns+` from audit_checkpoint order by size desc limit 1`).Scan)
		if err != nil && !store.NoRow(err) {
			return err
		}
		s.Signed, s.SignedAt, s.Cosigned = c.Size, c.Time, c.Cosigned
		if s.WaitingSince, err = oldestPending(ctx, tx); err != nil {
			return err
		}
		if s.Size > s.Signed {
			if s.UnsignedAt, err = leafTime(ctx, tx, s.Signed); err != nil {
				return err
			}
		}
		return tx.QueryRow(ctx, `select count(*), max(at) from audit_rejected`).Scan(&s.Rejected, store.Time(&s.RejectedAt))
	})
	if err != nil {
		return s, fmt.Errorf("read how far the audit log is sealed: %w", err)
	}
	return s, nil
}

// maxPendingWriters bounds how many writers' first rows are looked at.
const maxPendingWriters = 64

// oldestPending gives the time of the oldest row that waits, of the first one of each writer. An id is a
// time, and what is no id of ours is as old as can be.
func oldestPending(ctx context.Context, tx *store.Tx) (oldest time.Time, err error) {
	writer := ""
	for range maxPendingWriters {
		var id string
		err := tx.QueryRow(ctx, `select writer, event_id from audit_pending where writer > $1 order by writer, counter limit 1`, writer).
			Scan(&writer, &id)
		if store.NoRow(err) {
			return oldest, nil
		}
		if err != nil {
			return oldest, err
		}
		if at := idTime(id); oldest.IsZero() || at.Before(oldest) {
			oldest = at
		}
	}
	return oldest, nil
}

// idTime is the time that is in an event's id, to the millisecond.
func idTime(id string) time.Time {
	var ms int64
	if len(id) != 36 {
		return time.UnixMilli(0).UTC()
	}
	if _, err := fmt.Sscanf(id[:8]+id[9:13], "%012x", &ms); err != nil {
		return time.UnixMilli(0).UTC()
	}
	return time.UnixMilli(ms).UTC()
}

// leafTime reads when the event of a leaf happened, from its entry.
func leafTime(ctx context.Context, tx *store.Tx, leaf int64) (time.Time, error) {
	entry, err := readEntry(ctx, tx, leaf)
	if err != nil {
		return time.Time{}, err
	}
	e, err := ParseEnvelope(entry)
	return e.At, err
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// wrong tells what is wrong with the sealing, if something is.
func (s SealState) wrong(every time.Duration) error {
	switch {
	case !s.RejectedAt.IsZero() && s.Now.Sub(s.RejectedAt) < rejectionMemory:
		return fault.New(fault.Unavailable, "an audit event that waited to be sealed had been changed or forged (at %s)", s.RejectedAt.Format(time.RFC3339))
	case !s.WaitingSince.IsZero() && s.Now.Sub(s.WaitingSince) > sealLag:
		return fault.New(fault.Unavailable, "audit events have been waiting to be sealed since %s", s.WaitingSince.Format(time.RFC3339))
	case !s.UnsignedAt.IsZero() && s.Now.Sub(later(s.UnsignedAt, s.SignedAt)) > every+sealLag:
		return fault.New(fault.Unavailable, "the last %d events of the audit log are not under a checkpoint", s.Size-s.Signed)
	}
	return nil
}
