package audit

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"sealpost/keys"
	"sealpost/store"
)

// head is the row of audit_tree: how large the tree is, and who extends it.
type head struct {
	origin     string
	size       int64
	root       tlog.Hash
	keyID      string
	mac        []byte
	holder     string
	token      int64
	leaseUntil time.Time
}

// headMAC covers the tree's head between two checkpoints: leaves that are sealed have lost their own MAC,
// and no signature covers them yet.
func headMAC(key *keys.Key, origin string, size int64, root tlog.Hash) []byte {
	h := hmac.New(sha256.New, key.Derive(keys.TreeHead))
	h.Write(binary.BigEndian.AppendUint64(nil, uint64(size))) //nolint:gosec // a size
	h.Write(root[:])
	h.Write([]byte(origin))
	return h.Sum(nil)
}

// readHead reads the tree's head. store.NoRow where nothing has ever been sealed.
func readHead(ctx context.Context, tx *store.Tx) (head, error) {
	var h head
	var root []byte
	err := tx.QueryRow(ctx, `select origin, size, root, key_id, mac, holder, token, lease_until from audit_tree where id = 1`).Scan(
		&h.origin, &h.size, &root, &h.keyID, &h.mac, &h.holder, &h.token, store.Time(&h.leaseUntil))
	if err != nil {
		return head{}, err
	}
	if len(root) != tlog.HashSize {
		return head{}, fmt.Errorf("the tree's root has %d bytes", len(root))
	}
	h.root = tlog.Hash(root)
	return h, nil
}

// TreeSize tells how many leaves the log has. The newest checkpoint may cover fewer.
func (l *Log) TreeSize(ctx context.Context) (size int64, err error) {
	err = l.st.Read(ctx, func(tx *store.Tx) error {
		h, err := readHead(ctx, tx)
		size = h.size
		return err
	})
	if err != nil && !store.NoRow(err) {
		return 0, fmt.Errorf("read the size of the log: %w", err)
	}
	return size, nil
}

// readFrontier reads the right edge of a tree of a size from its tiles.
func readFrontier(ctx context.Context, tx *store.Tx, size int64) (frontier, error) {
	f := frontier{size: size}
	for level := 0; size>>(tileHeight*level) > 0; level++ {
		n, width := widthAt(size, level)
		if width == 0 {
			f.levels = append(f.levels, nil)
			continue
		}
		var b []byte
		err := tx.QueryRow(ctx, `select hashes from audit_tile where level = $1 and n = $2`, level, n).Scan(&b)
		if err != nil && !store.NoRow(err) {
			return f, fmt.Errorf("read the last tile of level %d: %w", level, err)
		}
		hashes, err := splitHashes(b)
		if err != nil {
			return f, err
		}
		if len(hashes) < width {
			return f, fmt.Errorf("the last tile of level %d has %d of %d hashes", level, len(hashes), width)
		}
		f.levels = append(f.levels, hashes[:width])
	}
	return f, nil
}
