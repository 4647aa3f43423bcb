package assist

import (
	"encoding/json"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// The limits of suggestions; lengths in code points. One at its limit is taken.
const (
	MaxSuggestions = 20
	MaxQuote       = 2000
	MaxReplacement = 4000
	MaxReason      = 1000
	minSource      = 8 // fewer prove nothing: "the" stands in every source
)

// verify takes the suggestions that hold against the texts, and counts those that do not. Of two that
// are the same it takes the first.
func verify(items []json.RawMessage, content, source string) (taken []Suggestion, dropped int) {
	taken = []Suggestion{}
	c := newChecker(content, source)
	for _, item := range items {
		var s Suggestion
		if len(taken) == MaxSuggestions || json.Unmarshal(item, &s) != nil || !c.holds(s) || slices.Contains(taken, s) {
			dropped++
			continue
		}
		taken = append(taken, s)
	}
	return taken, dropped
}

// checker is what suggestions are held against.
type checker struct {
	content, source string
	numbers         map[string]bool // of the content
}

func newChecker(content, source string) *checker {
	c := &checker{content: content, source: source, numbers: map[string]bool{}}
	for _, n := range number.FindAllString(content, -1) {
		c.numbers[n] = true
	}
	return c
}

// holds tells whether a suggestion is what it says it is.
func (c *checker) holds(s Suggestion) bool {
	switch {
	case !slices.Contains(kinds, s.Kind),
		!fits(s.Quote, 1, MaxQuote), !fits(s.Replacement, 0, MaxReplacement), !fits(s.Reason, 1, MaxReason),
		hides(s.Replacement), hides(s.Reason),
		s.Replacement == s.Quote,
		Occurrences(c.content, s.Quote) != 1:
		return false
	case s.Source == "":
		return s.Kind != Fact && !c.adds(s.Replacement, "")
	}
	return fits(s.Source, minSource, MaxQuote) && strings.Contains(c.source, s.Source) && !c.adds(s.Replacement, s.Source)
}

// Occurrences counts the places at which a quote stands in a text, those that overlap as well, as far
// as two: none, one, more.
func Occurrences(text, quote string) int {
	first := strings.Index(text, quote)
	if first < 0 || quote == "" {
		return 0
	}
	_, size := utf8.DecodeRuneInString(text[first:])
	if strings.Contains(text[first+size:], quote) {
		return 2
	}
	return 1
}

func fits(s string, least, most int) bool {
	n := utf8.RuneCountInString(s)
	return least <= n && n <= most && utf8.ValidString(s)
}

// hides tells whether a text has characters that make it look like another one: control characters,
// and those that turn the direction of writing (CVE-2021-42574).
func hides(s string) bool {
	return strings.ContainsFunc(s, func(r rune) bool {
		return unicode.IsControl(r) && r != '\n' && r != '\t' || '\u202a' <= r && r <= '\u202e' || '\u2066' <= r && r <= '\u2069'
	})
}

// number is digits with what joins them in amounts, dates and times. link is whatever a reader or a
// program would follow: an address with a scheme or without, and the target of a Markdown link.
var (
	number = regexp.MustCompile(`\p{Nd}+(?:[.,:/'’\-]\p{Nd}+)*`)
	link   = regexp.MustCompile(`(?i)(?:\b[a-z][a-z0-9+.-]*:)?//[^\s<>"'()\[\]]+|\bwww\.[^\s<>"'()\[\]]+` +
		`|\b(?:mailto|tel|data|javascript|vbscript|file):[^\s<>"'()\[\]]+|\]\(\s*<?[^\s<>)]+|\]:\s*<?[^\s<>]+`)
)

// adds tells whether a replacement states something that neither the content nor the quote of the
// source does, as far as that can be told without understanding it: a number, or a link, which is also
// how a planted instruction would carry a text out of the house. Whether a sentence is true is for the
// author to judge, who sees both quotes.
func (c *checker) adds(replacement, quoted string) bool {
	for _, n := range number.FindAllString(replacement, -1) {
		if !c.numbers[n] && !slices.Contains(number.FindAllString(quoted, -1), n) {
			return true
		}
	}
	for _, l := range link.FindAllString(replacement, -1) {
		if !strings.Contains(c.content, l) && !strings.Contains(quoted, l) {
			return true
		}
	}
	return false
}
