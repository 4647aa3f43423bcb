package audit

import (
	"context"
	"crypto/hmac"
	"errors"
	"fmt"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"sealpost/fault"
	"sealpost/keys"
	"sealpost/store"
)

// takeLead tells whether this server leads, after it has tried to. Who begins to lead first makes sure that
// the tree in the database is one that it may go on with.
func (s *Sealer) takeLead(ctx context.Context) (bool, error) {
	key, err := s.key()
	if err != nil {
		return false, err
	}
	var row head
	held := errors.New("another server leads")
	err = s.log.seal(ctx, func(tx *store.Tx) ([]Event, error) {
		now, err := tx.Now(ctx)
		if err != nil {
			return nil, err
		}
		row, err = readHead(ctx, tx)
		switch {
		case store.NoRow(err):
			root := frontier{}.root()
			row = head{origin: s.o.Origin, root: root, keyID: key.ID, mac: headMAC(key, s.o.Origin, 0, root)}
			_, err = tx.Exec(ctx, `
				insert into audit_tree (id, origin, size, root, key_id, mac, holder, token, lease_until)
				values (1, $1, 0, $2, $3, $4, '', 0, 0) on conflict (id) do nothing`, row.origin, root[:], row.keyID, row.mac)
			if err != nil {
				return nil, fmt.Errorf("begin the sealed log: %w", err)
			}
		case err != nil:
			return nil, err
		}
		mine := row.holder == s.log.writer && row.token == s.lead.token
		// One server alone need not wait for the lease of one that has ended.
		if others := tx.Dialect() == store.Postgres && row.holder != s.log.writer && row.holder != "" && now.Before(row.leaseUntil); others {
			return nil, held
		}
		if mine && row.leaseUntil.Sub(now) > leaseFor/2 {
			return nil, ErrNothing
		}
		next := row.token
		if !mine {
			next++
		}
		until := now.Add(leaseFor)
		n, err := tx.Exec(ctx, `update audit_tree set holder = $1, token = $2, lease_until = $3 where id = 1 and token = $4 and holder = $5`,
			s.log.writer, next, until.UnixMicro(), row.token, row.holder)
		if err != nil {
			return nil, fmt.Errorf("take the lead of sealing: %w", err)
		}
		if n == 0 {
			return nil, held
		}
		row.holder, row.token, row.leaseUntil = s.log.writer, next, until
		return nil, nil
	})
	switch {
	case errors.Is(err, held):
		s.lead = lease{}
		return false, nil
	case err != nil:
		s.lead = lease{}
		return false, fmt.Errorf("lead the sealing of the audit log: %w", err)
	}
	fresh := s.lead.holder == "" || s.lead.token != row.token
	s.lead = lease{holder: row.holder, token: row.token, until: row.leaseUntil}
	if !fresh {
		return true, nil
	}
	if err := s.assure(ctx, row); err != nil {
		s.lead = lease{}
		return false, err
	}
	return true, nil
}

// resign gives the lease back, so that another server need not wait for its end.
func (s *Sealer) resign(ctx context.Context) error {
	if s.lead.holder == "" {
		return nil
	}
	lead := s.lead
	s.lead = lease{}
	err := s.log.seal(ctx, func(tx *store.Tx) ([]Event, error) {
		_, err := tx.Exec(ctx, `update audit_tree set lease_until = 0 where id = 1 and holder = $1 and token = $2`, lead.holder, lead.token)
		return nil, err
	})
	if err != nil {
		return fmt.Errorf("give back the lead of sealing: %w", err)
	}
	return nil
}

// errDamaged says that the tree in the database is not one that may be signed: nothing is sealed any more
// until somebody has looked at it (docs/operations.md). What waits goes on waiting, under its HMAC.
func errDamaged(format string, args ...any) error {
	return fault.New(fault.Unavailable, "the sealed audit log has been changed: "+format+"; nothing more is sealed until somebody has looked at it", args...)
}

// assure makes sure that the tree in the database is the one that was sealed last, as far as that can be
// known: its head has our MAC, its right edge makes its root, and it goes on from its newest checkpoint,
// from the newest one that was copied outside, and from the tree that this server itself last knew. A log
// never signs what does not go on from what it has signed (C2SP tlog-checkpoint).
func (s *Sealer) assure(ctx context.Context, row head) error {
	s.origin = row.origin
	history, err := s.log.LogKeys(ctx)
	if err != nil {
		return err
	}
	s.newest, err = s.log.Checkpoint(ctx)
	if err != nil && !fault.Is(err, fault.NotFound) {
		return err
	}
	verifiers, err := s.verifiers(history)
	if err != nil {
		return err
	}
	if s.newest.Size > 0 {
		if _, err := OpenCheckpoint(s.newest.Note, verifiers...); err != nil {
			return errDamaged("its newest checkpoint is not signed by a key of this log (%v)", err)
		}
	}
	if err := s.assureHead(row); err != nil {
		return err
	}
	err = s.log.st.Read(ctx, func(tx *store.Tx) error {
		edge, err := readFrontier(ctx, tx, row.size)
		if err != nil {
			return errDamaged("%v", err)
		}
		if edge.root() != row.root {
			return errDamaged("the last tiles do not make the root of %d leaves", row.size)
		}
		last, err := readBundle(ctx, tx, edge)
		s.edge, s.bundle, s.run = edge, last, nil
		return err
	})
	if err != nil {
		return err
	}
	outside := s.outside(verifiers)
	for _, earlier := range []struct {
		what string
		tree tlog.Tree
	}{
		{"the newest checkpoint", tlog.Tree{N: s.newest.Size, Hash: s.newest.Root}},
		{"the newest checkpoint in AUDIT_CHECKPOINT_DIR", tlog.Tree{N: outside.Size, Hash: outside.Root}},
		{"the log as this server knew it", s.known},
	} {
		if err := s.goesOn(ctx, row, earlier.tree); err != nil {
			return errDamaged("%d leaves do not go on from %s, which has %d (%v)", row.size, earlier.what, earlier.tree.N, err)
		}
	}
	s.known = tlog.Tree{N: row.size, Hash: row.root}
	return nil
}

// assureHead verifies the head's MAC. Under a key that is gone the head has to be what the newest
// checkpoint signs.
func (s *Sealer) assureHead(row head) error {
	if key := s.keys.find(row.keyID); key != nil {
		if !hmac.Equal(headMAC(key, row.origin, row.size, row.root), row.mac) {
			return errDamaged("its head was not written by this program")
		}
		return nil
	}
	if row.size == 0 && row.root == (frontier{}).root() { // there is nothing to vouch for
		return nil
	}
	if row.size == s.newest.Size && row.root == s.newest.Root && row.origin == s.newest.Origin {
		return nil
	}
	return fault.New(fault.Unavailable, "the last %d leaves of the audit log are under the audit key %s, which is not configured: "+
		"give it as AUDIT_SIGNING_KEY_PREVIOUS until they are signed", row.size-s.newest.Size, row.keyID)
}

// verifiers are those of the keys that this log has had: of the history, and of the ring.
func (s *Sealer) verifiers(history []LogKey) ([]note.Verifier, error) {
	texts := map[string]bool{}
	for _, k := range history {
		texts[k.Verifier] = true
	}
	for _, k := range s.keys.known {
		text, err := VerifierKey(s.origin, k.key)
		if err != nil {
			return nil, err
		}
		texts[text] = true
	}
	var list []note.Verifier
	for text := range texts {
		v, err := note.NewVerifier(text)
		if err != nil {
			return nil, errDamaged("a key of its history cannot be read (%v)", err)
		}
		list = append(list, v)
	}
	return list, nil
}

// goesOn tells whether the tree in the database has an earlier one as its beginning.
func (s *Sealer) goesOn(ctx context.Context, row head, earlier tlog.Tree) error {
	switch {
	case earlier.N == 0:
		return nil
	case earlier.N > row.size:
		return errors.New("it is shorter")
	case earlier.N == row.size:
		if earlier.Hash != row.root {
			return errors.New("the root is another one")
		}
		return nil
	}
	proof, err := tlog.ProveTree(row.size, earlier.N, s.log.Tree(ctx, row.size, row.root))
	if err != nil {
		return err
	}
	return tlog.CheckTree(proof, row.size, row.root, earlier.N, earlier.Hash)
}

// readBundle reads the last bundle of a tree, while it is not full, and holds it against the hashes.
func readBundle(ctx context.Context, tx *store.Tx, edge frontier) (bundle, error) {
	n, width := widthAt(edge.size, 0)
	b := bundle{n: n, width: width}
	if width == 0 {
		return b, nil
	}
	err := tx.QueryRow(ctx, `select entries, event_ids from audit_bundle where n = $1 and width = $2`, n, width).Scan(&b.entries, &b.ids)
	if store.NoRow(err) {
		return b, errDamaged("the last %d entries are missing", width)
	}
	if err != nil {
		return b, fmt.Errorf("read the last bundle: %w", err)
	}
	entries, err := ParseBundle(b.entries)
	if err != nil || len(entries) != width || len(b.ids) != 16*width {
		return b, errDamaged("the last bundle cannot be read")
	}
	for i, e := range entries {
		if LeafHash(e) != edge.levels[0][i] {
			return b, errDamaged("entry %d is not what was sealed", n*tileWidth+int64(i))
		}
	}
	return b, nil
}

// follow is the round of a server that does not lead: it sees that the tree only grows, and copies what the
// leader has signed.
func (s *Sealer) follow(ctx context.Context) error {
	newest, err := s.log.Checkpoint(ctx)
	if fault.Is(err, fault.NotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	if newest.Size < s.newest.Size {
		return errDamaged("its newest checkpoint has %d leaves, and had %d", newest.Size, s.newest.Size)
	}
	s.newest, s.origin = newest, newest.Origin
	s.copyOut()
	return nil
}

// previousKey is the key that signed the newest checkpoint, where this server still has it.
func (s *Sealer) previousKey() *keys.Key { return s.keys.find(s.newest.KeyID) }
