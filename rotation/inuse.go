package rotation

import (
	"context"
	"fmt"
	"slices"
	"time"

	"sealpost/audit"
	"sealpost/store"
)

// inUse is a row of secret_in_use: which version of a secret all servers use, and which was before it.
type inUse struct {
	version, previous string
	since             time.Time
	settled           bool // of the data key: nothing at rest needs the previous one any more
}

func readInUse(ctx context.Context, tx *store.Tx) (map[string]inUse, error) {
	rows := map[string]inUse{}
	err := tx.Each(ctx, func(scan func(...any) error) error {
		var name string
		var row inUse
		var settled time.Time
		err := scan(&name, &row.version, store.String(&row.previous), store.Time(&row.since), store.Time(&settled))
		row.settled = !settled.IsZero()
		rows[name] = row
		return err
	}, `select name, version_id, previous_id, since, settled_at from secret_in_use`)
	if err != nil {
		return nil, fmt.Errorf("read which secrets are in use: %w", err)
	}
	return rows, nil
}

// windowGrace is what the window of JWT_SECRET_PREVIOUS lasts longer than an access token: until then
// the last server has begun to sign with the new key.
const windowGrace = time.Minute

// situation is what decides how a secret's two versions are used.
type situation struct {
	name              string
	current, previous string // ids, as configured; "" is none
	row               *inUse // nil: the secret has never been in use
	elsewhere         bool   // every other server has the current one
	now               time.Time
	window            time.Duration // how long an access token lives; 0: the previous key's window has no end
}

// use is how they are used.
type use struct {
	waits   bool      // the previous one signs, until every server has the current one; both verify
	drop    bool      // the previous one's window is over
	until   time.Time // when it will be; zero: it does not end by itself
	refused error     // neither of it: what is in use stays
}

// decide is the rule of a rotation (runbook §3.2; DESIGN §8). With a previous key it is a planned one:
// no server signs with the new key before every server has it, and the previous key verifies until the
// last token that it signed has expired. Without one the old key stops at once, as after a leak.
//
// A data key is never lost while something is encrypted with it.
func decide(s situation) use {
	if s.name == DataEncryptionKey && s.row != nil {
		needed := []string{s.row.version}
		if !s.row.settled && s.row.previous != "" {
			needed = append(needed, s.row.previous)
		}
		for _, id := range needed {
			if id != s.current && id != s.previous {
				return use{refused: fmt.Errorf("values are still encrypted with key %s, which is neither %s nor %s_PREVIOUS: %w",
					id, DataEncryptionKey, DataEncryptionKey, ErrWrongDataKey)}
			}
		}
	}
	inUse := s.row != nil && s.row.version == s.current
	switch {
	case s.previous == "":
		return use{}
	case !inUse && !s.elsewhere:
		return use{waits: true}
	case s.name != JWTSecret || s.window == 0:
		return use{}
	}
	since := s.now
	if inUse {
		since = s.row.since
	}
	until := since.Add(s.window + windowGrace)
	return use{until: until, drop: !s.now.Before(until)}
}

// putInUse makes a version the one in use, and tells of it. No event: another server has done it.
func putInUse(ctx context.Context, tx *store.Tx, s *slot, row *inUse, now time.Time) ([]audit.Event, error) {
	settled := time.Time{}
	if row == nil {
		if s.previous == nil {
			settled = now // there is nothing before it
		}
		_, err := tx.Exec(ctx, `insert into secret_in_use (name, version_id, previous_id, since, settled_at) values ($1, $2, $3, $4, $5)`,
			s.name, s.current.id, store.Text(s.previous.keyID()), now.UnixMicro(), store.Micros(settled))
		if err != nil {
			return nil, fmt.Errorf("put %s into use: %w", s.name, err)
		}
		if s.current.fresh {
			return nil, nil // that it was first seen says it
		}
		return []audit.Event{secretEvent("secret.changed", s.name, map[string]any{"keyId": s.current.id})}, nil
	}
	n, err := tx.Exec(ctx, `
		update secret_in_use set version_id = $2, previous_id = version_id, since = $3, settled_at = null
		 where name = $1 and version_id = $4`, s.name, s.current.id, now.UnixMicro(), row.version)
	if err != nil {
		return nil, fmt.Errorf("put %s into use: %w", s.name, err)
	}
	if n == 0 {
		return nil, nil
	}
	details := map[string]any{"keyId": s.current.id, "previousKeyId": row.version, "overlap": s.previous != nil}
	return []audit.Event{secretEvent("secret.changed", s.name, details)}, nil
}

// ids lists what a slot has, the one that it signs with first.
func (s *slot) ids() []string {
	list := []string{s.current.keyID()}
	if s.previous != nil {
		list = append(list, s.previous.id)
	}
	if s.waits {
		slices.Reverse(list)
	}
	return list
}
