package dispatch

import (
	"errors"
	"fmt"
	"math"
	"net/http"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

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
	const longest = time.Duration(math.MaxInt64/int64(time.Second)) * time.Second // which decide cuts to a day
	for _, tt := range []struct {
		value string
		want  time.Duration
	}{
		{"", 0},
		{"0", 0},
		{"120", 2 * time.Minute},
		{"-5", 0},
		{"soon", 0},
		{"1.5", 0},
		{"+60", time.Minute},
		{"99999999999999", longest},
		{"99999999999999999999", longest},
		{"-99999999999999999999", 0},
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
		{"content type that names no type", NewJob{EndpointID: id, ContentType: "attachment"}, fault.Invalid},
		{"content type beyond ASCII", NewJob{EndpointID: id, ContentType: `text/plain; a="ä"`}, fault.Invalid},
		{"due at its end", NewJob{EndpointID: id, ContentType: "text/plain", DeliverAfter: now.Add(time.Hour), ExpireAt: now.Add(time.Hour)}, fault.Invalid},
		{"due at the end of time", NewJob{EndpointID: id, ContentType: "text/plain", DeliverAfter: maxTime}, fault.Internal},
		{"due after the end of time", NewJob{EndpointID: id, ContentType: "text/plain", DeliverAfter: maxTime.Add(time.Second)}, fault.Invalid},
		{"over after the end of time", NewJob{EndpointID: id, ContentType: "text/plain", ExpireAt: maxTime.Add(time.Second)}, fault.Invalid},
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
	for _, good := range []string{"https://example.com/hook", "http://[::1]:8080/", "https://example.com?x=1", "http://[fe80::1%25eth0]:1/", "https://example.com:65535/%C3%A4"} {
		if err := checkURL(good); err != nil {
			t.Errorf("%s: %v", good, err)
		}
	}
	for _, bad := range []string{
		"", "example.com", "ftp://example.com", "https://", "https:///x", "https://u:p@example.com",
		"https://example.com/#x", "javascript:alert(1)", "https://ä.example", "https://%c3%a4.example", "https://example.com/?a b", "https://example.com:0",
		"https://example.com:65536", "https:example.com", "http://a b/", "https://example.com/" + string(make([]byte, 3000)),
	} {
		if err := checkURL(bad); !fault.Is(err, fault.Invalid) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func TestOneLine(t *testing.T) {
	for _, tt := range []struct {
		text  string
		limit int
		want  string
	}{
		{"plain", 10, "plain"},
		{"  two\r\n lines\t", 20, "two lines"},
		{"a\x00b\x1b[31m", 20, "a b [31m"},
		{"half \xe2\x98", 20, "half"},
		{"\u202eright to left\u2028", 20, "right to left"},
		{"ääää", 5, "ää"},
		{"", 5, ""},
		{"\n", 5, ""},
	} {
		if got := oneLine(tt.text, tt.limit); got != tt.want {
			t.Errorf("oneLine(%q, %d) = %q, want %q", tt.text, tt.limit, got, tt.want)
		}
	}
}

func FuzzOneLine(f *testing.F) {
	f.Add("net/http: malformed \x00\xff")
	f.Fuzz(func(t *testing.T, text string) {
		got := oneLine(text, maxLastError)
		if len(got) > maxLastError || !utf8.ValidString(got) || strings.ContainsFunc(got, func(r rune) bool { return !unicode.IsPrint(r) }) {
			t.Errorf("%q became %q", text, got)
		}
	})
}

// The beginning of an id is a range of whole ids; what is no beginning is refused.
func TestStartingWith(t *testing.T) {
	const id = "0190abcd-1234-7567-89ab-cdef01234567"
	for _, q := range []string{id[:8], id[:9], id[:20], id, strings.ToUpper(id)} {
		r, err := startingWith(q)
		if err != nil || r.from > id || r.to < id || !store.ValidID(r.from) || !store.ValidID(r.to) || !strings.HasPrefix(r.to, strings.ToLower(q)) {
			t.Errorf("%q: %v (%v)", q, r, err)
		}
	}
	for _, q := range []string{"", id[:7], id + "0", "0190abcg", "0190abcd1", "0190-abc", "0190abcd_", "0190abc ", "ä190abcd"} {
		if _, err := startingWith(q); !fault.Is(err, fault.Invalid) {
			t.Errorf("%q: %v", q, err)
		}
	}
	if r := idsBefore(id); r.to != id[:35]+"6" || r.from != firstID {
		t.Errorf("before %s: %v", id, r)
	}
	if r := idsBefore("0190abcd-1234-7567-8900-000000000000"); r.to != "0190abcd-1234-7567-88ff-ffffffffffff" {
		t.Errorf("before a round one: %v", r)
	}
}
