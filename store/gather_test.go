package store_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"sealpost/store"
)

func TestGatherReadsTogether(t *testing.T) {
	var reads atomic.Int64
	block := make(chan struct{})
	g := store.Gather[int, string]{Load: func(_ context.Context, keys []int) (map[int]string, error) {
		reads.Add(1)
		<-block
		rows := map[int]string{}
		for _, k := range keys {
			if k%2 == 0 {
				rows[k] = fmt.Sprint(k)
			}
		}
		return rows, nil
	}}
	var wg sync.WaitGroup
	for i := range 100 {
		wg.Go(func() {
			v, found, err := g.Get(t.Context(), i)
			if err != nil || found != (i%2 == 0) || found && v != fmt.Sprint(i) {
				t.Errorf("key %d: %q %v %v", i, v, found, err)
			}
		})
	}
	time.Sleep(50 * time.Millisecond) // by now two reads run, and the rest waits
	close(block)
	wg.Wait()
	if n := reads.Load(); n > 20 {
		t.Errorf("%d reads for 100 keys asked at once", n)
	}
}

func TestGatherTellsOfErrors(t *testing.T) {
	broken := errors.New("broken")
	g := store.Gather[int, int]{Load: func(context.Context, []int) (map[int]int, error) { return nil, broken }}
	if _, _, err := g.Get(t.Context(), 1); !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
}

// Whoever gives up, everyone else is answered, with what was true after they asked.
func TestGatherUnderCancellation(t *testing.T) {
	var truth atomic.Int64
	g := store.Gather[int, int64]{Load: func(_ context.Context, keys []int) (map[int]int64, error) {
		rows := map[int]int64{}
		for _, k := range keys {
			rows[k] = truth.Load()
		}
		return rows, nil
	}}
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			for range 500 {
				ctx, cancel := context.WithCancel(t.Context())
				if rand.IntN(3) == 0 {
					go cancel()
				}
				before := truth.Add(1)
				v, found, err := g.Get(ctx, rand.IntN(4))
				switch {
				case errors.Is(err, context.Canceled):
				case err != nil || !found:
					t.Errorf("%v %v", found, err)
				case v < before:
					t.Errorf("an answer of %d to a question of %d", v, before)
				}
				cancel()
			}
		})
	}
	wg.Wait()
	if n := g.Running(); n != 0 {
		t.Errorf("nobody asks any more, and %d runs are left: each is one that nobody can lead", n)
	}
}

func TestGatherOutlivesAPanic(t *testing.T) {
	first := true
	g := store.Gather[int, int]{Load: func(context.Context, []int) (map[int]int, error) {
		if first {
			first = false
			panic("bug")
		}
		return map[int]int{1: 2}, nil
	}}
	func() {
		defer func() { _ = recover() }()
		_, _, _ = g.Get(t.Context(), 1)
	}()
	if v, found, err := g.Get(t.Context(), 1); v != 2 || !found || err != nil {
		t.Errorf("%d %v %v", v, found, err)
	}
}
