package web

import (
	"testing"
	"time"
)

func TestDrawChart(t *testing.T) {
	from := time.Date(2026, 3, 1, 3, 0, 0, 0, time.UTC)
	trends := &Trends{From: from, BucketMinutes: 5}
	for i := range 4 {
		trends.Buckets = append(trends.Buckets, TrendBucket{From: from.Add(time.Duration(i) * 5 * time.Minute)})
	}
	for _, tt := range []struct {
		numbers     []int
		path, label string
		total, most int
	}{
		{[]int{0, 0, 0, 0}, "", "Jobs: none since 2026-03-01 03:00 UTC", 0, 0},
		{[]int{0, 600, 0, 300}, "M150 60v-60h127.5v60zM450 60v-30h127.5v30z", "Jobs: 900 since 2026-03-01 03:00 UTC, at most 600 in 5 minutes, from 2026-03-01 03:05 UTC", 900, 600},
		{[]int{6000, 1, 0, 0}, "M0 60v-60h127.5v60zM150 60v-1h127.5v1z", "Jobs: 6001 since 2026-03-01 03:00 UTC, at most 6000 in 5 minutes, from 2026-03-01 03:00 UTC", 6001, 6000},
	} {
		c := drawChart("jobs", "Jobs", "good", tt.numbers, trends)
		if c.Path != tt.path || c.Label != tt.label || c.Total != tt.total || c.Most != tt.most {
			t.Errorf("%v: %+v", tt.numbers, c)
		}
	}
	for minutes, want := range map[int]string{1: "a minute", 15: "15 minutes", 60: "an hour", 90: "90 minutes", 180: "3 hours"} {
		if got := minutesText(minutes); got != want {
			t.Errorf("%d: %s", minutes, got)
		}
	}
}
