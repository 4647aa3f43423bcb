package verify

import (
	"bytes"
	"context"
	"fmt"
	"slices"

	"golang.org/x/mod/sumdb/tlog"
)

// tiles goes up the tree: each stored tile against what is below it. Where they differ, whichever of the two
// the newest checkpoint bears out is taken on, so that one change is one finding.
func (v *verifier) tiles(ctx context.Context) error {
	v.special.inOrder()
	var err error
	if v.kept, err = v.keptCheckpoints(ctx); err != nil {
		return err
	}
	for level := 1; level < len(v.levels); level++ {
		if err := v.level(ctx, level); err != nil {
			return err
		}
		if above := int64(len(v.levels[level])) / bundleWidth; above > 0 {
			next := make([]tlog.Hash, above)
			for i := range next {
				next[i] = rootOf(v.levels[level][i*bundleWidth : (i+1)*bundleWidth])
			}
			v.levels = append(v.levels, next)
		}
	}
	return v.mend(ctx)
}

// level holds the stored tiles of a level against the hashes of the tiles below.
func (v *verifier) level(ctx context.Context, level int) error {
	nodes := v.levels[level]
	tiles := (int64(len(nodes)) + bundleWidth - 1) / bundleWidth
	next := int64(0)
	missing := func(to int64) {
		for ; next < to; next++ {
			first, last := v.under(level, next*bundleWidth, min(int64(len(nodes)), (next+1)*bundleWidth)-1)
			v.addRange(TileMissing, first, last, v.eventAt(ctx, first), "tile %d/%d is gone", level, next)
		}
	}
	err := v.src.Tiles(ctx, level, 0, tiles, func(n int64, hashes []byte) error {
		missing(n)
		next = n + 1
		own := nodes[n*bundleWidth : min(int64(len(nodes)), (n+1)*bundleWidth)]
		if len(hashes) < len(own)*tlog.HashSize {
			first, last := v.under(level, n*bundleWidth+int64(len(hashes)/tlog.HashSize), n*bundleWidth+int64(len(own))-1)
			v.addRange(TileMissing, first, last, "", "tile %d/%d has %d of %d hashes", level, n, len(hashes)/tlog.HashSize, len(own))
			hashes = append(bytes.Clone(hashes), flat(own)[len(hashes)/tlog.HashSize*tlog.HashSize:]...)
		}
		if bytes.Equal(hashes[:len(own)*tlog.HashSize], flat(own)) {
			return nil
		}
		for i, h := range unflat(hashes[:len(own)*tlog.HashSize]) {
			if h != own[i] {
				v.split = append(v.split, splitNode{level, n*bundleWidth + int64(i), own[i], h})
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	missing(tiles)
	return nil
}

// under gives the leaves that some nodes of a level cover.
func (v *verifier) under(level int, from, to int64) (first, last int64) {
	shift := 8 * level
	return from << shift, min((to+1)<<shift, v.size) - 1
}

// splitNode is a node that the tile above says otherwise than the tile below makes it.
type splitNode struct {
	level         int
	n             int64
	made, written tlog.Hash
}

// mend decides, where stored hashes differ from those below them, which are the ones that were signed, and
// tells of the others.
func (v *verifier) mend(ctx context.Context) error {
	if err := v.mendEntries(ctx); err != nil || len(v.split) == 0 {
		return err
	}
	// With what the tiles below make: are the upper tiles wrong?
	right, err := v.borneOut(ctx)
	if err != nil {
		return err
	}
	for _, s := range v.split {
		if v.levels[s.level][s.n] == s.written { // since the entries below are taken for its tile, or the other way round
			continue
		}
		first, last := v.under(s.level, s.n, s.n)
		if right {
			v.addRange(TileEdited, first, last, v.eventAt(ctx, first), "tile %d/%d is not what the tiles below it make", s.level, s.n/bundleWidth)
			continue
		}
		what := fmt.Sprintf("entries and tile %d/%d were changed together: the tile above was made of others", s.level-1, s.n)
		v.addRange(EntryEdited, first, last, v.eventAt(ctx, first), "%s", what)
		if s.level == 1 {
			v.setNode(s.level, s.n, s.written)
		}
	}
	return nil
}

// setNode puts a hash into the tree, and makes the nodes above it anew.
func (v *verifier) setNode(level int, n int64, h tlog.Hash) {
	v.levels[level][n] = h
	for up := level + 1; up < len(v.levels); up++ {
		if n /= bundleWidth; n >= int64(len(v.levels[up])) {
			return
		}
		v.levels[up][n] = rootOf(v.levels[up-1][n*bundleWidth : (n+1)*bundleWidth])
	}
}

// borneOut tells whether the tree, as it is taken at the moment, is what the newest checkpoint says. Its
// signature does not matter here: it is about where a change is.
func (v *verifier) borneOut(ctx context.Context) (bool, error) {
	for _, c := range slices.Backward(v.kept) {
		if c.readable && c.parsed.Size <= v.size {
			root, err := v.root(ctx, c.parsed.Size)
			return root == c.parsed.Root, err
		}
	}
	return false, nil
}

// mendEntries tells of bundles whose entries are not those of their tile.
func (v *verifier) mendEntries(ctx context.Context) error {
	if len(v.torn) == 0 {
		return nil
	}
	byTile, err := v.borneOut(ctx)
	if err != nil {
		return err
	}
	for _, t := range v.torn {
		full := len(t.tile) == bundleWidth
		edited := !byTile
		if !byTile { // are the entries what was signed, then?
			v.bundles[t.n].overridden = false
			if full {
				v.setNode(1, t.n, rootOf(t.entries))
			}
			if edited, err = v.borneOut(ctx); err != nil {
				return err
			}
			if !edited {
				v.bundles[t.n].overridden = true
				if full {
					v.setNode(1, t.n, rootOf(t.tile))
				}
			}
		}
		v.tear(ctx, t, edited)
	}
	return nil
}

// tear tells of a bundle: either the tile was edited, or the entries were.
func (v *verifier) tear(ctx context.Context, t torn, tileEdited bool) {
	first := t.n * bundleWidth
	places := map[tlog.Hash]int{}
	for i, h := range t.tile {
		places[h] = i
	}
	for i := range t.tile {
		if t.entries[i] == t.tile[i] && i < t.there {
			continue
		}
		leaf := first + int64(i)
		id := v.eventAt(ctx, leaf)
		switch at, elsewhere := places[t.entries[i]]; {
		case i >= t.there:
			v.add(EntryMissing, leaf, id, "the entry is gone; its hash is still in the tree")
		case tileEdited:
			v.add(TileEdited, leaf, id, "tile 0/%d has another hash than that of the entry, which is the one that was sealed", t.n)
		case elsewhere:
			v.add(Reordered, leaf, id, "the entry was sealed as leaf %d", first+int64(at))
		default:
			v.add(EntryEdited, leaf, id, "the entry is not the one that was sealed")
		}
	}
}

// root is the root of the tree's first leaves.
func (v *verifier) root(ctx context.Context, size int64) (tlog.Hash, error) {
	var ragged []tlog.Hash
	if width := int(size % bundleWidth); width > 0 {
		hashes, err := v.leafHashes(ctx, size/bundleWidth, width)
		if err != nil {
			return tlog.Hash{}, err
		}
		ragged = []tlog.Hash{rootOf(hashes)}
	}
	for level := 1; level < len(v.levels); level++ {
		nodes := size >> (8 * level)
		from := nodes / bundleWidth * bundleWidth
		if all := append(append([]tlog.Hash{}, v.levels[level][from:nodes]...), ragged...); len(all) > 0 {
			ragged = []tlog.Hash{rootOf(all)}
		}
	}
	if ragged == nil {
		return rootOf(nil), nil
	}
	return ragged[0], nil
}
