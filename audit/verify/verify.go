// Package verify checks a sealed log, in the database or as an export, without believing anything but a key
// and, where one is given, a checkpoint from outside (runbook §6). An auditor does not have to trust the admin,
// the database, nor the server that wrote it.
//
// What is checked, in this order:
//
//   - entries.go: each entry against the tree's tiles, and the whole tree against them, from the leaves up.
//   - bodies.go: each event against its entry: salt and body against the hash, the one form of a body
//     (canonical.go), its id, its time to the microsecond, and the columns that it is searched by.
//   - checkpoints.go: each kept checkpoint: its signature by a key that follows from the one that is trusted,
//     and that the tree of today still begins with what it signed; the checkpoint from outside likewise.
//   - counters.go: that no number of a writer is there twice, and that each that is missing is accounted for.
//   - lawful.go: that a body is missing only where a sealed intent, made of proven age and of the holds that
//     stood, says that it may.
//
// Everything is recomputed by all processors; memory is for some bytes a bundle of 256 events and a bit each.
package verify

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"sealpost/audit"
	"sealpost/keys"
)

// bundleWidth is how many leaves a bundle, and a tile of the lowest level, have.
const bundleWidth = 256

// Options say whom to believe.
type Options struct {
	// Keys verify checkpoints: note verifiers of this log's keys, as they were got from outside or are this
	// installation's own.
	Keys []note.Verifier
	// Witnesses verify cosignatures, whose times are independent of the log.
	Witnesses []note.Verifier
	// Own are the audit keys themselves, where this is the installation: what is under no checkpoint yet can
	// be verified with them alone.
	Own []*keys.Key
	// Outside is a checkpoint that was kept elsewhere, a signed note; "": there is none.
	Outside string
	// Progress is told now and then how much of the work is done. It may be called by several goroutines.
	Progress func(done, total int64)
	// Workers is how many goroutines work; 0: one a processor.
	Workers int
}

// again is how often a log that goes on is verified again, because what was missing may have gone lawfully
// meanwhile.
const again = 3

// Run verifies a log. An error says that it could not be read, and so nothing is known of it.
func Run(ctx context.Context, src Source, o Options) (Report, error) {
	for try := 1; ; try++ {
		v := newVerifier(src, o)
		r, err := v.run(ctx)
		if err != nil || try == again || !v.unlawful {
			return r, err
		}
		now, err := src.Head(ctx)
		if err != nil || now.Size == v.size {
			return r, err
		}
	}
}

type verifier struct {
	src  Source
	live live // nil: an export
	o    Options
	findings
	head Head
	size int64 // leaves that are looked at

	cache   entryCache
	bundles []bundleState // by their number
	levels  [][]tlog.Hash // levels[1]: the root of each full tile of level 0, and so on
	torn    []torn        // bundles whose entries and tile differ
	writers map[string][]NumberRun
	clashes []clash

	kept    []*kept
	split   []splitNode
	ownKeys map[string]*keys.Key

	lawfullyGone [][2]int64 // ranges of leaves, half-open

	seen     []uint64 // a bit for each leaf whose body has been found
	bodies   atomic.Int64
	orphans  []orphan
	special  specials
	unlawful bool

	done, total atomic.Int64
	report      Report
	notes       []string
}

// bundleState is what is kept of a bundle.
type bundleState struct {
	sum        uint64 // of its entries, by which they are known again
	from, to   int64  // its earliest and its latest time, in microseconds
	entries    int    // how many are there
	overridden bool   // the tile's hashes count, not the entries'
}

func newVerifier(src Source, o Options) *verifier {
	if o.Workers <= 0 {
		o.Workers = runtime.GOMAXPROCS(0)
	}
	v := &verifier{src: src, o: o, writers: map[string][]NumberRun{}, ownKeys: map[string]*keys.Key{}}
	v.live, _ = src.(live)
	v.cache.seed = maphash.MakeSeed()
	return v
}

func (v *verifier) run(ctx context.Context) (Report, error) {
	var err error
	if v.head, err = v.src.Head(ctx); err != nil {
		return Report{}, err
	}
	v.size = v.head.Size
	if v.size < 0 || v.size > 1<<48 {
		return Report{}, fmt.Errorf("the log says that it has %d leaves", v.size)
	}
	v.report = Report{Origin: v.head.Origin, Size: v.size}
	v.total.Store(2 * v.size)
	v.bundles = make([]bundleState, (v.size+bundleWidth-1)/bundleWidth)
	v.seen = make([]uint64, (v.size+63)/64)
	for _, step := range []func(context.Context) error{
		v.entries, v.rows, v.tiles, v.checkpoints, v.lasting, v.leafMap, v.lawful, v.accounts, v.dates,
	} {
		if err := step(ctx); err != nil {
			return Report{}, err
		}
	}
	v.report.Bodies = v.bodies.Load()
	v.report.Findings, v.report.More, v.report.Notes = v.findings.sorted(), v.findings.more, v.notes
	if v.o.Progress != nil {
		v.o.Progress(1, 1)
	}
	return v.report, nil
}

func (v *verifier) note(format string, args ...any) {
	v.notes = append(v.notes, fmt.Sprintf(format, args...))
}

// progress says that so many leaves more are done.
func (v *verifier) progress(n int64) {
	done := v.done.Add(n)
	if v.o.Progress != nil {
		v.o.Progress(done, v.total.Load())
	}
}

// parallel runs n pieces of work on all processors, and ends with the first error.
func (v *verifier) parallel(ctx context.Context, n int64, fn func(ctx context.Context, i int64) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var next atomic.Int64
	var working sync.WaitGroup
	for range min(int64(v.o.Workers), n) {
		working.Go(func() {
			for i := next.Add(1) - 1; i < n && ctx.Err() == nil; i = next.Add(1) - 1 {
				if err := fn(ctx, i); err != nil {
					cancel(err)
				}
			}
		})
	}
	working.Wait()
	if err := context.Cause(ctx); err != nil && !errors.Is(err, context.Canceled) {
		return err
	}
	return ctx.Err()
}

// width tells how many leaves of a bundle are looked at.
func (v *verifier) width(n int64) int { return int(min(bundleWidth, v.size-n*bundleWidth)) }

// eventAt gives the id of a leaf's event, for what is said about it; "" where it is not known.
func (v *verifier) eventAt(ctx context.Context, leaf int64) string {
	if leaf < 0 || leaf >= v.size {
		return ""
	}
	if named, ok := v.src.(interface {
		EventID(ctx context.Context, leaf int64) string
	}); ok {
		return named.EventID(ctx, leaf)
	}
	id := ""
	_ = v.src.Bundles(ctx, leaf/bundleWidth, leaf/bundleWidth+1, func(b Bundle) error { // it is only a name
		at := int(leaf%bundleWidth) * 16
		if len(b.IDs) >= at+16 {
			if ids, err := audit.ParseEventIDs(b.IDs[at : at+16]); err == nil {
				id = ids[0]
			}
		}
		return nil
	})
	return id
}

func timeOf(micros int64) time.Time { return time.UnixMicro(micros).UTC() }
