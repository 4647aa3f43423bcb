package store_test

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"sealpost/store"
	"sealpost/store/storetest"
)

// change is one write of a round: it adds to some counters, in some order, and then ends somehow.
type change struct {
	keys []int
	by   int
	end  string
}

// Whatever many writers do at once, in whatever order and however some of them fail, the database has
// what those that were told so have written, and nothing else.
func TestWritesFollowTheModel(t *testing.T) {
	const keys = 4
	ends := []string{"stored", "stored", "stored", "error", "panic", "unique", "missing table", "withdrawn"}
	changes := rapid.Custom(func(rt *rapid.T) change {
		return change{
			keys: rapid.SliceOfNDistinct(rapid.IntRange(0, keys-1), 1, keys, rapid.ID).Draw(rt, "keys"),
			by:   rapid.IntRange(1, 1000).Draw(rt, "by"),
			end:  rapid.SampledFrom(ends).Draw(rt, "end"),
		}
	})
	test := func(t *testing.T, st *store.Store) {
		ctx := t.Context()
		write(t, st, `create table counter (id bigint primary key, n bigint not null)`)
		rapid.Check(t, func(rt *rapid.T) {
			write(t, st, `delete from counter`, `insert into counter (id, n) values (0, 0), (1, 0), (2, 0), (3, 0)`)
			model := map[int]int{0: 0, 1: 0, 2: 0, 3: 0}
			round := rapid.SliceOfN(changes, 1, 12).Draw(rt, "round")
			var wg sync.WaitGroup
			told := make([]bool, len(round))
			for i, c := range round {
				wg.Go(func() { told[i] = attempt(ctx, st, c) })
			}
			wg.Wait()
			for i, c := range round {
				if told[i] != (c.end == "stored") && c.end != "withdrawn" {
					rt.Errorf("%+v was told that it is stored: %t", c, told[i])
				}
				for _, k := range c.keys {
					if told[i] {
						model[k] += c.by
					}
				}
			}
			got := map[int]int{}
			err := st.Read(ctx, func(tx *store.Tx) error {
				return tx.Each(ctx, func(scan func(...any) error) error {
					var id, n int
					err := scan(&id, &n)
					got[id] = n
					return err
				}, `select id, n from counter`)
			})
			if err != nil || !maps.Equal(got, model) {
				rt.Errorf("the database has %v, the model %v (%v)", got, model, err)
			}
		})
	}
	t.Run("sqlite", func(t *testing.T) { test(t, storetest.Open(t, storetest.SQLiteURL(t))) })
	t.Run("postgres", func(t *testing.T) {
		test(t, postgres(t, store.Options{}, map[string]string{"deadlock_timeout": "2ms"}))
	})
}

// attempt makes one change and tells whether it was told that it is stored.
func attempt(ctx context.Context, st *store.Store, c change) (stored bool) {
	defer func() {
		if p := recover(); p != nil && fmt.Sprint(p) != "panic" {
			panic(p)
		}
	}()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if c.end == "withdrawn" {
		go cancel() // before it starts, or too late
	}
	err := st.Write(ctx, func(tx *store.Tx) error {
		for _, k := range slices.Clone(c.keys) {
			if _, err := tx.Exec(ctx, `update counter set n = n + $1 where id = $2`, c.by, k); err != nil {
				return err
			}
		}
		switch c.end {
		case "error":
			return errUndo
		case "panic":
			panic("panic")
		case "unique":
			_, err := tx.Exec(ctx, `insert into counter (id, n) values (0, 0)`)
			return err
		case "missing table":
			_, _ = tx.Exec(ctx, `insert into nowhere (id) values (0)`) // and passes over it
		}
		return nil
	})
	return err == nil
}
