package web

import (
	"testing"
	"time"
)

func TestBucketsOf(t *testing.T) {
	at := func(s string) time.Time {
		v, err := time.Parse(time.RFC3339, s)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	now := at("2026-03-01T03:07:30Z")
	for _, tt := range []struct {
		window, bucket int
		from           string
		minutes, n     int // 0 buckets: refused
	}{
		{60, 0, "2026-03-01T02:07:00Z", 1, 61},
		{120, 0, "2026-03-01T01:07:00Z", 1, 121},
		{121, 0, "2026-03-01T01:05:00Z", 5, 25},
		{1440, 0, "2026-02-28T03:00:00Z", 15, 97},
		{10080, 0, "2026-02-22T03:00:00Z", 180, 57},
		{60, 60, "2026-03-01T02:00:00Z", 60, 2},
		{60, 61, "", 0, 0},
		{1440, 1, "2026-02-28T03:07:00Z", 1, 1441},
		{1441, 1, "", 0, 0},
		{2881, 2, "", 0, 0},
		{2880, 2, "2026-02-27T03:06:00Z", 2, 1441},
	} {
		b, err := bucketsOf(tt.window, tt.bucket, now)
		if tt.n == 0 {
			if err == nil {
				t.Errorf("%d by %d: %+v", tt.window, tt.bucket, b)
			}
			continue
		}
		if err != nil || !b.From.Equal(at(tt.from)) || b.Each != time.Duration(tt.minutes)*time.Minute || b.N != tt.n {
			t.Errorf("%d by %d: %+v, %v", tt.window, tt.bucket, b, err)
		}
		if end := b.Start(b.N); !end.After(now) || b.Start(b.N-1).After(now) {
			t.Errorf("%d by %d: the last bucket ends at %v", tt.window, tt.bucket, end)
		}
	}
}
