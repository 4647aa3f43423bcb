package audit

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net/url"
	"strings"
	"sync"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"sealpost/fault"
	"sealpost/keys"
	"sealpost/store"
)

const (
	// leaseFor is how long a leader that says nothing more keeps its place. It renews it with each batch,
	// and when half of it is over.
	leaseFor = 10 * time.Second
	// sealEvery is how often it is looked for what is to be sealed. Checkpoints may be rarer.
	sealEvery = time.Second
	// beatEvery is how often a server accounts for the numbers of its events.
	beatEvery = 10 * time.Second
)

// SealerOptions are what the environment decides about sealing.
type SealerOptions struct {
	Origin          string        // of a new log: PUBLIC_URL without its scheme, and /audit/log
	CheckpointEvery time.Duration // AUDIT_CHECKPOINT_SECONDS: the least time between two checkpoints
	CheckpointDir   string        // AUDIT_CHECKPOINT_DIR; empty: no copies
	Witnesses       []Witness     // AUDIT_WITNESS_URLS
	Logger          *slog.Logger
}

// Sealer makes leaves of the envelopes that wait, and signs what the tree has become (runbook §6).
//
// Every server has one; the one that holds the lease of audit_tree's row seals, the others look on. It reads
// what waits, verifies each envelope's HMAC, and computes how the tree grows outside any transaction; one
// short transaction then takes just those rows out, adds the leaves, and moves the head from the size, root
// and token that it knew. If any of that is no longer so, none of it happens. Order of sealing is the order
// in which rows are found: an event that commits late is found later, and nothing assumes that numbers, ids
// or times of leaves are sorted.
type Sealer struct {
	log *Log
	o   SealerOptions

	working sync.Mutex // one piece of work at a time; guards what follows
	keys    keychain
	lead    lease
	origin  string
	edge    frontier
	bundle  bundle     // the last one, while it is not full
	run     *sealedRun // that the last batch ended with
	newest  Checkpoint // zero: there is none
	known   tlog.Tree  // the tree as this server last knew it: it only ever grows
	rounds  rounds     // when what is not done each second was last done
	copied  string     // the note that is in the directory
	asked   cosigning

	mu     sync.Mutex // of what follows
	status sealerStatus
}

// lease is a leader's place: nobody else extends the tree while its token is the row's.
type lease struct {
	holder string // empty: this server does not lead
	token  int64
	until  time.Time
}

// sealerStatus is what /health and the posture ask for.
type sealerStatus struct {
	stalled error // why nothing is sealed
	copying error // why the newest checkpoint could not be copied
	since   time.Time
}

// rounds are when something was last done.
type rounds struct{ beat, thin, lost time.Time }

// NewSealer makes the sealer of a log. Run works; without it, Drain seals once.
func NewSealer(log *Log, o SealerOptions) *Sealer {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return &Sealer{log: log, o: o}
}

// Run seals until ctx ends. What waits then is for Drain, after the last event.
func (s *Sealer) Run(ctx context.Context) {
	ticker := time.NewTicker(sealEvery)
	defer ticker.Stop()
	defer s.asked.busy.Wait()
	for {
		s.work(ctx)
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}

// work is one round. What goes wrong is logged once, and tried again.
func (s *Sealer) work(ctx context.Context) {
	s.working.Lock()
	defer s.working.Unlock()
	if now := time.Now(); now.Sub(s.rounds.beat) >= beatEvery {
		s.rounds.beat = now
		if err := s.log.Beat(ctx); err != nil && ctx.Err() == nil {
			s.o.Logger.Error("the audit log's heartbeat could not be written", "error", err)
		}
	}
	err := s.round(ctx, false)
	if ctx.Err() != nil {
		return
	}
	s.note(err)
}

// note keeps how a round went for those who ask, and logs what is new.
func (s *Sealer) note(err error) {
	if errors.Is(err, errDeposed) {
		err = nil // another server goes on
	}
	s.mu.Lock()
	before := s.status.stalled
	s.status.stalled = err
	s.mu.Unlock()
	switch {
	case err != nil && (before == nil || before.Error() != err.Error()):
		s.o.Logger.Error("the audit log is not being sealed", "error", err)
	case err == nil && before != nil:
		s.o.Logger.Info("the audit log is being sealed again")
	}
}

// Drain seals everything that waits, signs a checkpoint over it whatever AUDIT_CHECKPOINT_SECONDS says, and
// gives the lease back. It is for the end of a server, after its last event. Where another server leads it
// does nothing: that one seals what this one has written.
func (s *Sealer) Drain(ctx context.Context) error {
	s.working.Lock()
	defer s.working.Unlock()
	err := s.round(ctx, true)
	s.asked.busy.Wait()
	s.takeCosigned()
	s.copyOut()
	if err != nil {
		return fmt.Errorf("seal what is left: %w", err)
	}
	return s.resign(ctx)
}

// SealNow is Drain for a server that goes on, as before another key is used. Where another server leads it
// does nothing either: whoever needs a proof then waits for it (Log.Await).
func (s *Sealer) SealNow(ctx context.Context) error {
	s.working.Lock()
	defer s.working.Unlock()
	return s.round(ctx, true)
}

// round does everything that is due. now: also a checkpoint, if anything is new.
func (s *Sealer) round(ctx context.Context, now bool) error {
	leads, err := s.takeLead(ctx)
	if err != nil {
		return err
	}
	if !leads {
		return s.follow(ctx)
	}
	err = s.sealAll(ctx)
	if err == nil {
		err = s.declareLost(ctx)
	}
	if err == nil {
		err = s.checkpoint(ctx, now)
	}
	if err != nil {
		s.lead = lease{} // what this server knows of the tree may be wrong: it is read again
		return err
	}
	s.publish(ctx)
	return s.thin(ctx)
}

// sealAll makes one pass through what waits.
func (s *Sealer) sealAll(ctx context.Context) error {
	behind := cursor{counter: math.MinInt64}
	for tries := 0; ; {
		if err := ctx.Err(); err != nil {
			return err
		}
		next, more, err := s.sealSome(ctx, behind)
		switch {
		case errors.Is(err, errPendingChanged) && tries < 10: // read them again
			tries++
		case err != nil:
			return fmt.Errorf("seal events: %w", err)
		case !more:
			return nil
		default:
			behind, tries = next, 0
		}
	}
}

// sealSome seals the next rows behind a cursor. more: there may be others.
func (s *Sealer) sealSome(ctx context.Context, behind cursor) (next cursor, more bool, err error) {
	key, err := s.key()
	if err != nil {
		return behind, false, err
	}
	var rows []waiting
	err = s.log.st.Read(ctx, func(tx *store.Tx) (err error) {
		rows, err = readPending(ctx, tx, behind, maxBatch)
		return err
	})
	if err != nil || len(rows) == 0 {
		return behind, false, err
	}
	last := rows[len(rows)-1]
	next, more = cursor{last.writer, last.counter}, len(rows) == maxBatch
	now := time.Now()
	s.keys.look(s.log.key.Load(), now)
	leaves, rejected := make([]leaf, 0, len(rows)), []rejection(nil)
	for _, w := range rows {
		switch l, reason, wait := s.keys.judge(w, now); {
		case wait:
		case reason != "":
			rejected = append(rejected, rejection{w, reason})
		default:
			leaves = append(leaves, l)
		}
	}
	var again []rejection
	err = s.log.st.Read(ctx, func(tx *store.Tx) (err error) {
		leaves, again, err = withoutSealed(ctx, tx, leaves)
		return err
	})
	if err != nil {
		return behind, false, err
	}
	if rejected = append(rejected, again...); len(leaves)+len(rejected) == 0 {
		return next, more, nil
	}
	b := newBatch(s.edge, s.bundle, leaves, rejected)
	err = s.log.seal(ctx, func(tx *store.Tx) ([]Event, error) { return b.store(ctx, tx, s.origin, key, s.lead, s.run) })
	if err != nil {
		return behind, false, err
	}
	s.sealed(b)
	for _, r := range rejected {
		s.o.Logger.Error("an audit event is not sealed: it is not what this program wrote",
			"reason", r.reason, "eventId", r.eventID, "writer", r.writer, "counter", r.counter)
	}
	return next, more, nil
}

// sealed takes in a batch that is stored.
func (s *Sealer) sealed(b *batch) {
	if len(b.leaves) == 0 {
		return
	}
	first := b.before.size
	s.edge, s.bundle = b.after, b.bundles[len(b.bundles)-1]
	if s.bundle.width == tileWidth {
		s.bundle = bundle{n: s.bundle.n + 1}
	}
	s.known = tlog.Tree{N: b.after.size, Hash: b.newRoot}
	last := b.runs[len(b.runs)-1]
	switch {
	case len(b.runs) > 1:
		s.run = &sealedRun{last, b.after.size - last.count}
	case s.run != nil && s.run.writer == last.writer && s.run.end() == last.counter && s.run.leaf+s.run.count == first:
		s.run = &sealedRun{run{last.writer, s.run.counter, s.run.count + last.count}, s.run.leaf}
	default:
		s.run = &sealedRun{last, first}
	}
}

// key is the audit key in use.
func (s *Sealer) key() (*keys.Key, error) {
	ring := s.log.key.Load()
	if ring == nil || ring.Current() == nil {
		return nil, errNoKey()
	}
	s.keys.look(ring, time.Now())
	return ring.Current(), nil
}

// Check tells whether the log is written, and sealed (GET /health, "audit").
func (s *Sealer) Check(ctx context.Context) error {
	if err := s.log.Check(ctx); err != nil {
		return err
	}
	s.mu.Lock()
	stalled, copying, since := s.status.stalled, s.status.copying, s.status.since
	s.mu.Unlock()
	if stalled != nil {
		if fault.Is(stalled, fault.Unavailable) {
			return stalled
		}
		return fault.Wrap(fault.Unavailable, stalled, "the audit log is not being sealed; the server's log says why")
	}
	state, err := s.log.Sealing(ctx)
	if err != nil {
		return err
	}
	if err := state.wrong(s.o.CheckpointEvery); err != nil {
		return err
	}
	if copying != nil && time.Since(since) > copyPatience {
		return fault.Wrap(fault.Unavailable, copying, "checkpoints cannot be copied to AUDIT_CHECKPOINT_DIR since %s", since.UTC().Format(time.RFC3339))
	}
	return nil
}

// Origin names the log of an installation in its checkpoints: its address without the scheme (C2SP
// tlog-tiles). The path of its tiles belongs to it.
func Origin(public *url.URL) string {
	return public.Host + strings.TrimRight(public.Path, "/") + "/audit/log"
}
