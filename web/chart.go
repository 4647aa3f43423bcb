package web

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// chart is one number over time, drawn as an SVG of bars (Chart.Path in a box of chartWidth by chartHeight)
// and said in words for who does not see it.
type chart struct {
	ID, Title   string
	Class       string // good, bad or quiet: how the style sheet paints it
	Total, Most int
	Path        string // of all bars; "" where there are none
	Label       string
}

// The box of a chart, in units of its own: it is as wide as the page has room for.
const (
	chartWidth  = 600
	chartHeight = 60
)

// drawChart draws a number over time. A bucket that has any is seen, however small it is beside the most.
func drawChart(id, title, class string, numbers []int, t *Trends) chart {
	c := chart{ID: id, Title: title, Class: class}
	peak := 0
	for i, n := range numbers {
		c.Total += n
		if n > c.Most {
			c.Most, peak = n, i
		}
	}
	if c.Most == 0 {
		c.Label = fmt.Sprintf("%s: none since %s UTC", title, utcMinute(t.From))
		return c
	}
	c.Label = fmt.Sprintf("%s: %d since %s UTC, at most %d in %s, from %s UTC",
		title, c.Total, utcMinute(t.From), c.Most, minutesText(t.BucketMinutes), utcMinute(t.Buckets[peak].From))
	c.Path = bars(numbers, c.Most)
	return c
}

// bars is the path of a number's bars: from the ground up, over, and down.
func bars(numbers []int, most int) string {
	var b strings.Builder
	width := float64(chartWidth) / float64(len(numbers))
	for i, n := range numbers {
		if n == 0 {
			continue
		}
		height := max(1, float64(chartHeight)*float64(n)/float64(most))
		fmt.Fprintf(&b, "M%s %dv-%sh%sv%sz", short(float64(i)*width), chartHeight, short(height), short(width*0.85), short(height))
	}
	return b.String()
}

// short writes a number with at most one digit behind the point.
func short(f float64) string { return strings.TrimSuffix(strconv.FormatFloat(f, 'f', 1, 64), ".0") }

func utcMinute(t time.Time) string { return t.UTC().Format("2006-01-02 15:04") }

func minutesText(n int) string {
	switch {
	case n == 1:
		return "a minute"
	case n == 60:
		return "an hour"
	case n%60 == 0:
		return fmt.Sprintf("%d hours", n/60)
	}
	return fmt.Sprintf("%d minutes", n)
}
