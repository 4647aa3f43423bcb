package account

import (
	_ "embed"
	"slices"
	"strings"
	"sync"
	"unicode"

	"golang.org/x/text/unicode/norm"
)

// A password is weak when too little of it is left once the parts that everybody guesses first are
// explained: well-known words (also de-leeted or reversed), years, runs such as aaaa, 1234 and dcba,
// rows of keys, repetitions, and the user's own name and address. What is left is weighed, the whole
// must reach minWeight. Composition rules make people write "Summer2026!!"; this is what catches it.
//
// That is a rule about how passwords are made; two more say what is guessed: the whole is no word of the
// common list between digits and symbols (common.go), and takes zxcvbn's 10^10 guesses (guess.go).
//
// An unexplained letter weighs as much as a whole well-known word: either is one choice among some
// dozens or hundreds. Digits and symbols weigh less, because most of them are put at the end.
const (
	letterWeight = 2
	otherWeight  = 1
	wordWeight   = 2
	runWeight    = 1
	minWeight    = 10
	minRun       = 3
	minDistinct  = 6 // different characters
	minOwn       = 3 // the shortest part of a name that counts as a word
	minOwnWhole  = 5 // the shortest part of a name that may not be in a password at all
)

// isWeak tells whether a password follows a pattern that is guessed first. It reads no more than the
// longest password's characters, so its time is bounded.
func isWeak(password string, own []string) bool {
	n := 0
	for i := range password {
		if n++; n > MaxPasswordLength {
			password = password[:i]
			break
		}
	}
	runes := plain(password)
	if distinct(runes) < minDistinct {
		return true
	}
	words := slices.Clip(commonWords()) // shared, so never appended to in place
	for _, text := range own {
		local, domain, isAddress := strings.Cut(text, "@")
		for _, part := range parts(local, minOwn) {
			if len(part) >= minOwnWhole && contains(runes, part) {
				return true
			}
			words = append(words, part)
		}
		if isAddress {
			words = append(words, parts(domain, minOwn)...)
		}
	}
	mine := words[len(commonWords()):]
	return weigh(repeated(runes), words) < minWeight || isCommon(runes, mine) || estimate(password, mine) < guessesNeeded(len(runes))
}

// plain gives the characters of a text in lower case, without accents.
func plain(text string) []rune {
	out := unmarked(text)
	for i, r := range out {
		out[i] = unicode.ToLower(r)
	}
	return out
}

// unmarked gives the characters of a text without accents.
func unmarked(text string) []rune {
	var out []rune
	for _, r := range norm.NFKD.String(text) {
		if !unicode.IsMark(r) {
			out = append(out, r)
		}
	}
	return out
}

func distinct(runes []rune) int {
	sorted := slices.Sorted(slices.Values(runes))
	return len(slices.Compact(sorted))
}

// parts gives the words of a name, each at least min characters long.
func parts(text string, min int) [][]rune {
	var out [][]rune
	for _, field := range strings.FieldsFunc(string(plain(text)), func(r rune) bool {
		return !unicode.IsLetter(r) && !unicode.IsNumber(r)
	}) {
		if word := []rune(field); len(word) >= min {
			out = append(out, word)
		}
	}
	return out
}

func contains(runes, word []rune) bool {
	for i := range runes {
		if matches(runes[i:], word) {
			return true
		}
	}
	return false
}

// repeated gives the block that a text is a whole number of repetitions of: itself, mostly.
func repeated(runes []rune) []rune {
	for size := 1; size <= len(runes)/2; size++ {
		if len(runes)%size == 0 && slices.Equal(runes[size:], runes[:len(runes)-size]) {
			return runes[:size]
		}
	}
	return runes
}

// weigh gives the least weight of a text over all ways to explain it.
func weigh(runes []rune, words [][]rune) int {
	least := make([]int, len(runes)+1)
	for i := range runes {
		least[i+1] = 1 << 30
	}
	reach := func(from, length, weight int) {
		least[from+length] = min(least[from+length], least[from]+weight)
	}
	for i, r := range runes {
		weight := otherWeight
		if unicode.IsLetter(r) {
			weight = letterWeight
		}
		reach(i, 1, weight)
		for n := minRun; n <= runLength(runes[i:]); n++ {
			reach(i, n, runWeight)
		}
		if isYear(runes[i:]) {
			reach(i, 4, runWeight)
		}
		for _, word := range words {
			if matches(runes[i:], word) {
				reach(i, len(word), wordWeight)
			}
		}
	}
	return least[len(runes)]
}

// leet lists the letters that a character is written for.
var leet = map[rune]string{
	'0': "o", '1': "il", '2': "z", '3': "e", '4': "a", '5': "s", '6': "g", '7': "t", '8': "b", '9': "g",
	'@': "a", '(': "c", '€': "e", '!': "il", '|': "il", '$': "s", '+': "t", '£': "l", '#': "h",
}

// matches tells whether a text begins with a word, forwards or backwards, with letters or their
// stand-ins.
func matches(runes, word []rune) bool {
	if len(runes) < len(word) {
		return false
	}
	forwards, backwards := true, true
	for i, r := range runes[:len(word)] {
		forwards = forwards && readsAs(r, word[i])
		backwards = backwards && readsAs(r, word[len(word)-1-i])
		if !forwards && !backwards {
			return false
		}
	}
	return true
}

func readsAs(r, letter rune) bool {
	return r == letter || strings.ContainsRune(leet[r], letter)
}

func isYear(runes []rune) bool {
	if len(runes) < 4 || (string(runes[:2]) != "19" && string(runes[:2]) != "20") {
		return false
	}
	return isDigit(runes[2]) && isDigit(runes[3])
}

func isDigit(r rune) bool { return r >= '0' && r <= '9' }

// keyRows are the straight lines of keys that fingers follow: rows of the QWERTY, QWERTZ and AZERTY
// layouts, then columns.
var keyRows = []string{
	"1234567890-=", "qwertyuiop[]", "asdfghjkl;'", "zxcvbnm,./", "qwertzuiop", "yxcvbnm", "azertyuiop", "qsdfghjklm", "wxcvbn",
	"1qaz", "2wsx", "3edc", "4rfv", "5tgb", "6yhn", "7ujm", "8ik,", "9ol.", "0p;/", "1aqw", "2zsx",
	"zse4", "xdr5", "cft6", "vgy7", "bhu8", "nji9", "mko0",
}

// unshifted gives the key of a shifted character on the US layout, on which such rows are typed.
var unshifted = map[rune]rune{
	'!': '1', '@': '2', '#': '3', '$': '4', '%': '5', '^': '6', '&': '7', '*': '8', '(': '9', ')': '0',
	'_': '-', '+': '=', '{': '[', '}': ']', ':': ';', '"': '\'', '<': ',', '>': '.', '?': '/',
}

// runLength gives how many characters at the start of a text continue evenly: the same one, the next
// or the one before in the alphabet or in counting, or along a row of keys.
func runLength(runes []rune) int {
	longest := 1
	for _, step := range []rune{0, 1, -1} {
		n := 1
		for n < len(runes) && runes[n] == runes[n-1]+step && (step == 0 || sameKind(runes[n], runes[n-1])) {
			n++
		}
		longest = max(longest, n)
	}
	for _, row := range keyRows {
		for _, step := range []int{1, -1} {
			n, at := 0, strings.IndexRune(row, key(runes[0]))
			for at >= 0 && at < len(row) && n < len(runes) && key(runes[n]) == rune(row[at]) {
				n, at = n+1, at+step
			}
			longest = max(longest, n)
		}
	}
	return longest
}

func sameKind(a, b rune) bool {
	return isDigit(a) && isDigit(b) || unicode.IsLetter(a) && unicode.IsLetter(b)
}

func key(r rune) rune {
	if k, ok := unshifted[r]; ok {
		return k
	}
	return r
}

//go:embed words.txt
var wordsText string

// commonWords are what passwords are most often made of. The list was written for this program; it is
// short, because a longer one would refuse good passphrases of ordinary words.
var commonWords = sync.OnceValue(func() [][]rune {
	var words [][]rune
	for line := range strings.Lines(wordsText) {
		for word := range strings.FieldsSeq(line) {
			words = append(words, []rune(word))
		}
	}
	return words
})
