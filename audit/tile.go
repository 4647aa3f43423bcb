package audit

import (
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"

	"github.com/google/uuid"
	"golang.org/x/mod/sumdb/tlog"

	"sealpost/fault"
)

// TilePath names a tile, or a bundle of entries, as C2SP tlog-tiles does.
type TilePath struct {
	Entries bool
	Level   int   // of a hash tile: 0 … 63
	N       int64 // in its level
	Width   int   // 1 … 255 of a partial one; 256 of a full one
}

// ParseTilePath reads what follows "tile/" in a path of C2SP tlog-tiles: "0/x001/234" or
// "entries/000.p/17". fault.NotFound for anything that is not in its one form.
func ParseTilePath(path string) (TilePath, error) {
	unknown := fault.New(fault.NotFound, "there is no such tile: the form is tile/LEVEL/N, or tile/entries/N, as in C2SP tlog-tiles")
	t := TilePath{Width: tileWidth}
	level, rest, ok := strings.Cut(path, "/")
	if !ok {
		return TilePath{}, unknown
	}
	var err error
	if level == "entries" {
		t.Entries = true
	} else if t.Level, err = strconv.Atoi(level); err != nil || t.Level < 0 || t.Level > maxTileLevel {
		return TilePath{}, unknown
	}
	if at, width, partial := strings.Cut(rest, ".p/"); partial {
		if t.Width, err = strconv.Atoi(width); err != nil || t.Width < 1 || t.Width >= tileWidth {
			return TilePath{}, unknown
		}
		rest = at
	}
	elements := strings.Split(rest, "/")
	if len(elements) > maxTileElements {
		return TilePath{}, unknown
	}
	for _, e := range elements {
		n, err := strconv.ParseUint(strings.TrimPrefix(e, "x"), 10, 16)
		if err != nil {
			return TilePath{}, unknown
		}
		t.N = t.N*1000 + int64(n)
	}
	if t.String() != "tile/"+path { // another form of it
		return TilePath{}, unknown
	}
	return t, nil
}

const (
	maxTileLevel    = 63
	maxTileElements = 6 // 1000^6 is beyond any tree's tiles
)

// String is the path behind the log's prefix: "tile/0/x001/234.p/17".
func (t TilePath) String() string {
	level := strconv.Itoa(t.Level)
	if t.Entries {
		level = "entries"
	}
	n := fmt.Sprintf("%03d", t.N%1000)
	for rest := t.N / 1000; rest > 0; rest /= 1000 {
		n = fmt.Sprintf("x%03d/%s", rest%1000, n)
	}
	path := "tile/" + level + "/" + n
	if t.Width != tileWidth {
		path += ".p/" + strconv.Itoa(t.Width)
	}
	return path
}

// appendEntry adds an entry to a bundle: its length as a big-endian uint16, and itself.
func appendEntry(bundle, entry []byte) []byte {
	bundle = binary.BigEndian.AppendUint16(bundle, uint16(len(entry))) //nolint:gosec // an envelope has 73 bytes
	return append(bundle, entry...)
}

// ParseBundle cuts a bundle of entries (C2SP tlog-tiles) into its entries, which share its memory.
func ParseBundle(bundle []byte) ([][]byte, error) {
	var entries [][]byte
	for len(bundle) > 0 {
		if len(bundle) < 2 {
			return nil, fmt.Errorf("entry bundle: a length of %d bytes", len(bundle))
		}
		n := int(binary.BigEndian.Uint16(bundle))
		if bundle = bundle[2:]; len(bundle) < n {
			return nil, fmt.Errorf("entry bundle: entry %d has %d bytes of %d", len(entries), len(bundle), n)
		}
		entries = append(entries, bundle[:n:n])
		bundle = bundle[n:]
	}
	if len(entries) > tileWidth {
		return nil, fmt.Errorf("entry bundle: %d entries, at most %d", len(entries), tileWidth)
	}
	return entries, nil
}

// ParseEventIDs gives the ids of a bundle's events, from audit_bundle.event_ids.
func ParseEventIDs(b []byte) ([]string, error) {
	if len(b)%16 != 0 || len(b) > 16*tileWidth {
		return nil, fmt.Errorf("event ids of a bundle: %d bytes", len(b))
	}
	ids := make([]string, 0, len(b)/16)
	for ; len(b) > 0; b = b[16:] {
		ids = append(ids, uuid.UUID(b[:16]).String())
	}
	return ids, nil
}

// LeafHash is the hash of an entry as a leaf of the tree (RFC 6962, section 2.1).
func LeafHash(entry []byte) tlog.Hash { return tlog.RecordHash(entry) }

func joinHashes(hashes []tlog.Hash) []byte {
	b := make([]byte, 0, len(hashes)*tlog.HashSize)
	for _, h := range hashes {
		b = append(b, h[:]...)
	}
	return b
}

func splitHashes(b []byte) ([]tlog.Hash, error) {
	if len(b)%tlog.HashSize != 0 || len(b) > tileWidth*tlog.HashSize {
		return nil, fmt.Errorf("hash tile: %d bytes", len(b))
	}
	hashes := make([]tlog.Hash, 0, len(b)/tlog.HashSize)
	for ; len(b) > 0; b = b[tlog.HashSize:] {
		hashes = append(hashes, tlog.Hash(b[:tlog.HashSize]))
	}
	return hashes, nil
}
