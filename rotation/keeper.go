package rotation

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"sealpost/audit"
	"sealpost/config"
	"sealpost/keys"
	"sealpost/store"
)

// Options are what a Keeper needs beside the secrets. The zero value is good for a program that neither
// reloads nor shows anything.
type Options struct {
	TokenLife     time.Duration                                // of access tokens, which is how long a previous JWT_SECRET verifies
	MaxAgeDays    int                                          // SECRET_ROTATION_MAX_AGE_DAYS
	Sealed        []keys.Sealed                                // what is encrypted with the data key, to be encrypted anew after a rotation
	Endpoints     func(context.Context) ([]NamedSecret, error) // each endpoint's
	APIKeys       func(context.Context) ([]NamedSecret, error) // each that counts
	OpenAIChanged func(config.Secret)                          // the new value is to be used from now on
	SealPending   func(context.Context) error                  // seals what waits, before another AUDIT_SIGNING_KEY is used
	Logger        *slog.Logger
}

// NamedSecret tells since when one of many secrets of a kind is in use: an endpoint's, an API key.
type NamedSecret struct {
	ID, Name  string
	ChangedAt time.Time
}

// Sources are the secrets with where they come from, so that those in files can be read again.
type Sources struct {
	config.Secrets
	DatabasePassword config.Secret // unset where the database asks for none
}

func (s Sources) reveal() Secrets {
	return Secrets{
		JWT: s.JWT.Reveal(), JWTPrevious: s.JWTPrevious.Reveal(),
		Data: s.Data.Reveal(), DataPrevious: s.DataPrevious.Reveal(),
		Audit: s.Audit.Reveal(), AuditPrevious: s.AuditPrevious.Reveal(),
		OpenAI: s.OpenAI.Reveal(), DatabasePassword: s.DatabasePassword.Reveal(),
	}
}

// slot is a secret with the versions that are configured now.
type slot struct {
	name              string
	current, previous *version
	waits             bool      // the previous one still signs: see decide
	until             time.Time // the end of the previous one's window; zero: it has none
	since             time.Time // when the one that signs came into use
	settled           bool
	ring              *keys.Ring // nil for secrets that are not ours
}

// inUse is the version that signs.
func (s *slot) inUse() *version {
	if s.waits {
		return s.previous
	}
	return s.current
}

// ownSecrets are the first of the slots, which have rings.
const ownSecrets = 3

// Keeper keeps the secrets of one running program.
type Keeper struct {
	log            *audit.Log
	o              Options
	set            *keys.Set
	fingerprintKey []byte
	settleAfter    time.Duration // see reencrypt.go

	working  sync.Mutex // one look at the secrets at a time
	sources  Sources
	known    map[string]*version // by fingerprint: versions that are in the table
	promoted map[string]string   // by name: the version that this process has put into use

	mu       sync.Mutex // of what others may look at meanwhile
	slots    []*slot
	waitsFor map[string][]string // by name: the servers that have not got the newest key
	problems map[string]string   // by name: why a changed value is not used
	passed   string              // the data key with which everything has been encrypted anew once
}

// Open gives each secret its random id, the same one on every server and at each start, hands the audit
// log its key, and gives what keeps the secrets from now on. ErrWrongDataKey.
func Open(ctx context.Context, log *audit.Log, s Sources, o Options) (*Keeper, error) {
	k, err := open(ctx, log, s.reveal(), o)
	if err != nil {
		return nil, err
	}
	k.sources = s
	return k, nil
}

func open(ctx context.Context, log *audit.Log, s Secrets, o Options) (*Keeper, error) {
	s, err := s.check()
	if err != nil {
		return nil, err
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	k := &Keeper{
		log: log, o: o, settleAfter: settleAfter,
		set:   &keys.Set{JWT: keys.NewRing(nil, nil), Data: keys.NewRing(nil, nil), Audit: keys.NewRing(nil, nil)},
		known: map[string]*version{}, promoted: map[string]string{}, problems: map[string]string{},
	}
	for i, v := range s.values() {
		k.slots = append(k.slots, &slot{name: v.name})
		if i < ownSecrets {
			k.slots[i].ring = []*keys.Ring{k.set.JWT, k.set.Data, k.set.Audit}[i]
		}
	}
	if k.fingerprintKey, err = loadFingerprintKey(ctx, log, s); err != nil {
		return nil, fmt.Errorf("load the fingerprint key: %w", err)
	}
	log.Use(k.set.Audit)
	refused, err := k.arrange(ctx, s)
	if err == nil {
		err = refused[DataEncryptionKey]
	}
	if err != nil {
		return nil, fmt.Errorf("load the secrets: %w", err)
	}
	return k, nil
}

// Keys are the rings of the running program. They are replaced in place.
func (k *Keeper) Keys() *keys.Set { return k.set }

// arrange puts the secrets as they are configured now into use, as far as decide lets it. refused tells
// which are left as they were, and why.
func (k *Keeper) arrange(ctx context.Context, s Secrets) (refused map[string]error, err error) {
	for try := 1; ; try++ {
		refused, err = k.arrangeOnce(ctx, s)
		if store.Unique(err) && try < 3 {
			continue // another server that has the same new secret was first
		}
		return refused, err
	}
}

func (k *Keeper) arrangeOnce(ctx context.Context, s Secrets) (map[string]error, error) {
	var slots []*slot
	var rows map[string]inUse
	var others []peer
	var now time.Time
	err := k.log.Store().Read(ctx, func(tx *store.Tx) (err error) {
		if now, err = tx.Now(ctx); err != nil {
			return err
		}
		if rows, err = readInUse(ctx, tx); err != nil {
			return err
		}
		if others, err = k.peers(ctx, tx); err != nil {
			return err
		}
		slots = nil
		for i, v := range s.values() {
			next := &slot{name: v.name, ring: k.slots[i].ring}
			if next.current, err = k.versionOf(ctx, tx, v.name, v.current); err != nil {
				return err
			}
			if next.previous, err = k.versionOf(ctx, tx, v.name, v.previous); err != nil {
				return err
			}
			slots = append(slots, next)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	refused, waitsFor := map[string]error{}, map[string][]string{}
	for i, next := range slots {
		if next.current == nil {
			continue
		}
		sit := situation{
			name: next.name, current: next.current.id, previous: next.previous.keyID(), now: now, window: k.o.TokenLife,
		}
		next.since = now
		if row, ok := rows[next.name]; ok {
			sit.row = &row
			next.since, next.settled = row.since, row.settled
		}
		missing := lacking(others, next.name, next.current.id)
		sit.elsewhere = next.ring == nil || len(missing) == 0
		u := decide(sit)
		if u.refused != nil {
			refused[next.name] = u.refused
			slots[i] = k.slots[i]
			continue
		}
		if next.waits = u.waits; next.ring != nil {
			waitsFor[next.name] = missing
		}
		if next.until = u.until; u.drop {
			next.previous = nil
		}
	}
	if len(refused) > 0 && k.slots[0].current == nil {
		return refused, nil // nothing is in use yet
	}
	k.sealBefore(ctx, slots[2])
	if err := k.commit(ctx, s, slots, rows); err != nil {
		return nil, err
	}
	k.mu.Lock()
	k.slots, k.waitsFor = slots, waitsFor
	k.mu.Unlock()
	for _, next := range slots {
		next.turn()
	}
	return refused, nil
}

// turn puts a slot's keys into its ring.
func (s *slot) turn() {
	if s.ring == nil || s.current == nil {
		return
	}
	current, previous := s.current.key, (*keys.Key)(nil)
	if s.previous != nil {
		previous = s.previous.key
	}
	if s.waits {
		current, previous = previous, current
	}
	s.ring.ReplaceUntil(current, previous, s.until)
}

// commit records versions that are new and what comes into use, each with its event.
func (k *Keeper) commit(ctx context.Context, s Secrets, slots []*slot, rows map[string]inUse) error {
	var fresh []*version
	var promote []*slot
	for _, next := range slots {
		for _, v := range []*version{next.current, next.previous} {
			if v != nil && v.fresh {
				fresh = append(fresh, v)
			}
		}
		switch {
		case next.current == nil:
		case next.waits:
			delete(k.promoted, next.name) // so that it is put into use when it no longer waits
		case k.promoted[next.name] != next.current.id && rows[next.name].version != next.current.id:
			promote = append(promote, next)
		}
	}
	if audit := slots[2]; audit.ring.Current() == nil {
		audit.turn() // the first events need a key, and tell of it
	}
	if len(fresh)+len(promote) > 0 {
		if err := k.write(ctx, s, fresh, promote, rows); err != nil {
			return err
		}
	}
	for _, next := range slots {
		for _, v := range []*version{next.current, next.previous} {
			if v != nil {
				v.fresh = false
				k.known[v.print] = v
			}
		}
		if next.current != nil && !next.waits {
			k.promoted[next.name] = next.current.id
		}
	}
	return nil
}

// write is commit's transaction.
func (k *Keeper) write(ctx context.Context, s Secrets, fresh []*version, promote []*slot, rows map[string]inUse) error {
	return k.log.Change(ctx, audit.Itself("rotation"), func(tx *store.Tx) ([]audit.Event, error) {
		now, err := tx.Now(ctx)
		if err != nil {
			return nil, err
		}
		var events []audit.Event
		for _, v := range fresh {
			e, err := v.record(ctx, tx, now)
			if err != nil {
				return nil, err
			}
			events = append(events, e)
		}
		for _, next := range promote {
			var before *inUse
			if row, used := rows[next.name]; used {
				before = &row
			}
			told, err := putInUse(ctx, tx, next, before, now)
			if err != nil {
				return nil, err
			}
			events = append(events, told...)
			if next.name == DataEncryptionKey {
				if err := rewrapFingerprintKey(ctx, tx, s, k.fingerprintKey); err != nil {
					return nil, err
				}
			}
			next.since, next.settled = now, before == nil && next.previous == nil
			if !next.until.IsZero() {
				next.until = now.Add(k.o.TokenLife + windowGrace)
			}
		}
		if len(events) == 0 {
			return nil, audit.ErrNothing // another server was first
		}
		for _, v := range fresh {
			v.firstSeen = now
		}
		return events, nil
	})
}
