package main

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"sealpost/runbook"
)

// The columns of the table of controls, 100 characters together: id, status, title, observed.
const (
	widthID       = 6
	widthStatus   = 14 // NOT_APPLICABLE
	widthTitle    = 30
	widthObserved = 44
	columnGap     = "  "
)

// postureTable writes controls as a table for people, wrapped within its columns.
func postureTable(results []runbook.Result) string {
	var b strings.Builder
	row := func(id, status, title, observed string) {
		titles, seen := wrap(title, widthTitle), wrap(observed, widthObserved)
		for i := range max(len(titles), len(seen), 1) {
			line := pad(first(i, id), widthID) + columnGap + pad(first(i, status), widthStatus) + columnGap +
				pad(at(titles, i), widthTitle) + columnGap + at(seen, i)
			b.WriteString(strings.TrimRight(line, " ") + "\n")
		}
	}
	row("ID", "STATUS", "WHAT HOLDS WHERE IT PASSES", "OBSERVED")
	for _, r := range results {
		row(plain(r.ID), plain(string(r.Status)), plain(r.Title), plain(r.Observed))
	}
	return b.String()
}

// first is a cell that only the first line of a row has.
func first(line int, cell string) string {
	if line == 0 {
		return cell
	}
	return ""
}

func at(lines []string, i int) string {
	if i < len(lines) {
		return lines[i]
	}
	return ""
}

func pad(s string, width int) string {
	return s + strings.Repeat(" ", max(0, width-utf8.RuneCountInString(s)))
}

// wrap breaks a text into lines of at most so many characters, between words where it can.
func wrap(s string, width int) []string {
	var lines []string
	var line []rune
	for word := range strings.FieldsSeq(s) {
		w := []rune(word)
		if len(line) > 0 && len(line)+1+len(w) > width {
			lines, line = append(lines, string(line)), nil
		}
		if len(line) > 0 {
			line = append(line, ' ')
		}
		line = append(line, w...)
		for len(line) > width {
			lines, line = append(lines, string(line[:width])), line[width:]
		}
	}
	if len(line) > 0 {
		lines = append(lines, string(line))
	}
	return lines
}

// plain takes out what a terminal would obey: the text may be another server's.
func plain(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || unicode.Is(unicode.Cf, r) {
			return ' '
		}
		return r
	}, s)
}
