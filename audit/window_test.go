package audit

import (
	"fmt"
	"testing"
	"time"
)

func TestWindowOf(t *testing.T) {
	now := time.Date(2026, 3, 1, 3, 0, 30, 0, time.UTC)
	at := func(s string) time.Time {
		v, err := time.Parse("15:04:05", s)
		if err != nil {
			t.Fatal(err)
		}
		return time.Date(2026, 3, 1, v.Hour(), v.Minute(), v.Second(), 0, time.UTC)
	}
	none := minuteOf(endOfTime)
	for _, tt := range []struct {
		name        string
		since, mark time.Time
		minute      int64
		live        string
	}{
		{"a whole minute", at("02:00:00"), at("03:00:15"), minuteOf(at("02:00:00")), "03:00:15-"},
		{"within a minute", at("02:00:01"), at("03:00:15"), minuteOf(at("02:01:00")), "03:00:15- 02:00:01-02:01:00"},
		{"behind the mark", at("03:00:20"), at("03:00:15"), none, "03:00:20-"},
		{"the mark is in its first minute", at("02:59:30"), at("02:59:50"), none, "02:59:30-"},
		{"the mark is at the end of its first minute", at("02:59:30"), at("03:00:00"), none, "02:59:30-"},
		{"the mark is just behind it", at("02:59:30"), at("03:00:01"), minuteOf(at("03:00:00")), "03:00:01- 02:59:30-03:00:00"},
		{"nothing has been counted", at("02:00:00"), time.Time{}, none, "02:00:00-"},
		{"the oldest counters", now.Add(time.Minute - CountsKept), at("03:00:15"), minuteOf(now.Add(2*time.Minute - CountsKept)), "03:00:15- 03:01:30-03:02:00"},
		{"before them", now.Add(time.Minute - CountsKept - 1), at("03:00:15"), none, "03:01:29-"},
	} {
		w := windowOf(tt.since, tt.mark, now)
		var live string
		for i, s := range w.live {
			if i > 0 {
				live += " "
			}
			live += s.from.Format("15:04:05") + "-"
			if !s.to.Equal(endOfTime) {
				live += s.to.Format("15:04:05")
			}
		}
		if w.minute != tt.minute || live != tt.live {
			t.Errorf("%s: counters from %d, want %d; live %q, want %q", tt.name, w.minute, tt.minute, live, tt.live)
		}
	}
}

func TestSlicesOf(t *testing.T) {
	from := time.Date(2026, 3, 1, 3, 0, 30, 0, time.UTC)
	for _, tt := range []struct {
		to   time.Duration
		n    int
		want string
	}{
		{0, 9, "[]"},
		{-time.Second, 9, "[]"},
		{time.Second, 9, "[30s-31s]"},
		{30 * time.Second, 9, "[30s-1m0s]"},
		{31 * time.Second, 9, "[30s-1m0s 1m0s-1m1s]"},
		{time.Hour, 3, "[30s-1m0s 1m0s-2m0s 2m0s-3m0s]"},
	} {
		got := []string{}
		for _, s := range slicesOf(from, from.Add(tt.to), tt.n) {
			got = append(got, fmt.Sprintf("%v-%v", s.from.Sub(from.Truncate(time.Minute)), s.to.Sub(from.Truncate(time.Minute))))
		}
		if fmt.Sprint(got) != tt.want {
			t.Errorf("%v: %v, want %v", tt.to, got, tt.want)
		}
	}
}
