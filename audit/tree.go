package audit

import (
	"crypto/sha256"
	"slices"

	"golang.org/x/mod/sumdb/tlog"
)

// tileWidth is how many hashes a full tile has, and how many entries a full bundle (C2SP tlog-tiles).
const (
	tileHeight = 8
	tileWidth  = 1 << tileHeight
)

// frontier is the right edge of an RFC 6962 tree: of each level of tiles the hashes of the last one while
// it is not full. It is all that is needed to add leaves and to know the root. The zero value is the empty
// tree.
type frontier struct {
	size   int64
	levels [][]tlog.Hash // each of 0 … 255 hashes
}

// hashTile is a tile that leaves have been added to.
type hashTile struct {
	level  int
	n      int64
	hashes []tlog.Hash
}

// widthAt tells how many hashes the last tile of a level has that is not full, in a tree of a size, and
// which tile of the level that is.
func widthAt(size int64, level int) (n int64, width int) {
	nodes := size >> (tileHeight * level)
	return nodes >> tileHeight, int(nodes % tileWidth)
}

// extend gives the frontier after some more leaves, with every tile that they have changed. The receiver
// stays as it is, since what is made of it may not be stored.
func (f frontier) extend(leaves []tlog.Hash) (frontier, []hashTile) {
	next := frontier{size: f.size + int64(len(leaves))}
	var changed []hashTile
	add := leaves
	for level := 0; len(add) > 0 || level < len(f.levels); level++ {
		var edge []tlog.Hash
		if level < len(f.levels) {
			edge = f.levels[level]
		}
		n, _ := widthAt(f.size, level)
		nodes := append(slices.Clone(edge), add...)
		fresh := len(add) > 0
		add = nil
		for ; len(nodes) >= tileWidth; n++ {
			full := nodes[:tileWidth:tileWidth]
			changed = append(changed, hashTile{level, n, full})
			add = append(add, merkleRoot(full))
			nodes = nodes[tileWidth:]
		}
		if fresh && len(nodes) > 0 {
			changed = append(changed, hashTile{level, n, nodes})
		}
		next.levels = append(next.levels, nodes)
	}
	return next, changed
}

// root is the tree's root hash (RFC 6962, section 2.1).
func (f frontier) root() tlog.Hash {
	var ragged []tlog.Hash // the root of what is right of the full tiles below, if there is something
	for _, edge := range f.levels {
		if nodes := append(slices.Clone(edge), ragged...); len(nodes) > 0 {
			ragged = []tlog.Hash{merkleRoot(nodes)}
		}
	}
	if ragged == nil {
		return sha256.Sum256(nil)
	}
	return ragged[0]
}

// merkleRoot is the root over nodes of which all but the last cover a power of two of leaves, the same
// number each, and the last one at most as many: RFC 6962 splits such a list as it splits its leaves.
func merkleRoot(nodes []tlog.Hash) tlog.Hash {
	if len(nodes) == 1 {
		return nodes[0]
	}
	k := 1
	for k*2 < len(nodes) {
		k *= 2
	}
	return tlog.NodeHash(merkleRoot(nodes[:k]), merkleRoot(nodes[k:]))
}
