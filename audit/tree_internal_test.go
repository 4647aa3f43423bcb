package audit

import (
	"encoding/binary"
	"testing"
	"time"

	"github.com/transparency-dev/merkle/compact"
	"github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"
	"golang.org/x/mod/sumdb/tlog"
	"pgregory.net/rapid"
)

// However leaves are cut into batches, the tree is the one that two other implementations make of them:
// tlog's, hash by hash, and transparency-dev's compact range for the root.
func TestFrontier(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var f frontier
		var stored []tlog.Hash
		reader := tlog.HashReaderFunc(func(indexes []int64) ([]tlog.Hash, error) {
			list := make([]tlog.Hash, len(indexes))
			for i, at := range indexes {
				list[i] = stored[at]
			}
			return list, nil
		})
		factory := compact.RangeFactory{Hash: rfc6962.DefaultHasher.HashChildren}
		other := factory.NewEmptyRange(0)
		tiles := map[[2]int64][]tlog.Hash{}
		size := int64(0)
		for range rapid.IntRange(1, 6).Draw(t, "batches") {
			n := rapid.SampledFrom([]int{0, 1, 2, 3, 100, 255, 256, 257, 511, 512, 513, 700}).Draw(t, "leaves")
			leaves := make([]tlog.Hash, n)
			for i := range leaves {
				data := binary.BigEndian.AppendUint64(nil, uint64(size))
				hashes, err := tlog.StoredHashes(size, data, reader)
				if err != nil {
					t.Fatal(err)
				}
				stored = append(stored, hashes...)
				leaves[i] = LeafHash(data)
				if err := other.Append(rfc6962.DefaultHasher.HashLeaf(data), nil); err != nil {
					t.Fatal(err)
				}
				size++
			}
			next, changed := f.extend(leaves)
			for _, c := range changed {
				key := [2]int64{int64(c.level), c.n}
				if len(c.hashes) == 0 || len(c.hashes) <= len(tiles[key]) {
					t.Fatalf("tile %v goes from %d to %d hashes", key, len(tiles[key]), len(c.hashes))
				}
				tiles[key] = c.hashes
			}
			f = next
		}
		want, err := tlog.TreeHash(size, reader)
		if err != nil {
			t.Fatal(err)
		}
		if f.size != size || f.root() != want {
			t.Fatalf("the root of %d leaves is %v, want %v", size, f.root(), want)
		}
		if size > 0 {
			root, err := other.GetRootHash(nil)
			if err != nil || tlog.Hash(root) != want {
				t.Fatalf("the other implementation says %x (%v)", root, err)
			}
		}
		for _, tile := range tlog.NewTiles(tileHeight, 0, size) {
			data, err := tlog.ReadTileData(tile, reader)
			if err != nil {
				t.Fatal(err)
			}
			if got := joinHashes(tiles[[2]int64{int64(tile.L), tile.N}]); string(got) != string(data) {
				t.Fatalf("tile %v has %d bytes, and is another one than of %d", tile, len(got), len(data))
			}
		}
		checkProofs(t, size, want, reader)
	})
}

// checkProofs holds proofs of ours against the other implementation's verifier.
func checkProofs(t *rapid.T, size int64, root tlog.Hash, reader tlog.HashReader) {
	if size == 0 {
		return
	}
	leaf := rapid.Int64Range(0, size-1).Draw(t, "leaf")
	p, err := tlog.ProveRecord(size, leaf, reader)
	if err != nil {
		t.Fatal(err)
	}
	hash := LeafHash(binary.BigEndian.AppendUint64(nil, uint64(leaf)))
	if err := proof.VerifyInclusion(rfc6962.DefaultHasher, uint64(leaf), uint64(size), hash[:], bytesOf(p), root[:]); err != nil {
		t.Fatal(err)
	}
	old := rapid.Int64Range(1, size).Draw(t, "old")
	consistency, err := tlog.ProveTree(size, old, reader)
	if err != nil {
		t.Fatal(err)
	}
	before, err := tlog.TreeHash(old, reader)
	if err != nil {
		t.Fatal(err)
	}
	if err := proof.VerifyConsistency(rfc6962.DefaultHasher, uint64(old), uint64(size), bytesOf(tlog.RecordProof(consistency)), before[:], root[:]); err != nil {
		t.Fatal(err)
	}
}

func bytesOf(hashes tlog.RecordProof) (list [][]byte) {
	for _, h := range hashes {
		list = append(list, h[:])
	}
	return list
}

func TestCheckpointDue(t *testing.T) {
	at := time.Date(2026, 11, 25, 3, 0, 0, 0, time.UTC)
	newest := Checkpoint{Size: 7, Time: at}
	for _, tt := range []struct {
		name  string
		size  int64
		after time.Duration
		want  bool
	}{
		{"idle", 7, time.Hour, false},
		{"new, and long enough", 8, time.Second, true},
		{"a round that came a little early", 8, 900 * time.Millisecond, true},
		{"new, and too soon", 8, 899 * time.Millisecond, false},
	} {
		if got := checkpointDue(tt.size, newest, at.Add(tt.after), time.Second); got != tt.want {
			t.Errorf("%s: %v", tt.name, got)
		}
	}
	if !checkpointDue(1, Checkpoint{}, at, time.Hour) {
		t.Error("the first checkpoint waits")
	}
}

func TestQuorum(t *testing.T) {
	for n, want := range map[int]int{1: 1, 2: 2, 3: 2, 4: 3, 5: 3} {
		if got := Quorum(n); got != want {
			t.Errorf("of %d witnesses %d", n, got)
		}
	}
}
