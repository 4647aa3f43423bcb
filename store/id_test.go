package store_test

import (
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"sealpost/store"
)

func TestIDs(t *testing.T) {
	before := time.Now().Truncate(time.Microsecond)
	var last string
	var lastAt time.Time
	for range 20_000 {
		id, at := store.NewTimedID()
		if id <= last || at.Before(lastAt) {
			t.Fatalf("%s (%v) comes after %s (%v)", id, at, last, lastAt)
		}
		last, lastAt = id, at
		u := uuid.MustParse(id)
		if u.Version() != 7 || u.Variant() != uuid.RFC4122 || !store.ValidID(id) {
			t.Fatalf("%s is no UUIDv7", id)
		}
		ms := int64(0)
		for _, b := range u[:6] {
			ms = ms<<8 | int64(b)
		}
		if at.UnixMilli() != ms {
			t.Fatalf("%s has the millisecond %d, its time is %v", id, ms, at)
		}
		if at.Nanosecond()%1000 != 0 || at.Location() != time.UTC {
			t.Fatalf("%v is no microsecond in UTC", at)
		}
	}
	// Far fewer than one each 244 ns are made, so the times have not run ahead.
	if lastAt.Before(before) || lastAt.After(time.Now().Add(20*time.Millisecond)) {
		t.Errorf("the time of the last id, %v, is not now", lastAt)
	}
}

func TestIDsOfManyGoroutinesDiffer(t *testing.T) {
	var mu sync.Mutex
	seen := map[string]bool{}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			ids := make([]string, 2000)
			for i := range ids {
				ids[i] = store.NewID()
			}
			if !slices.IsSorted(ids) {
				t.Error("a goroutine's ids are out of order")
			}
			mu.Lock()
			defer mu.Unlock()
			for _, id := range ids {
				if seen[id] {
					t.Errorf("%s was made twice", id)
				}
				seen[id] = true
			}
		})
	}
	wg.Wait()
}

// The time in an id follows the clock: a microsecond of it, forward while the clock stands or goes back
// a little, and back where it is set back.
func TestTimeOfIDs(t *testing.T) {
	at := time.Date(2026, 3, 4, 5, 6, 7, 999_999_000, time.UTC)
	for _, tt := range []struct {
		name        string
		clock, want []time.Time
	}{
		{"the clock goes on", []time.Time{at, at.Add(time.Second)}, []time.Time{at, at.Add(time.Second)}},
		{"the clock stands", []time.Time{at, at, at}, []time.Time{at, at, at}},
		{"a little back", []time.Time{at, at.Add(-10 * time.Millisecond)}, []time.Time{at, at}},
		{"a second back is too much to wait for", []time.Time{at, at.Add(-store.MaxAhead)}, []time.Time{at, at.Add(-store.MaxAhead)}},
		{"an hour back", []time.Time{at, at.Add(-time.Hour), at.Add(-time.Hour)}, []time.Time{at, at.Add(-time.Hour), at.Add(-time.Hour)}},
	} {
		for i, got := range store.Ticks(tt.clock) {
			if d := tt.want[i].Sub(got); d < 0 || d > 2*time.Microsecond { // a tick has 244 ns: rounded down
				t.Errorf("%s: id %d has the time %v, want %v", tt.name, i, got, tt.want[i])
			}
		}
	}
	// 4,096 within one tick carry over into the next millisecond, in order.
	many := make([]time.Time, 5000)
	for i := range many {
		many[i] = at
	}
	if times := store.Ticks(many); !slices.IsSortedFunc(times, time.Time.Compare) || times[4999].Sub(at) > 2*time.Millisecond {
		t.Errorf("5,000 ids in one moment: the last has the time %v", times[4999])
	}
}

func TestValidID(t *testing.T) {
	for id, want := range map[string]bool{
		store.NewID():                          true,
		"":                                     false,
		"0190163d-8694-739b-aea5-966c26f8ad9":  false,
		"0190163D-8694-739B-AEA5-966C26F8AD91": false,
		"0190163d86947 39baea5966c26f8ad91":    false,
		"urn:uuid:0190163d-8694-739b-aea5-966c26f8ad": false,
		"{190163d-8694-739b-aea5-966c26f8ad91}":       false,
		"0190163d-8694-739b-aea5-966c26f8ad9g":        false,
		strings.Repeat("0", 36):                       false,
	} {
		if store.ValidID(id) != want {
			t.Errorf("ValidID(%q) = %t", id, !want)
		}
	}
}

func TestFirstID(t *testing.T) {
	for _, tt := range []struct {
		at   time.Time
		want string
	}{
		{time.UnixMilli(0), "00000000-0000-7000-8000-000000000000"},
		{time.Unix(0, 999), "00000000-0000-7000-8000-000000000000"},
		{time.UnixMicro(1), "00000000-0000-7005-8000-000000000000"}, // 5 × 244 ns are the first not before it
		{time.UnixMicro(999), "00000000-0000-7ffc-8000-000000000000"},
		{time.UnixMilli(1), "00000000-0001-7000-8000-000000000000"},
		{time.UnixMilli(0x0190163d8694), "0190163d-8694-7000-8000-000000000000"},
		{time.Date(1815, 6, 18, 0, 0, 0, 0, time.UTC), "00000000-0000-7000-8000-000000000000"},
		{time.UnixMilli(1<<48 - 1), "ffffffff-ffff-7000-8000-000000000000"},
		{time.UnixMilli(1 << 48), "ffffffff-ffff-7ffc-8000-000000000000"},
		{time.Date(20000, 1, 1, 0, 0, 0, 0, time.UTC), "ffffffff-ffff-7ffc-8000-000000000000"},
	} {
		if got := store.FirstID(tt.at); got != tt.want {
			t.Errorf("FirstID(%v) = %s, want %s", tt.at, got, tt.want)
		}
	}
	for range 5000 {
		id, at := store.NewTimedID()
		if first, next := store.FirstID(at), store.FirstID(at.Add(time.Microsecond)); id < first || id >= next {
			t.Fatalf("%s of %v is not from %s to %s", id, at, first, next)
		}
	}
	at := time.UnixMilli(0x0190163d8694)
	for us := range 1000 { // every microsecond has ids of its own
		first, next := store.FirstID(at.Add(time.Duration(us)*time.Microsecond)), store.FirstID(at.Add(time.Duration(us+1)*time.Microsecond))
		if first >= next {
			t.Fatalf("microsecond %d begins with %s, the next with %s", us, first, next)
		}
	}
}
