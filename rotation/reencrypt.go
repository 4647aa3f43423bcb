package rotation

import (
	"context"
	"fmt"
	"time"

	"sealpost/audit"
	"sealpost/store"
)

const (
	reencryptEvery    = 10 * time.Second // how often it is looked whether there is something to encrypt anew
	reencryptAtLength = 10 * time.Minute // how often, at length, while that fails
	// settleAfter is how old a data key must be, in use on every server, before a look that finds nothing
	// under the one before is believed: what was encrypted before the change is stored by then.
	settleAfter = 2 * time.Minute
)

func (k *Keeper) runReencrypt(ctx context.Context) {
	pause, failing := reencryptEvery, ""
	for {
		switch err := k.Reencrypt(ctx); {
		case ctx.Err() != nil:
			return
		case err != nil:
			if err.Error() != failing {
				k.o.Logger.Error("encrypting anew failed; it is tried again", "error", err)
			}
			pause, failing = min(2*pause, reencryptAtLength), err.Error()
		default:
			pause, failing = reencryptEvery, ""
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return
		}
	}
}

// Reencrypt encrypts with the data key in use whatever is still encrypted with the one before it, so
// that DATA_ENCRYPTION_KEY_PREVIOUS can go (runbook §3). When nothing is left, that is recorded.
// Several servers may do it at once.
func (k *Keeper) Reencrypt(ctx context.Context) error {
	k.mu.Lock()
	data, passed := *k.slots[1], k.passed
	k.mu.Unlock()
	if data.settled || data.waits || data.previous == nil {
		return nil
	}
	ready, err := k.canSettle(ctx, data)
	if err != nil || !ready && passed == data.current.id {
		return err // the next pass is the one that may be the last
	}
	changed, failed := 0, 0
	for _, column := range k.o.Sealed {
		for after := ""; ; {
			r, err := k.log.Reencrypt(ctx, audit.Itself("rotation"), k.set.Data, column, after)
			changed, failed = changed+r.Changed, failed+r.Failed
			if err != nil {
				return err
			}
			if err := ctx.Err(); err != nil {
				return err
			}
			if after = r.Next; after == "" {
				break
			}
		}
	}
	if failed > 0 {
		return fmt.Errorf("%d values are encrypted with neither data key and are left as they are", failed)
	}
	if !ready || changed > 0 {
		k.mu.Lock()
		k.passed = data.current.id
		k.mu.Unlock()
		return nil // once more, to be sure
	}
	return k.settle(ctx, data)
}

// canSettle tells whether nobody encrypts with the previous key any more.
func (k *Keeper) canSettle(ctx context.Context, data slot) (ready bool, err error) {
	err = k.log.Store().Read(ctx, func(tx *store.Tx) error {
		now, err := tx.Now(ctx)
		if err != nil {
			return err
		}
		others, err := k.peers(ctx, tx)
		ready = now.Sub(data.since) >= k.settleAfter
		for _, p := range others {
			ready = ready && p.signsWith(DataEncryptionKey, data.current.id)
		}
		return err
	})
	return ready, err
}

// settle records that nothing at rest needs the data key before the one in use.
func (k *Keeper) settle(ctx context.Context, data slot) error {
	err := k.log.Change(ctx, audit.Itself("rotation"), func(tx *store.Tx) ([]audit.Event, error) {
		now, err := tx.Now(ctx)
		if err != nil {
			return nil, err
		}
		n, err := tx.Exec(ctx, `update secret_in_use set settled_at = $2 where name = $1 and version_id = $3 and settled_at is null`,
			DataEncryptionKey, now.UnixMicro(), data.current.id)
		if err != nil {
			return nil, fmt.Errorf("settle the data key: %w", err)
		}
		if n == 0 {
			return nil, audit.ErrNothing
		}
		return []audit.Event{secretEvent("secret.settled", DataEncryptionKey,
			map[string]any{"keyId": data.current.id, "previousKeyId": data.previous.id})}, nil
	})
	if err == nil {
		k.o.Logger.Info("everything is encrypted with the new data key: DATA_ENCRYPTION_KEY_PREVIOUS may go", "keyId", data.current.id)
	}
	return err
}
