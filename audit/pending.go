package audit

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"math"
	"time"

	"github.com/google/uuid"
	"golang.org/x/mod/sumdb/tlog"

	"sealpost/keys"
	"sealpost/store"
)

// Why an envelope that waits is not sealed.
const (
	rejectedForm   = "MALFORMED"      // it is no envelope, or its row says another writer or number
	rejectedMAC    = "BAD_MAC"        // edited, or forged by somebody without the key
	rejectedKey    = "UNKNOWN_KEY"    // under a key that this server does not have, for longer than keyGrace
	rejectedSealed = "ALREADY_SEALED" // a writer's number that is a leaf already
)

const (
	// keyGrace is how long a key that was replaced still verifies what waits under it, and how long what
	// waits under a key that is not known yet is left waiting: servers take a new key within some seconds
	// of each other.
	keyGrace = time.Minute
	// maxStrangeKeys bounds how many unknown keys are waited for.
	maxStrangeKeys = 100
)

// waiting is a row of audit_pending.
type waiting struct {
	writer, eventID string
	counter         int64
	envelope, mac   []byte
}

// cursor is how far a pass through audit_pending has come.
type cursor struct {
	writer  string
	counter int64
}

// readPending reads the next rows behind a cursor, in the order of writers and their numbers.
func readPending(ctx context.Context, tx *store.Tx, behind cursor, limit int) ([]waiting, error) {
	list := make([]waiting, 0, limit)
	err := tx.Each(ctx, func(scan func(...any) error) error {
		var w waiting
		err := scan(&w.writer, &w.counter, &w.eventID, &w.envelope, &w.mac)
		list = append(list, w)
		return err
	}, `select writer, counter, event_id, envelope, mac from audit_pending where (writer, counter) > ($1, $2)
	     order by writer, counter limit $3`, behind.writer, behind.counter, limit)
	if err != nil {
		return nil, fmt.Errorf("read what is to be sealed: %w", err)
	}
	return list, nil
}

// leaf is an envelope that has been verified and is to be sealed.
type leaf struct {
	waiting
	id   uuid.UUID
	hash tlog.Hash
}

// rejection is an envelope that is not what a server of ours wrote.
type rejection struct {
	waiting
	reason string
}

// keychain knows audit keys by their ids: those of the ring, and those that were there a moment ago.
type keychain struct {
	known   map[string]*seenKey
	strange map[string]time.Time // keys that rows are under, and we do not have: since when
}

type seenKey struct {
	key  *keys.Key
	last time.Time // in the ring
	macs hash.Hash
}

// look takes in what the ring has now.
func (k *keychain) look(ring *keys.Ring, now time.Time) {
	if k.known == nil {
		k.known, k.strange = map[string]*seenKey{}, map[string]time.Time{}
	}
	for _, key := range []*keys.Key{ring.Current(), ring.Previous()} {
		if key == nil {
			continue
		}
		delete(k.strange, key.ID)
		if s := k.known[key.ID]; s != nil {
			s.last = now
			continue
		}
		k.known[key.ID] = &seenKey{key: key, last: now, macs: hmac.New(sha256.New, key.Derive(keys.EnvelopeMAC))}
	}
	for id, s := range k.known {
		if now.Sub(s.last) > keyGrace {
			delete(k.known, id)
		}
	}
}

// find gives a key, or nil.
func (k *keychain) find(id string) *keys.Key {
	if s := k.known[id]; s != nil {
		return s.key
	}
	return nil
}

// judge tells whether an envelope is what a server of ours wrote: reason is empty and wait false then. With
// wait its key is not known yet, and may come.
func (k *keychain) judge(w waiting, now time.Time) (l leaf, reason string, wait bool) {
	// The form is read without ParseEnvelope, whose text ids cost more than the hash.
	if len(w.envelope) != envelopeBytes || w.envelope[0] != envelopeVersion {
		return leaf{}, rejectedForm, false
	}
	writer, err := uuid.Parse(w.writer)
	if err != nil || !bytes.Equal(writer[:], w.envelope[9:25]) || writer.String() != w.writer {
		return leaf{}, rejectedForm, false
	}
	id, err := uuid.Parse(w.eventID)
	if err != nil || id.String() != w.eventID || w.counter <= 0 || counterOf(w.envelope) != w.counter {
		return leaf{}, rejectedForm, false
	}
	keyID := hex.EncodeToString(w.envelope[1:9])
	s := k.known[keyID]
	if s == nil {
		since, seen := k.strange[keyID]
		if !seen && len(k.strange) < maxStrangeKeys {
			since, seen = now, true
			k.strange[keyID] = now
		}
		if seen && now.Sub(since) <= keyGrace {
			return leaf{}, "", true
		}
		return leaf{}, rejectedKey, false
	}
	s.macs.Reset()
	s.macs.Write([]byte(w.eventID))
	s.macs.Write(w.envelope)
	if !hmac.Equal(s.macs.Sum(nil), w.mac) {
		return leaf{}, rejectedMAC, false
	}
	return leaf{waiting: w, id: id, hash: LeafHash(w.envelope)}, "", false
}

// counterOf reads an envelope's number; -1 where no writer counts that far.
func counterOf(envelope []byte) int64 {
	var n uint64
	for _, b := range envelope[25:33] {
		n = n<<8 | uint64(b)
	}
	if n > math.MaxInt64 {
		return -1
	}
	return int64(n)
}

// run is consecutive numbers of one writer.
type run struct {
	writer         string
	counter, count int64
}

func (r run) end() int64 { return r.counter + r.count } // behind its last number

// runsOf cuts leaves into runs, in their order.
func runsOf(leaves []leaf) []run {
	var runs []run
	for _, l := range leaves {
		if last := len(runs) - 1; last >= 0 && runs[last].writer == l.writer && runs[last].end() == l.counter {
			runs[last].count++
			continue
		}
		runs = append(runs, run{l.writer, l.counter, 1})
	}
	return runs
}

// sealedOf finds the run of the leaf map that has a writer's number, or the last one before it.
func sealedOf(ctx context.Context, tx *store.Tx, writer string, counter int64) (r run, leaf int64, err error) {
	r.writer = writer
	err = tx.QueryRow(ctx, `select counter, count, leaf from audit_leaf where writer = $1 and counter <= $2 order by counter desc limit 1`,
		writer, counter).Scan(&r.counter, &r.count, &leaf)
	if store.NoRow(err) {
		return run{writer: writer}, 0, nil
	}
	if err != nil {
		return r, 0, fmt.Errorf("read the leaf map: %w", err)
	}
	return r, leaf, nil
}

// withoutSealed takes leaves away whose numbers are leaves already: rows that somebody has put back.
func withoutSealed(ctx context.Context, tx *store.Tx, leaves []leaf) (kept []leaf, again []rejection, err error) {
	clean := true
	for _, r := range runsOf(leaves) {
		before, _, err := sealedOf(ctx, tx, r.writer, r.end()-1)
		if err != nil {
			return nil, nil, err
		}
		clean = clean && before.end() <= r.counter
	}
	if clean {
		return leaves, nil, nil
	}
	for _, l := range leaves {
		before, _, err := sealedOf(ctx, tx, l.writer, l.counter)
		if err != nil {
			return nil, nil, err
		}
		if before.end() > l.counter {
			again = append(again, rejection{l.waiting, rejectedSealed})
		} else {
			kept = append(kept, l)
		}
	}
	return kept, again, nil
}
