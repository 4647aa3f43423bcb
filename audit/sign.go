package audit

import (
	"context"
	"fmt"
	"time"

	"sealpost/keys"
	"sealpost/store"
)

// checkpointDue tells whether a checkpoint is to be signed: there is something new, and the last one is old
// enough. An idle log signs nothing.
func checkpointDue(size int64, newest Checkpoint, now time.Time, every time.Duration) bool {
	// A tenth of tolerance: rounds come each second, and not to the microsecond.
	return size > newest.Size && now.Sub(newest.Time) >= every-every/10
}

// checkpoint signs the tree's head, if that is due or wanted now.
func (s *Sealer) checkpoint(ctx context.Context, now bool) error {
	key, err := s.key()
	if err != nil {
		return err
	}
	link := s.newest.Size > 0 && s.newest.KeyID != key.ID
	if link {
		if err := s.linkKeys(ctx, key); err != nil {
			return err
		}
	}
	c := Checkpoint{Origin: s.origin, Size: s.edge.size, Root: s.edge.root(), KeyID: key.ID, Link: link || s.newest.Size == 0}
	signers := []*keys.Key{key}
	if previous := s.previousKey(); link && previous != nil {
		signers = append(signers, previous)
	}
	verifier, err := VerifierKey(s.origin, key)
	if err != nil {
		return err
	}
	if c.Size == 0 || c.Size == s.newest.Size {
		return nil
	}
	err = s.log.seal(ctx, func(tx *store.Tx) ([]Event, error) {
		at, err := tx.Now(ctx)
		if err != nil {
			return nil, err
		}
		if !now && !link && !checkpointDue(c.Size, s.newest, at, s.o.CheckpointEvery) {
			return nil, ErrNothing
		}
		if !at.After(s.newest.Time) { // the clock was set back: signed times never are
			at = s.newest.Time.Add(time.Microsecond)
		}
		c.Time = at
		if c.Note, err = c.sign(signers...); err != nil {
			return nil, err
		}
		return nil, c.store(ctx, tx, key, verifier, s.lead)
	})
	if err != nil {
		return fmt.Errorf("sign a checkpoint: %w", err)
	}
	if c.Note != "" {
		s.newest = c
	}
	return nil
}

// store writes a checkpoint, if its leader still leads.
func (c Checkpoint) store(ctx context.Context, tx *store.Tx, key *keys.Key, verifier string, lead lease) error {
	n, err := tx.Exec(ctx, `update audit_tree set key_id = $1, mac = $2 where id = 1 and size = $3 and root = $4 and holder = $5 and token = $6`,
		key.ID, headMAC(key, c.Origin, c.Size, c.Root), c.Size, c.Root[:], lead.holder, lead.token)
	if err != nil {
		return err
	}
	if n == 0 {
		return errDeposed
	}
	_, err = tx.Exec(ctx, `
		insert into audit_checkpoint (size, at, root, key_id, note, cosignatures, cosigned_by, link) values ($1, $2, $3, $4, $5, '', 0, $6)`,
		c.Size, c.Time.UnixMicro(), c.Root[:], c.KeyID, c.Note, c.Link)
	if err != nil || !c.Link {
		return err
	}
	_, err = tx.Exec(ctx, `insert into audit_key (key_id, verifier, first_size, first_at) values ($1, $2, $3, $4) on conflict (key_id) do nothing`,
		c.KeyID, verifier, c.Size, c.Time.UnixMicro())
	return err
}

// linkKeys tells, in the log, that another key signs from now on, and names both. Everything that waited
// under the key before is sealed by then, and the checkpoint that follows covers the event; it is signed by
// both keys where the one before is still there, so that whoever trusts that one can trust the new one.
func (s *Sealer) linkKeys(ctx context.Context, key *keys.Key) error {
	history, err := s.log.LogKeys(ctx)
	if err != nil {
		return err
	}
	before := ""
	for _, k := range history {
		if k.KeyID == s.newest.KeyID {
			before = k.Verifier
		}
	}
	verifier, err := VerifierKey(s.origin, key)
	if err != nil {
		return err
	}
	err = s.log.Record(ctx, Itself("sealer"), Event{
		Action: "audit.key.changed", Entity: "AuditKey", EntityID: key.ID,
		Details: map[string]any{
			"keyId": key.ID, "verifierKey": verifier, "previousKeyId": s.newest.KeyID, "previousVerifierKey": before,
			"signedByBoth": s.previousKey() != nil, "afterSize": s.newest.Size,
		},
	})
	if err != nil {
		return err
	}
	return s.sealAll(ctx)
}

// thinEvery is how often checkpoints that are no longer needed are deleted.
const thinEvery = 10 * time.Minute

// thin deletes checkpoints, so that their number is bounded by the age of the log and not by its use: all of
// the last hour stay, the last of each hour for 31 days, the last of each UTC day for ever, and whatever an
// enforcement of retention has relied on. So the age of a leaf can be proven to the day for as long as the
// log lives.
func (s *Sealer) thin(ctx context.Context) error {
	if time.Since(s.rounds.thin) < thinEvery {
		return nil
	}
	err := s.log.seal(ctx, func(tx *store.Tx) ([]Event, error) {
		now, err := tx.Now(ctx)
		if err != nil {
			return nil, err
		}
		for _, span := range []struct{ age, keep time.Duration }{{time.Hour, time.Hour}, {31 * 24 * time.Hour, 24 * time.Hour}} {
			// Of an hour, or a day, that is over: whatever has a later one in the same.
			_, err := tx.Exec(ctx, `
				delete from audit_checkpoint where at < $1 and not link
				   and not exists (select 1 from audit_retention_plan p where p.checkpoint_size = audit_checkpoint.size and p.intended_at is not null)
				   and exists (
					select 1 from audit_checkpoint later
					 where later.at > audit_checkpoint.at and later.at < (audit_checkpoint.at / $2 + 1) * $2)`,
				now.Add(-span.age).UnixMicro(), span.keep.Microseconds())
			if err != nil {
				return nil, fmt.Errorf("thin out checkpoints: %w", err)
			}
		}
		return nil, nil
	})
	if err == nil {
		s.rounds.thin = time.Now()
	}
	return err
}
