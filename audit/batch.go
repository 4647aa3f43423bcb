package audit

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"sealpost/keys"
	"sealpost/store"
)

// maxBatch is how many leaves one transaction adds. It bounds how long other writers of SQLite wait.
const maxBatch = 2048

var (
	// errDeposed says that the tree is not as this leader left it: another one has taken its place.
	errDeposed = errors.New("another sealer has extended the log")
	// errPendingChanged says that a row which was read is no longer there, or no longer alone.
	errPendingChanged = errors.New("what is to be sealed has changed meanwhile")
	// errLost says that a row of the tree is gone.
	errLost = errors.New("a part of the sealed log is missing")
)

// batch is leaves that are added to the tree in one transaction, with everything that this changes: made
// outside it, and valid only if the tree is still as it was.
type batch struct {
	leaves   []leaf
	rejected []rejection

	before, after frontier
	root, newRoot tlog.Hash
	tiles         []hashTile
	bundles       []bundle
	runs          []run
}

// bundle is a row of audit_bundle.
type bundle struct {
	n            int64
	width        int
	entries, ids []byte
}

// add gives a bundle with leaves added to it. The slices are its own.
func (b bundle) add(leaves []leaf) bundle {
	next := bundle{n: b.n, width: b.width + len(leaves)}
	next.entries = append(make([]byte, 0, len(b.entries)+len(leaves)*(2+envelopeBytes)), b.entries...)
	next.ids = append(make([]byte, 0, len(b.ids)+len(leaves)*16), b.ids...)
	for _, l := range leaves {
		next.entries = appendEntry(next.entries, l.envelope)
		next.ids = append(next.ids, l.id[:]...)
	}
	return next
}

// newBatch puts leaves behind a tree whose last bundle, while it is not full, is given.
func newBatch(before frontier, last bundle, leaves []leaf, rejected []rejection) *batch {
	b := &batch{leaves: leaves, rejected: rejected, before: before, root: before.root(), runs: runsOf(leaves)}
	hashes := make([]tlog.Hash, len(leaves))
	for i, l := range leaves {
		hashes[i] = l.hash
	}
	b.after, b.tiles = before.extend(hashes)
	b.newRoot = b.after.root()
	if last.width == tileWidth {
		last = bundle{n: last.n + 1}
	}
	for rest := leaves; len(rest) > 0; {
		n := min(len(rest), tileWidth-last.width)
		b.bundles = append(b.bundles, last.add(rest[:n]))
		rest, last = rest[n:], bundle{n: last.n + 1}
	}
	return b
}

// store writes a batch: takes its rows out of what waits, and adds them to the tree, if that still is what
// the leader with this token left.
func (b *batch) store(ctx context.Context, tx *store.Tx, origin string, key *keys.Key, lead lease, previous *sealedRun) ([]Event, error) {
	now, err := tx.Now(ctx)
	if err != nil {
		return nil, err
	}
	n, err := tx.Exec(ctx, `
		update audit_tree set size = $1, root = $2, key_id = $3, mac = $4, lease_until = $5
		 where id = 1 and size = $6 and root = $7 and holder = $8 and token = $9`,
		b.after.size, b.newRoot[:], key.ID, headMAC(key, origin, b.after.size, b.newRoot), now.Add(leaseFor).UnixMicro(),
		b.before.size, b.root[:], lead.holder, lead.token)
	if err != nil {
		return nil, fmt.Errorf("extend the tree: %w", err)
	}
	if n == 0 {
		return nil, errDeposed
	}
	if err := b.takeOut(ctx, tx); err != nil {
		return nil, err
	}
	if err := b.storeLeaves(ctx, tx, previous); err != nil {
		return nil, err
	}
	if err := b.storeTiles(ctx, tx); err != nil {
		return nil, err
	}
	return b.reject(ctx, tx, now)
}

// takeOut deletes from what waits just the rows that were read. A range has no holes: a number that is
// missing may still be committed, by a transaction that began earlier and ends later, and must not go with
// its neighbours unread.
func (b *batch) takeOut(ctx context.Context, tx *store.Tx) error {
	for _, r := range b.runs {
		n, err := tx.Exec(ctx, `delete from audit_pending where writer = $1 and counter >= $2 and counter < $3`, r.writer, r.counter, r.end())
		if err != nil {
			return fmt.Errorf("take out what is sealed: %w", err)
		}
		if n != r.count {
			return errPendingChanged
		}
	}
	for _, r := range b.rejected {
		n, err := tx.Exec(ctx, `delete from audit_pending where writer = $1 and counter = $2`, r.writer, r.counter)
		if err != nil {
			return fmt.Errorf("take out what is rejected: %w", err)
		}
		if n != 1 {
			return errPendingChanged
		}
	}
	return nil
}

// sealedRun is the run of the leaf map that the last batch ended with.
type sealedRun struct {
	run
	leaf int64
}

// storeLeaves writes the bundles and the leaf map. Where a batch goes on with the numbers that the one
// before it ended with, their run grows: a writer that is alone has one row, however often it is sealed.
func (b *batch) storeLeaves(ctx context.Context, tx *store.Tx, previous *sealedRun) error {
	leaf, runs := b.before.size, b.runs
	if len(runs) == 0 {
		return nil
	}
	if previous != nil && previous.writer == runs[0].writer && previous.end() == runs[0].counter && previous.leaf+previous.count == leaf {
		n, err := tx.Exec(ctx, `update audit_leaf set count = $4 where writer = $1 and counter = $2 and count = $3`,
			previous.writer, previous.counter, previous.count, previous.count+runs[0].count)
		if err != nil {
			return fmt.Errorf("extend the leaf map: %w", err)
		}
		if n == 1 { // else somebody has changed it, and what is sealed now gets a row of its own
			leaf, runs = leaf+runs[0].count, runs[1:]
		}
	}
	rows := make([][]any, len(runs))
	for i, r := range runs {
		rows[i] = []any{r.writer, r.counter, r.count, leaf}
		leaf += r.count
	}
	if err := tx.Insert(ctx, "audit_leaf", []string{"writer", "counter", "count", "leaf"}, rows); err != nil {
		return err
	}
	bundles := b.bundles
	if first := bundles[0]; b.before.size%tileWidth != 0 {
		n, err := tx.Exec(ctx, `update audit_bundle set width = $2, entries = $3, event_ids = $4 where n = $1`,
			first.n, first.width, first.entries, first.ids)
		if err != nil {
			return fmt.Errorf("extend a bundle: %w", err)
		}
		if n != 1 {
			return errLost
		}
		bundles = bundles[1:]
	}
	rows = make([][]any, len(bundles))
	for i, next := range bundles {
		rows[i] = []any{next.n, next.width, next.entries, next.ids}
	}
	return tx.Insert(ctx, "audit_bundle", []string{"n", "width", "entries", "event_ids"}, rows)
}

// storeTiles writes the tiles that have changed.
func (b *batch) storeTiles(ctx context.Context, tx *store.Tx) error {
	var rows [][]any
	for _, t := range b.tiles {
		hashes := joinHashes(t.hashes)
		if n, width := widthAt(b.before.size, t.level); n != t.n || width == 0 {
			rows = append(rows, []any{t.level, t.n, len(t.hashes), hashes})
			continue
		}
		n, err := tx.Exec(ctx, `update audit_tile set width = $3, hashes = $4 where level = $1 and n = $2`, t.level, t.n, len(t.hashes), hashes)
		if err != nil {
			return fmt.Errorf("extend a tile: %w", err)
		}
		if n != 1 {
			return errLost
		}
	}
	return tx.Insert(ctx, "audit_tile", []string{"level", "n", "width", "hashes"}, rows)
}

// maxNamed is how many rejected rows one event names; all of them are kept.
const maxNamed = 20

// reject keeps what cannot be sealed as evidence, and tells of it.
func (b *batch) reject(ctx context.Context, tx *store.Tx, now time.Time) ([]Event, error) {
	if len(b.rejected) == 0 {
		return nil, nil
	}
	rows, named := make([][]any, len(b.rejected)), []map[string]any{}
	for i, r := range b.rejected {
		rows[i] = []any{store.NewID(), now.UnixMicro(), r.reason, r.writer, r.counter, r.eventID, r.envelope, r.mac}
		if i < maxNamed {
			sum := sha256.Sum256(r.envelope)
			named = append(named, map[string]any{
				"reason": r.reason, "writer": word(r.writer), "counter": r.counter, "eventId": word(r.eventID),
				"envelopeHash": hex.EncodeToString(sum[:]),
			})
		}
	}
	err := tx.Insert(ctx, "audit_rejected", []string{"id", "at", "reason", "writer", "counter", "event_id", "envelope", "mac"}, rows)
	if err != nil {
		return nil, err
	}
	return []Event{{
		Action: "audit.seal.rejected", Entity: "AuditLog", Outcome: Failure,
		Details: map[string]any{"count": len(b.rejected), "rejected": named, "size": b.before.size},
	}}, nil
}
