package account

import (
	_ "embed"
	"strings"
	"sync"
	"unicode"
)

//go:generate go run commongen.go

// commonText is zxcvbn's lists in one: passwords of leaks, words and names of English, 76,643 of them, in
// lower case, each once. Its line is a word's rank in its list: how soon it is guessed. Its licence and
// its checksum are in common.LICENSE.
//
//go:embed common.txt
var commonText string

// commonRanks reads the list when it is first needed, which is when somebody chooses a password. The
// words stay where they are in the program; the table over them takes some 4 MB.
var commonRanks = sync.OnceValue(func() map[string]int32 {
	ranks := make(map[string]int32, commonWordCount)
	rank := int32(0)
	for line := range strings.Lines(commonText) {
		rank++
		for word := range strings.FieldsSeq(line) {
			ranks[word] = rank
		}
	}
	return ranks
})

const (
	commonWordCount = 76643

	minCommon = 3  // the shortest and the longest word of the list
	maxCommon = 32 // a test holds both
	minCore   = 4  // the shortest word that a password may not be made of alone
)

// unleeted are the two ways in which the letters behind digits and symbols are read: 1, ! and | stand
// for i or for l.
var unleeted = [2]map[rune]rune{
	{'0': 'o', '1': 'i', '2': 'z', '3': 'e', '4': 'a', '5': 's', '6': 'g', '7': 't', '8': 'b', '9': 'g', '@': 'a', '(': 'c', '!': 'i', '|': 'i', '$': 's', '+': 't'},
	{'0': 'o', '1': 'l', '2': 'z', '3': 'e', '4': 'a', '5': 's', '6': 'g', '7': 't', '8': 'b', '9': 'g', '@': 'a', '(': 'c', '!': 'l', '|': 'l', '$': 's', '+': 't'},
}

func readLeet(runes []rune, way int) []rune {
	out := make([]rune, len(runes))
	for i, r := range runes {
		if letter, ok := unleeted[way][r]; ok {
			r = letter
		}
		out[i] = r
	}
	return out
}

// isCommon tells whether a password, in lower case and without accents, is nothing but one word of the
// list (or of more words) between digits and symbols, its letters written as such or not. Digits at
// its edges may be part of the word (summer2026, $ummer, trustno1), so each place to cut is tried.
func isCommon(runes []rune, more [][]rune) bool {
	first, last := letterSpan(runes)
	if first < 0 {
		// Digits and symbols alone: composition refuses them; the list knows the commonest.
		_, ok := commonRanks()[string(runes)]
		return ok
	}
	ranks := commonRanks()
	known := func(word []rune) bool {
		if _, ok := ranks[string(word)]; ok {
			return true
		}
		for _, m := range more {
			if string(m) == string(word) {
				return true
			}
		}
		return false
	}
	texts := [][]rune{runes, readLeet(runes, 0), readLeet(runes, 1)}
	for from := first; from >= 0; from-- {
		for to := last + 1; to <= len(runes) && to-from <= maxCommon; to++ {
			for _, text := range texts {
				if to-from >= minCore && known(text[from:to]) {
					return true
				}
			}
		}
	}
	return false
}

// letterSpan gives the places of the first and the last letter, -1 where there is none.
func letterSpan(runes []rune) (first, last int) {
	first, last = -1, -1
	for i, r := range runes {
		if unicode.IsLetter(r) {
			if first < 0 {
				first = i
			}
			last = i
		}
	}
	return first, last
}
