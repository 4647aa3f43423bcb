package dispatch

import (
	"fmt"
	"testing"

	"pgregory.net/rapid"
)

func ringOf(slots ...int) []candidate {
	ring := make([]candidate, len(slots))
	for i, n := range slots {
		ring[i] = candidate{target: &target{id: fmt.Sprint(i)}, slots: n}
	}
	return ring
}

func loadOf(slots int, held, windows []int) load {
	l := newLoad(slots)
	for i, n := range held {
		l.held[fmt.Sprint(i)] = n
	}
	for i, n := range windows {
		l.windows[fmt.Sprint(i)] = n
	}
	return l
}

func TestShare(t *testing.T) {
	for _, tt := range []struct {
		name                 string
		slots, held, windows []int
		free, all            int
		want                 []int
	}{
		{"unknown endpoints begin small", []int{16, 16}, nil, nil, 256, 256, []int{2, 2}},
		{"known ones have their caps", []int{16, 16}, nil, []int{16, 99}, 256, 256, []int{16, 16}},
		{"what is free is shared", []int{16, 16, 16}, nil, []int{16, 16, 16}, 38, 256, []int{2, 2, 2}},
		{"what one does not want others get", []int{1, 16}, nil, []int{16, 16}, 42, 256, []int{1, 9}},
		{"the reserve is for those that hold little", []int{16, 16, 16}, []int{16, 1, 0}, []int{32, 16, 16}, 32, 256, []int{0, 1, 2}},
		{"a small server has a small reserve", []int{4, 4}, []int{3, 0}, []int{4, 4}, 2, 16, []int{0, 1}},
		{"nothing free", []int{16}, nil, nil, 0, 256, []int{0}},
		{"no slots at the endpoint", []int{0}, nil, nil, 256, 256, []int{0}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := share(ringOf(tt.slots...), tt.free, loadOf(tt.all, tt.held, tt.windows))
			if fmt.Sprint(got) != fmt.Sprint(tt.want) {
				t.Errorf("got %v, want %v", got, tt.want)
			}
		})
	}
}

func TestWindows(t *testing.T) {
	l := newLoad(256)
	window := func(want int) {
		t.Helper()
		if got := l.window("e"); got != want {
			t.Errorf("the window is %d, want %d", got, want)
		}
	}
	window(firstWindow)
	for range 6 {
		l.begin("e")
		l.end("e", false)
	}
	window(8)
	for _, want := range []int{4, 2, 1, 1} {
		l.begin("e")
		l.end("e", true)
		window(want)
	}
	if len(l.held) != 0 {
		t.Errorf("held: %v", l.held)
	}
}

// Whatever endpoints want and hold, a share is within what is free and what each may have.
func TestShareHolds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		all := rapid.IntRange(1, 300).Draw(t, "all")
		free := rapid.IntRange(0, all).Draw(t, "free")
		n := rapid.IntRange(1, maxEndpoints).Draw(t, "endpoints")
		numbers := rapid.SliceOfN(rapid.IntRange(0, 40), n, n)
		slots, held, windows := numbers.Draw(t, "slots"), numbers.Draw(t, "held"), numbers.Draw(t, "windows")
		l := loadOf(all, held, windows)
		sum := 0
		for i, grant := range share(ringOf(slots...), free, l) {
			if grant < 0 || grant > slots[i] || grant > 0 && held[i]+grant > windows[i] {
				t.Fatalf("endpoint %d with %d slots, %d held and a window of %d was given %d", i, slots[i], held[i], windows[i], grant)
			}
			sum += grant
		}
		if sum > free {
			t.Fatalf("%d given of %d", sum, free)
		}
	})
}

// However many slots endpoints have earned, and in whatever order they come and then hang, one that
// comes later and holds nothing gets a slot: up to as many hanging endpoints as the reserve allows.
func TestHangingEndpointsLeaveRoom(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := newLoad(256)
		free := 256
		hanging := rapid.IntRange(1, 15+256/16).Draw(t, "hanging")
		for i := range hanging {
			l.windows[fmt.Sprint(i)] = rapid.IntRange(1, 16).Draw(t, "window")
		}
		for free > 0 {
			before := free
			for i := range hanging { // one by one: the order in which each could take the most
				id := fmt.Sprint(i)
				ring := []candidate{{target: &target{id: id}, slots: 16 - l.held[id]}}
				n := share(ring, free, l)[0]
				l.held[id] += n
				free -= n
			}
			if free == before {
				break
			}
		}
		healthy := []candidate{{target: &target{id: "healthy"}, slots: 16}}
		if share(healthy, free, l)[0] == 0 {
			t.Fatalf("%d hanging endpoints hold %v and leave %d, of which a healthy one gets nothing", hanging, l.held, free)
		}
	})
}
