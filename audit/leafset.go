package audit

import (
	"context"
	"fmt"
	"slices"
	"sort"

	"sealpost/store"
)

// leafSet is a set of leaves below a size.
type leafSet []uint64

func newLeafSet(size int64) leafSet { return make(leafSet, (size+63)/64) }

func (s leafSet) add(leaf int64) { s[leaf/64] |= 1 << (leaf % 64) }

func (s leafSet) has(leaf int64) bool { return s[leaf/64]>>(leaf%64)&1 == 1 }

// ranges are the leaves of the set, half-open and in order.
func (s leafSet) ranges() leafRanges {
	list := leafRanges{}
	for i, word := range s {
		if word == 0 {
			continue
		}
		for bit := range int64(64) {
			if word>>bit&1 == 1 {
				list = list.with(int64(i)*64 + bit)
			}
		}
	}
	return list
}

// leafRanges are half-open ranges of leaves in order, without one that touches the next.
type leafRanges [][2]int64

// with adds a leaf that is behind all of the others.
func (r leafRanges) with(leaf int64) leafRanges {
	if n := len(r); n > 0 && r[n-1][1] == leaf {
		r[n-1][1]++
		return r
	}
	return append(r, [2]int64{leaf, leaf + 1})
}

// has tells whether a leaf is in one of them.
func (r leafRanges) has(leaf int64) bool {
	i := sort.Search(len(r), func(i int) bool { return r[i][1] > leaf })
	return i < len(r) && r[i][0] <= leaf
}

// rangesOf makes ranges of leaves in any order.
func rangesOf(leaves []int64) leafRanges {
	slices.Sort(leaves)
	list := leafRanges{}
	for _, leaf := range leaves {
		list = list.with(leaf)
	}
	return list
}

// leafMap tells the leaf of a writer's number, for the leaves below a size. That part of the map never
// changes, since leaves are only added.
type leafMap struct {
	below int64
	runs  map[string][]mappedRun // by counter
}

type mappedRun struct{ counter, count, leaf int64 }

// readLeafMap reads the map of the leaves below a size.
func readLeafMap(ctx context.Context, tx *store.Tx, below int64) (leafMap, error) {
	m := leafMap{below: below, runs: map[string][]mappedRun{}}
	err := tx.Each(ctx, func(scan func(...any) error) error {
		var writer string
		var r mappedRun
		err := scan(&writer, &r.counter, &r.count, &r.leaf)
		m.runs[writer] = append(m.runs[writer], r)
		return err
	}, `select writer, counter, count, leaf from audit_leaf where leaf < $1 order by writer, counter`, below)
	if err != nil {
		return m, fmt.Errorf("read the leaf map: %w", err)
	}
	return m, nil
}

// leaf gives the leaf of an event; false where it is none below the size.
func (m leafMap) leaf(writer string, counter int64) (int64, bool) {
	runs := m.runs[writer]
	i := sort.Search(len(runs), func(i int) bool { return runs[i].counter > counter }) - 1
	if i < 0 || counter >= runs[i].counter+runs[i].count {
		return 0, false
	}
	leaf := runs[i].leaf + counter - runs[i].counter
	return leaf, leaf < m.below
}
