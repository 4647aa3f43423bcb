package dispatch

import (
	"errors"
	"fmt"
	"net/http"
	"testing"
	"time"

	"pgregory.net/rapid"

	"sealpost/fault"
	"sealpost/store"
)

func TestDecide(t *testing.T) {
	longest := func(d time.Duration) time.Duration { return d }
	const base = 15 * time.Second
	for _, tt := range []struct {
		name        string
		answer      Answer
		tried, left int
		want        Verdict
	}{
		{"taken", Answer{Status: 200}, 1, 11, Verdict{Status: Dispatched}},
		{"taken at the last attempt", Answer{Status: 299}, 12, 0, Verdict{Status: Dispatched}},
		{"server error waits", Answer{Status: 503}, 1, 11, Verdict{Status: Retrying, After: base}},
		{"the wait doubles", Answer{Status: 500}, 3, 9, Verdict{Status: Retrying, After: 4 * base}},
		{"the wait ends at an hour", Answer{Status: 500}, 30, 9, Verdict{Status: Retrying, After: time.Hour}},
		{"no answer waits", Answer{Err: errors.New("refused")}, 2, 1, Verdict{Status: Retrying, After: 2 * base}},
		{"Retry-After is honoured", Answer{Status: 429, RetryAfter: 2 * time.Minute}, 1, 5, Verdict{Status: Retrying, After: 2 * time.Minute}},
		{"Retry-After is cut to a day", Answer{Status: 503, RetryAfter: 1000 * time.Hour}, 1, 5, Verdict{Status: Retrying, After: 24 * time.Hour}},
		{"a redirect is not followed, and waits", Answer{Status: 302}, 1, 1, Verdict{Status: Retrying, After: base}},
		{"408 waits", Answer{Status: 408}, 1, 1, Verdict{Status: Retrying, After: base}},
		{"409 waits", Answer{Status: 409}, 1, 1, Verdict{Status: Retrying, After: base}},
		{"425 waits", Answer{Status: 425}, 1, 1, Verdict{Status: Retrying, After: base}},
		{"429 waits", Answer{Status: 429}, 1, 1, Verdict{Status: Retrying, After: base}},
		{"400 is final", Answer{Status: 400}, 1, 11, Verdict{Status: DeadLetter, Reason: Permanent}},
		{"401 is final", Answer{Status: 401}, 1, 11, Verdict{Status: DeadLetter, Reason: Permanent}},
		{"499 is final", Answer{Status: 499}, 1, 11, Verdict{Status: DeadLetter, Reason: Permanent}},
		{"gone is final, and pauses", Answer{Status: 410}, 1, 11, Verdict{Status: DeadLetter, Reason: Permanent, Pause: true}},
		{"a forbidden address is final", Answer{Err: fmt.Errorf("%w: 10.0.0.1", errBlocked)}, 1, 11, Verdict{Status: DeadLetter, Reason: Blocked}},
		{"the last attempt is final", Answer{Status: 503}, 12, 0, Verdict{Status: DeadLetter, Reason: Exhausted}},
		{"the last attempt is final without an answer", Answer{Err: errors.New("refused")}, 12, 0, Verdict{Status: DeadLetter, Reason: Exhausted}},
		{"the last attempt is final whatever is wished", Answer{Status: 429, RetryAfter: time.Second}, 12, 0, Verdict{Status: DeadLetter, Reason: Exhausted}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := decide(tt.answer, tt.tried, tt.left, base, longest); got != tt.want {
				t.Errorf("got %+v, want %+v", got, tt.want)
			}
		})
	}
}

func TestParseRetryAfter(t *testing.T) {
	now := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	for _, tt := range []struct {
		value string
		want  time.Duration
	}{
		{"", 0}, {"0", 0}, {"120", 2 * time.Minute}, {"-5", 0}, {"soon", 0}, {"1.5", 0}, {"99999999999999", 0},
		{now.Add(time.Hour).Format(http.TimeFormat), time.Hour},
		{now.Add(-time.Hour).Format(http.TimeFormat), 0},
		{now.AddDate(90, 0, 0).Format(http.TimeFormat), now.AddDate(90, 0, 0).Sub(now)},
	} {
		if got := parseRetryAfter(tt.value, now); got != tt.want {
			t.Errorf("parseRetryAfter(%q) = %s, want %s", tt.value, got, tt.want)
		}
	}
}

func FuzzParseRetryAfter(f *testing.F) {
	f.Add("120")
	f.Add("Fri, 01 May 2026 12:00:00 GMT")
	f.Fuzz(func(t *testing.T, value string) {
		if got := parseRetryAfter(value, time.Now()); got < 0 {
			t.Errorf("a wait of %s", got)
		}
	})
}

// Whatever endpoints want and hold, a share is within what is free and what each may have; an endpoint
// that holds more than what is free gets nothing, and one that holds nothing is not refused while
// anything is.
func TestShareHolds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		free := rapid.IntRange(0, 300).Draw(t, "free")
		n := rapid.IntRange(1, maxEndpoints).Draw(t, "endpoints")
		held := map[string]int{}
		ring := make([]candidate, n)
		for i := range ring {
			id := fmt.Sprint(i)
			ring[i] = candidate{&target{id: id}, rapid.IntRange(-3, 40).Draw(t, "slots")}
			held[id] = rapid.IntRange(0, 40).Draw(t, "held")
		}
		grants := share(ring, free, held)
		sum := 0
		for i, c := range ring {
			if grants[i] < 0 || grants[i] > max(0, c.slots) || grants[i] > 0 && held[c.id] > free {
				t.Fatalf("endpoint %d with %d slots, %d held and %d free was given %d", i, c.slots, held[c.id], free, grants[i])
			}
			sum += grants[i]
		}
		if sum > free {
			t.Fatalf("%d given of %d", sum, free)
		}
		for i, c := range ring {
			if sum < free && c.slots > 0 && held[c.id] == 0 && grants[i] == 0 {
				t.Fatalf("endpoint %d holds nothing and got nothing, while %d of %d are left", i, free-sum, free)
			}
		}
	})
}

// However many endpoints hang, and however often they are served, they leave something for one that
// does not: as long as there are more slots than endpoints.
func TestShareLeavesRoom(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		hanging := rapid.IntRange(1, maxEndpoints-1).Draw(t, "hanging")
		free := rapid.IntRange(2*hanging+1, 300).Draw(t, "slots")
		ring := make([]candidate, hanging)
		held := map[string]int{}
		for range 50 {
			for i := range ring {
				ring[i] = candidate{&target{id: fmt.Sprint(i)}, 1000 - held[fmt.Sprint(i)]}
			}
			for i, n := range share(ring, free, held) {
				held[fmt.Sprint(i)] += n
				free -= n
			}
		}
		if free == 0 {
			t.Fatalf("%d hanging endpoints took every slot: %v", hanging, held)
		}
	})
}

func TestShareIsEqual(t *testing.T) {
	for _, tt := range []struct {
		name        string
		slots, held []int
		free        int
		want        []int
	}{
		{"equal wants", []int{16, 16, 16, 16}, []int{0, 0, 0, 0}, 32, []int{8, 8, 8, 4}},
		{"little wanted of much", []int{2, 2, 2}, []int{0, 0, 0}, 64, []int{2, 2, 2}},
		{"what one does not want others get", []int{1, 4}, []int{0, 0}, 32, []int{1, 4}},
		{"one that holds much gets nothing", []int{16, 16}, []int{12, 0}, 12, []int{0, 6}},
		{"one alone leaves half", []int{1000}, []int{0}, 256, []int{128}},
		{"the last slot is for one that has none", []int{16, 16}, []int{1, 0}, 1, []int{0, 1}},
		{"nothing free", []int{16}, []int{0}, 0, []int{0}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			ring := make([]candidate, len(tt.slots))
			held := map[string]int{}
			for i := range ring {
				ring[i] = candidate{&target{id: fmt.Sprint(i)}, tt.slots[i]}
				held[fmt.Sprint(i)] = tt.held[i]
			}
			if got := share(ring, tt.free, held); fmt.Sprint(got) != fmt.Sprint(tt.want) {
				t.Errorf("got %v, want %v", got, tt.want)
			}
		})
	}
}

func TestCheckOfAJob(t *testing.T) {
	now := time.Now()
	id := store.NewID()
	for _, tt := range []struct {
		name string
		job  NewJob
		want fault.Kind // Internal: none
	}{
		{"whole", NewJob{EndpointID: id, ContentType: "application/json; charset=utf-8", Payload: make([]byte, MaxPayload)}, fault.Internal},
		{"empty payload", NewJob{EndpointID: id, ContentType: "text/plain"}, fault.Internal},
		{"payload too large", NewJob{EndpointID: id, ContentType: "text/plain", Payload: make([]byte, MaxPayload+1)}, fault.TooLarge},
		{"no endpoint", NewJob{ContentType: "text/plain"}, fault.Invalid},
		{"endpoint is no id", NewJob{EndpointID: "1; drop table", ContentType: "text/plain"}, fault.Invalid},
		{"no content type", NewJob{EndpointID: id}, fault.Invalid},
		{"content type with a line break", NewJob{EndpointID: id, ContentType: "text/plain\r\nX: y"}, fault.Invalid},
		{"over before it came", NewJob{EndpointID: id, ContentType: "text/plain", ExpireAt: now.Add(-time.Second)}, fault.Invalid},
		{"due after its end", NewJob{EndpointID: id, ContentType: "text/plain", DeliverAfter: now.Add(2 * time.Hour), ExpireAt: now.Add(time.Hour)}, fault.Invalid},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if err := tt.job.check(now); (err == nil) != (tt.want == fault.Internal) || err != nil && fault.Of(err) != tt.want {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestCheckURL(t *testing.T) {
	for _, good := range []string{"https://example.com/hook", "http://[::1]:8080/", "https://example.com?x=1"} {
		if err := checkURL(good); err != nil {
			t.Errorf("%s: %v", good, err)
		}
	}
	for _, bad := range []string{"", "example.com", "ftp://example.com", "https://", "https:///x", "https://u:p@example.com",
		"https://example.com/#x", "javascript:alert(1)", "https:example.com", "http://a b/", "https://example.com/" + string(make([]byte, 3000))} {
		if err := checkURL(bad); !fault.Is(err, fault.Invalid) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}
