package account

import (
	"math"
	"strings"
	"unicode"
)

// maxGuessed is how many characters of a password are estimated: what comes after them can only add.
const maxGuessed = 64

// minGuesses is what a password must take: zxcvbn's best score. An attacker who has stolen the argon2id
// hash and a machine like ours needs some eight years for 10^10.
const minGuesses = 1e10

// guessesNeeded is minGuesses, or what that many characters without any pattern take: where
// PASSWORD_MIN_LENGTH is 8, as it may be outside production, eight of them are enough.
func guessesNeeded(length int) float64 {
	return min(minGuesses, math.Pow(bruteforceBase, float64(length)))
}

// estimate gives the guesses that a password takes. own are words about its user, which are guessed first.
func estimate(password string, own [][]rune) float64 {
	cased := unmarked(password)
	return estimateRunes(cased[:min(len(cased), maxGuessed)], own)
}

func estimateRunes(cased []rune, own [][]rune) float64 {
	t := newGuessed(cased)
	var pieces []piece
	pieces = t.words(pieces, own)
	pieces = t.repeats(pieces, own)
	pieces = t.sequences(pieces)
	pieces = t.walks(pieces)
	pieces = t.dates(pieces)
	return leastGuesses(len(cased), pieces)
}

// guessed is a text in the forms in which pieces are looked for.
type guessed struct {
	cased, lower []rune
	leet         [2][]rune
	swaps        [2][]int // swaps[w][i]: how many of the first i characters another letter is read for
}

func newGuessed(cased []rune) guessed {
	t := guessed{cased: cased, lower: make([]rune, len(cased))}
	for i, r := range cased {
		t.lower[i] = unicode.ToLower(r)
	}
	for way := range t.leet {
		t.leet[way] = readLeet(t.lower, way)
		t.swaps[way] = make([]int, len(cased)+1)
		for i := range cased {
			t.swaps[way][i+1] = t.swaps[way][i]
			if t.leet[way][i] != t.lower[i] {
				t.swaps[way][i+1]++
			}
		}
	}
	return t
}

// words finds the words of the list and the user's own: as they are, with letters written as digits and
// symbols, and backwards.
func (t guessed) words(pieces []piece, own [][]rune) []piece {
	ranks := commonRanks()
	mine := make(map[string]bool, len(own))
	for _, w := range own {
		mine[string(w)] = true
	}
	var buf [4 * maxCommon]byte
	rank := func(word []rune, backwards bool) float64 {
		b := buf[:0]
		for i := range word {
			r := word[i]
			if backwards {
				r = word[len(word)-1-i]
			}
			b = append(b, string(r)...)
		}
		if mine[string(b)] {
			return 1
		}
		return float64(ranks[string(b)])
	}
	for from := range t.lower {
		for to := from + minCommon; to <= len(t.lower) && to-from <= maxCommon; to++ {
			upper := caseVariations(t.cased[from:to])
			for _, backwards := range []bool{false, true} {
				again := 1.0
				if backwards {
					again = 2
				}
				if r := rank(t.lower[from:to], backwards); r > 0 {
					pieces = append(pieces, piece{from, to, r * upper * again})
				}
				for way := range t.leet {
					swapped := t.swaps[way][to] - t.swaps[way][from]
					if swapped == 0 {
						continue
					}
					if r := rank(t.leet[way][from:to], backwards); r > 0 {
						pieces = append(pieces, piece{from, to, r * upper * again * math.Pow(2, float64(min(swapped, 4)))})
					}
				}
			}
		}
	}
	return pieces
}

// caseVariations is how many ways to write a word in capitals are tried up to this one.
func caseVariations(word []rune) float64 {
	var upper, lower int
	for _, r := range word {
		switch {
		case unicode.IsUpper(r):
			upper++
		case unicode.IsLower(r):
			lower++
		}
	}
	switch {
	case upper == 0:
		return 1
	case lower == 0, upper == 1 && (unicode.IsUpper(word[0]) || unicode.IsUpper(word[len(word)-1])):
		return 2
	}
	var sum float64
	for i := 1; i <= min(upper, lower); i++ {
		sum += binomial(upper+lower, i)
	}
	return sum
}

func binomial(n, k int) float64 {
	b := 1.0
	for i := range k {
		b = b * float64(n-i) / float64(i+1)
	}
	return b
}

// repeats finds blocks that come several times in a row. Guessing the block is guessing them all.
func (t guessed) repeats(pieces []piece, own [][]rune) []piece {
	for from := 0; from < len(t.cased)-1; {
		length, size := 0, 0
		for s := 1; from+2*s <= len(t.cased); s++ {
			n := s
			for from+n < len(t.cased) && t.cased[from+n] == t.cased[from+n-s] {
				n++
			}
			if n -= n % s; n >= 2*s && n > length {
				length, size = n, s
			}
		}
		if size == 0 {
			from++
			continue
		}
		block := estimateRunes(t.cased[from:from+size], own)
		pieces = append(pieces, piece{from, from + length, block * float64(length/size)})
		from += length
	}
	return pieces
}

// sequences finds characters at even distances: abc, 97531.
func (t guessed) sequences(pieces []piece) []piece {
	const maxStep = 5
	for from := 0; from < len(t.cased)-2; {
		step := t.cased[from+1] - t.cased[from]
		to := from + 2
		for to < len(t.cased) && t.cased[to]-t.cased[to-1] == step {
			to++
		}
		if to-from >= minRun && step != 0 && step >= -maxStep && step <= maxStep {
			base := 26.0
			switch first := t.cased[from]; {
			case strings.ContainsRune("aAzZ019", first):
				base = 4
			case isDigit(first):
				base = 10
			}
			if step < 0 {
				base *= 2
			}
			pieces = append(pieces, piece{from, to, base * float64(to-from)})
		}
		from = max(from+1, to-1)
	}
	return pieces
}

// keyboard is the US layout. Each key touches six others: its row is shifted half a key against the one
// above.
var keyboard = [4]string{"`1234567890-=", " qwertyuiop[]\\", " asdfghjkl;'", " zxcvbnm,./"}

const (
	keyboardKeys   = 47
	keyboardDegree = 4.6 // neighbours of a key, on average
)

func keyAt(r rune) (x, y int, ok bool) {
	for y, row := range keyboard {
		if x := strings.IndexRune(row, r); x >= 0 && r != ' ' {
			return x, y, true
		}
	}
	return 0, 0, false
}

// walks finds fingers going from key to neighbouring key, with how often they turn.
func (t guessed) walks(pieces []piece) []piece {
	type direction struct{ x, y int }
	keys := make([]rune, len(t.lower))
	for i, r := range t.lower {
		keys[i] = key(r)
	}
	step := func(i int) (direction, bool) {
		ax, ay, aok := keyAt(keys[i])
		bx, by, bok := keyAt(keys[i+1])
		d := direction{bx - ax, by - ay}
		switch d {
		case direction{-1, 0}, direction{1, 0}, direction{0, -1}, direction{1, -1}, direction{0, 1}, direction{-1, 1}:
			return d, aok && bok
		}
		return d, false
	}
	for from := 0; from < len(keys)-2; {
		to, turns, last := from+1, 0, direction{}
		for to < len(keys) {
			d, ok := step(to - 1)
			if !ok {
				break
			}
			if d != last {
				turns++
			}
			to, last = to+1, d
		}
		if to-from >= minRun {
			shifted := 0
			for _, r := range t.cased[from:to] {
				if _, symbol := unshifted[r]; symbol || unicode.IsUpper(r) {
					shifted++
				}
			}
			pieces = append(pieces, piece{from, to, walkGuesses(to-from, turns, shifted)})
		}
		from = max(from+1, to-1)
	}
	return pieces
}

// walkGuesses is how many walks there are of at most this length and so many turns, with as many keys
// held in shift.
func walkGuesses(length, turns, shifted int) float64 {
	var g float64
	for l := 2; l <= length; l++ {
		for n := 1; n <= min(turns, l-1); n++ {
			g += binomial(l-1, n-1) * keyboardKeys * math.Pow(keyboardDegree, float64(n))
		}
	}
	switch plain := length - shifted; {
	case shifted == 0:
		return g
	case plain == 0:
		return 2 * g
	default:
		var variations float64
		for i := 1; i <= min(shifted, plain); i++ {
			variations += binomial(length, i)
		}
		return g * variations
	}
}

const (
	yearGuesses = 50       // years that people write are close to now
	dateGuesses = 365 * 50 // days of such years
)

// dates finds years, and days written as 24121987, 241287, 24.12.1987 or in another order.
func (t guessed) dates(pieces []piece) []piece {
	for from := range t.lower {
		if isYear(t.lower[from:]) {
			pieces = append(pieces, piece{from, from + 4, yearGuesses})
		}
		for _, form := range dateForms {
			if to := from + len(form); to <= len(t.lower) && isDate(t.lower[from:to], form) {
				g := float64(dateGuesses)
				if strings.ContainsRune(form, '.') {
					g *= 4
				}
				pieces = append(pieces, piece{from, to, g})
			}
		}
	}
	return pieces
}

// dateForms are orders of day, month and year; a point is any of the usual signs between them.
var dateForms = []string{
	"ddmmyyyy", "mmddyyyy", "yyyymmdd", "ddmmyy", "mmddyy", "yymmdd",
	"dd.mm.yyyy", "mm.dd.yyyy", "yyyy.mm.dd", "dd.mm.yy", "mm.dd.yy", "yy.mm.dd",
}

func isDate(runes []rune, form string) bool {
	var day, month int
	for i, f := range form {
		r := runes[i]
		switch {
		case f == '.':
			if !strings.ContainsRune("./-_", r) {
				return false
			}
			continue
		case !isDigit(r):
			return false
		case f == 'd':
			day = day*10 + int(r-'0')
		case f == 'm':
			month = month*10 + int(r-'0')
		}
	}
	if at := strings.Index(form, "yyyy"); at >= 0 && !isYear(runes[at:]) {
		return false
	}
	return day >= 1 && day <= 31 && month >= 1 && month <= 12
}
