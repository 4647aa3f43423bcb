package verify

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"hash/maphash"
	"slices"
	"sync"

	"github.com/google/uuid"
	"golang.org/x/mod/sumdb/tlog"

	"sealpost/audit"
)

const (
	envelopeBytes = 73 // see audit.Envelope.Marshal
	// chunkBundles is how many bundles are one piece of work.
	chunkBundles = 16
	// cachedBundles bounds how many bundles are kept: some 20 KB each.
	cachedBundles = 8192
)

// envelope is an entry, in its one form.
type envelope []byte

func (e envelope) well() bool       { return len(e) == envelopeBytes && e[0] == 1 }
func (e envelope) writer() [16]byte { return [16]byte(e[9:25]) }
func (e envelope) counter() int64   { return int64(binary.BigEndian.Uint64(e[25:33])) } //nolint:gosec // a negative one is none of ours
func (e envelope) micros() int64    { return int64(binary.BigEndian.Uint64(e[33:41])) } //nolint:gosec // as it was written
func (e envelope) bodyHash() []byte { return e[41:] }
func writerName(w [16]byte) string  { return uuid.UUID(w).String() }

// leafHash is the hash of an entry as a leaf (RFC 6962, section 2.1), without an allocation.
func leafHash(entry []byte) tlog.Hash {
	if len(entry) != envelopeBytes {
		return audit.LeafHash(entry)
	}
	var b [1 + envelopeBytes]byte
	copy(b[1:], entry)
	return sha256.Sum256(b[:])
}

func nodeHash(left, right tlog.Hash) tlog.Hash {
	var b [1 + 2*tlog.HashSize]byte
	b[0] = 1
	copy(b[1:], left[:])
	copy(b[1+tlog.HashSize:], right[:])
	return sha256.Sum256(b[:])
}

// rootOf is the root over nodes of which all but the last cover the same power of two of leaves, and the last
// at most as many (RFC 6962, section 2.1). It computes in place.
func rootOf(nodes []tlog.Hash) tlog.Hash {
	if len(nodes) == 0 {
		return sha256.Sum256(nil)
	}
	nodes = slices.Clone(nodes)
	for len(nodes) > 1 {
		n := 0
		for i := 0; i < len(nodes); i += 2 {
			if i+1 < len(nodes) {
				nodes[n] = nodeHash(nodes[i], nodes[i+1])
			} else {
				nodes[n] = nodes[i]
			}
			n++
		}
		nodes = nodes[:n]
	}
	return nodes[0]
}

// torn is a bundle whose entries do not make its tile.
type torn struct {
	n             int64
	entries, tile []tlog.Hash
	there         int // entries
}

// clash is two leaves under one number of a writer.
type clash struct {
	first, second int64
	writer        string
	counter       int64
}

// entries goes through all entries: their form, their hashes against the tiles of level 0, their numbers.
func (v *verifier) entries(ctx context.Context) error {
	full := v.size / bundleWidth
	v.levels = [][]tlog.Hash{nil, make([]tlog.Hash, full)}
	total := int64(len(v.bundles))
	chunks := (total + chunkBundles - 1) / chunkBundles
	runs := make([][]runOf, chunks)
	var mu sync.Mutex
	err := v.parallel(ctx, chunks, func(ctx context.Context, i int64) error {
		from, to := i*chunkBundles, min((i+1)*chunkBundles, total)
		c := chunk{v: v, from: from, tiles: make([][]byte, to-from), have: make([]bool, to-from)}
		err := v.src.Tiles(ctx, 0, from, to, func(n int64, hashes []byte) error {
			c.tiles[n-from] = bytes.Clone(hashes)
			return nil
		})
		if err != nil {
			return err
		}
		if err := v.src.Bundles(ctx, from, to, c.bundle); err != nil {
			return err
		}
		for n := from; n < to; n++ {
			if !c.have[n-from] {
				if err := c.bundle(Bundle{N: n}); err != nil {
					return err
				}
			}
		}
		runs[i] = c.runs
		mu.Lock()
		v.torn = append(v.torn, c.torn...)
		mu.Unlock()
		return nil
	})
	if err != nil {
		return err
	}
	slices.SortFunc(v.torn, func(a, b torn) int { return int(a.n - b.n) })
	v.joinRuns(runs)
	return nil
}

// chunk is the bundles of one piece of work.
type chunk struct {
	v     *verifier
	from  int64
	tiles [][]byte
	have  []bool
	runs  []runOf
	torn  []torn
}

// runOf is a run, with its writer as the entries have it.
type runOf struct {
	writer               [16]byte
	counter, count, leaf int64
}

func (c *chunk) bundle(b Bundle) error {
	v, width := c.v, c.v.width(b.N)
	c.have[b.N-c.from] = true
	first := b.N * bundleWidth
	list, err := audit.ParseBundle(b.Entries)
	if err != nil {
		v.addRange(EntryMalformed, first, first+int64(width)-1, "", "the bundle of these entries cannot be read: %v", err)
		list = nil
	}
	list = list[:min(width, len(list))]
	hashes := make([]tlog.Hash, width)
	s := bundleState{entries: len(list), from: 1 << 62, to: -1 << 62}
	_, s.sum = v.cache.put(b.N, list, b.IDs)
	for i, e := range list {
		hashes[i] = leafHash(e)
		c.entry(first+int64(i), e, &s)
	}
	tile := c.tiles[b.N-c.from]
	switch {
	case len(tile) < width*tlog.HashSize:
		v.addRange(TileMissing, first, first+int64(width)-1, "", "tile 0/%d has %d of %d hashes", b.N, len(tile)/tlog.HashSize, width)
		if len(list) < width {
			v.addRange(EntryMissing, first+int64(len(list)), first+int64(width)-1, "", "the entries are gone")
		}
	case len(list) < width || !bytes.Equal(tile[:width*tlog.HashSize], flat(hashes)):
		c.torn = append(c.torn, torn{n: b.N, entries: hashes, tile: unflat(tile[:width*tlog.HashSize]), there: len(list)})
		s.overridden = true
		hashes = c.torn[len(c.torn)-1].tile
	}
	if width == bundleWidth {
		v.levels[1][b.N] = rootOf(hashes)
	}
	v.bundles[b.N] = s
	v.progress(int64(width))
	return nil
}

// entry takes in one entry.
func (c *chunk) entry(leaf int64, e envelope, s *bundleState) {
	if !e.well() || e.counter() <= 0 {
		c.v.add(EntryMalformed, leaf, "", "the entry is no envelope")
		return
	}
	s.from, s.to = min(s.from, e.micros()), max(s.to, e.micros())
	w, n := e.writer(), e.counter()
	if last := len(c.runs) - 1; last >= 0 {
		if r := &c.runs[last]; r.writer == w && r.counter+r.count == n && r.leaf+r.count == leaf {
			r.count++
			return
		}
	}
	c.runs = append(c.runs, runOf{w, n, 1, leaf})
}

// joinRuns makes the map from a writer's numbers to leaves, and finds numbers that are there twice.
func (v *verifier) joinRuns(chunks [][]runOf) {
	var last *NumberRun
	for _, runs := range chunks {
		for _, r := range runs {
			if last != nil && last.Counter+last.Count == r.counter && last.Leaf+last.Count == r.leaf && last.Writer == writerName(r.writer) {
				last.Count += r.count
				continue
			}
			name := writerName(r.writer)
			v.writers[name] = append(v.writers[name], NumberRun{name, r.counter, r.count, r.leaf})
			last = &v.writers[name][len(v.writers[name])-1]
		}
	}
	for name, runs := range v.writers {
		slices.SortFunc(runs, func(a, b NumberRun) int {
			return cmp.Or(cmp.Compare(a.Counter, b.Counter), cmp.Compare(a.Leaf, b.Leaf))
		})
		kept := runs[:0]
		for _, r := range runs {
			if n := len(kept); n > 0 && kept[n-1].Counter+kept[n-1].Count > r.Counter {
				before := kept[n-1]
				overlap := min(before.Counter+before.Count-r.Counter, r.Count)
				for i := range min(overlap, 1000) {
					v.clashes = append(v.clashes, clash{before.Leaf + r.Counter + i - before.Counter, r.Leaf + i, name, r.Counter + i})
				}
				if overlap == r.Count {
					continue
				}
				r.Counter, r.Leaf, r.Count = r.Counter+overlap, r.Leaf+overlap, r.Count-overlap
			}
			kept = append(kept, r)
		}
		v.writers[name] = kept
	}
}

// runOf finds the run that has a writer's number.
func (v *verifier) runOf(writer string, counter int64) (NumberRun, bool) {
	runs := v.writers[writer]
	i, found := slices.BinarySearchFunc(runs, counter, func(r NumberRun, n int64) int { return cmp.Compare(r.Counter, n) })
	if !found {
		i--
	}
	if i < 0 || !runs[i].has(counter) {
		return NumberRun{}, false
	}
	return runs[i], true
}

func (r NumberRun) has(counter int64) bool {
	return counter >= r.Counter && counter-r.Counter < r.Count
}

// entryCache keeps entries that were verified, and knows again those that it no longer has.
type entryCache struct {
	seed maphash.Seed
	mu   sync.Mutex
	kept map[int64]cached
	ring []int64
	next int
}

// cached is a bundle: its entries, and the 16 bytes of each event's id where they are with them.
type cached struct {
	entries [][]byte
	ids     []byte
}

func (c *entryCache) sum(list [][]byte) uint64 {
	var h maphash.Hash
	h.SetSeed(c.seed)
	for _, e := range list {
		_, _ = h.Write(e)
	}
	return h.Sum64()
}

// put keeps a bundle, and gives the sum of its entries.
func (c *entryCache) put(n int64, list [][]byte, ids []byte) (cached, uint64) {
	own := make([][]byte, len(list))
	size := 0
	for _, e := range list {
		size += len(e)
	}
	b := make([]byte, 0, size)
	for i, e := range list {
		b = append(b, e...)
		own[i] = b[len(b)-len(e) : len(b) : len(b)]
	}
	sum, keep := c.sum(own), cached{own, bytes.Clone(ids)}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.kept == nil {
		c.kept = map[int64]cached{}
	}
	if len(c.ring) < cachedBundles {
		c.ring = append(c.ring, n)
	} else {
		delete(c.kept, c.ring[c.next])
		c.ring[c.next] = n
		c.next = (c.next + 1) % cachedBundles
	}
	c.kept[n] = keep
	return keep, sum
}

func (c *entryCache) get(n int64) (cached, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	b, ok := c.kept[n]
	return b, ok
}

// entriesOf gives a bundle as it was verified.
func (v *verifier) entriesOf(ctx context.Context, n int64) (cached, error) {
	if b, ok := v.cache.get(n); ok {
		return b, nil
	}
	var list [][]byte
	var ids []byte
	err := v.src.Bundles(ctx, n, n+1, func(b Bundle) error {
		if parsed, err := audit.ParseBundle(b.Entries); err == nil { // else it is told of already
			list = parsed
		}
		ids = b.IDs
		return nil
	})
	if err != nil {
		return cached{}, err
	}
	b, sum := v.cache.put(n, list[:min(len(list), v.bundles[n].entries)], ids)
	if sum != v.bundles[n].sum {
		v.addRange(EntryEdited, n*bundleWidth, n*bundleWidth+int64(v.width(n))-1, "", "the entries were changed while they were verified")
	}
	return b, nil
}

// leafHashes gives the hashes of the first leaves of a bundle.
func (v *verifier) leafHashes(ctx context.Context, n int64, width int) ([]tlog.Hash, error) {
	if v.bundles[n].overridden {
		for _, t := range v.torn {
			if t.n == n {
				return t.tile[:width], nil
			}
		}
	}
	b, err := v.entriesOf(ctx, n)
	if err != nil {
		return nil, err
	}
	hashes := make([]tlog.Hash, width)
	for i, e := range b.entries[:min(width, len(b.entries))] {
		hashes[i] = leafHash(e)
	}
	return hashes, nil
}

func flat(hashes []tlog.Hash) []byte {
	b := make([]byte, 0, len(hashes)*tlog.HashSize)
	for _, h := range hashes {
		b = append(b, h[:]...)
	}
	return b
}

func unflat(b []byte) []tlog.Hash {
	hashes := make([]tlog.Hash, len(b)/tlog.HashSize)
	for i := range hashes {
		hashes[i] = tlog.Hash(b[i*tlog.HashSize:])
	}
	return hashes
}
