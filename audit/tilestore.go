package audit

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/mod/sumdb/tlog"

	"sealpost/fault"
	"sealpost/store"
)

// Tile gives a tile, or a bundle of entries, as C2SP tlog-tiles serves it. fault.NotFound where the log is
// not that large. A partial tile is given also when the tile has grown since: it is its beginning.
func (l *Log) Tile(ctx context.Context, t TilePath) (b []byte, err error) {
	err = l.st.Read(ctx, func(tx *store.Tx) error {
		if t.Entries {
			return tx.QueryRow(ctx, `select entries from audit_bundle where n = $1 and width >= $2`, t.N, t.Width).Scan(&b)
		}
		return tx.QueryRow(ctx, `select hashes from audit_tile where level = $1 and n = $2 and width >= $3`, t.Level, t.N, t.Width).Scan(&b)
	})
	if store.NoRow(err) {
		return nil, fault.New(fault.NotFound, "the log has no %s yet", t)
	}
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", t, err)
	}
	if t.Entries {
		return cutBundle(b, t)
	}
	if len(b) < t.Width*tlog.HashSize {
		return nil, fmt.Errorf("read %s: it has only %d bytes", t, len(b))
	}
	return b[:t.Width*tlog.HashSize], nil
}

// cutBundle gives a bundle's first entries.
func cutBundle(b []byte, t TilePath) ([]byte, error) {
	entries, err := ParseBundle(b)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", t, err)
	}
	if len(entries) < t.Width {
		return nil, fmt.Errorf("read %s: it has only %d entries", t, len(entries))
	}
	n := 0
	for _, e := range entries[:t.Width] {
		n += 2 + len(e)
	}
	return b[:n], nil
}

// Tree reads hashes of the tree of a checkpoint from its tiles, each verified against the root before it is
// used: for tlog.ProveRecord and tlog.ProveTree. A tile that has been changed is an error.
func (l *Log) Tree(ctx context.Context, size int64, root tlog.Hash) tlog.HashReader {
	return tlog.TileHashReader(tlog.Tree{N: size, Hash: root}, tileReader{ctx: ctx, st: l.st})
}

// tileReader implements tlog.TileReader.
type tileReader struct {
	ctx context.Context //nolint:containedctx // the interface has no place for it
	st  *store.Store
}

func (r tileReader) Height() int                     { return tileHeight }
func (r tileReader) SaveTiles([]tlog.Tile, [][]byte) {} // nothing is kept: they are in the database

func (r tileReader) ReadTiles(tiles []tlog.Tile) ([][]byte, error) {
	found := map[[2]int64][]byte{}
	for piece := range slices.Chunk(tiles, maxTilesRead) {
		if err := r.read(piece, found); err != nil {
			return nil, fmt.Errorf("read tiles: %w", err)
		}
	}
	data := make([][]byte, len(tiles))
	for i, t := range tiles {
		b := found[[2]int64{int64(t.L), t.N}]
		if len(b) < t.W*tlog.HashSize {
			return nil, fmt.Errorf("tile %d/%d has %d of %d hashes", t.L, t.N, len(b)/tlog.HashSize, t.W)
		}
		data[i] = b[:t.W*tlog.HashSize]
	}
	return data, nil
}

// maxTilesRead is how many tiles one statement reads. A proof needs two for each level of tiles.
const maxTilesRead = 32

// read reads tiles in one statement. The last one is repeated until they are a power of two in number, so
// that there are few texts, and those stay prepared.
func (r tileReader) read(tiles []tlog.Tile, found map[[2]int64][]byte) error {
	var which []string
	var args []any
	for i := 0; i < len(tiles) || i&(i-1) != 0; i++ {
		t := tiles[min(i, len(tiles)-1)]
		which = append(which, fmt.Sprintf("level = $%d and n = $%d", 2*i+1, 2*i+2))
		args = append(args, t.L, t.N)
	}
	return r.st.Read(r.ctx, func(tx *store.Tx) error {
		return tx.Each(r.ctx, func(scan func(...any) error) error {
			var level, n int64
			var b []byte
			err := scan(&level, &n, &b)
			found[[2]int64{level, n}] = b
			return err
		}, `select level, n, hashes from audit_tile where `+strings.Join(which, " or "), args...)
	})
}
