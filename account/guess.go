package account

import "math"

// guesses estimates how many guesses a password takes, by the method of zxcvbn (Wheeler, USENIX Security
// 2016): all the pieces of it that an attacker tries first are looked for (guesspiece.go); of the ways to
// put it together from pieces, and from characters that are in none, the one that is guessed first counts.
// A sequence of l pieces costs l! · (the product of their guesses) + 10,000^(l-1).
//
// The method is here and not as a module, because the modules read their word lists whenever the program
// starts: see docs/decisions/0014-password-policy.md. One is asked for its opinion in the tests.
const (
	bruteforceBase  = 10 // guesses for a character that is in no piece
	sequencePenalty = 10_000
	minPieceSingle  = 10 // of a piece that is not the whole
	minPieceMany    = 50
)

// piece is a part of a password that is guessed as one.
type piece struct {
	from, to int // characters [from, to)
	guesses  float64
}

// leastGuesses is the search over all sequences of pieces.
func leastGuesses(n int, pieces []piece) float64 {
	if n == 0 {
		return 1
	}
	ending := make([][]piece, n+1)
	for _, p := range pieces {
		if p.to-p.from < n {
			least := float64(minPieceMany)
			if p.to-p.from == 1 {
				least = minPieceSingle
			}
			p.guesses = max(p.guesses, least)
		}
		ending[p.to] = append(ending[p.to], p)
	}
	s := search{best: make([][]sequence, n+1)}
	s.best[0] = []sequence{{product: 1}}
	for to := 1; to <= n; to++ {
		s.best[to] = make([]sequence, to+1)
		for _, p := range ending[to] {
			for l, before := range s.best[p.from] {
				s.consider(to, l+1, sequence{product: before.product * p.guesses, found: true}, before.is(p.from))
			}
		}
		for from := range to {
			brute := math.Pow(bruteforceBase, float64(to-from))
			least := float64(minPieceMany + 1)
			if to-from == 1 {
				least = minPieceSingle + 1
			}
			brute = max(brute, least)
			for l, before := range s.best[from] {
				// Two runs of plain characters side by side are one.
				s.consider(to, l+1, sequence{product: before.product * brute, found: true, brute: true}, before.is(from) && !before.brute)
			}
		}
	}
	least := math.Inf(1)
	for l, q := range s.best[n] {
		if q.found {
			least = min(least, cost(l, q.product))
		}
	}
	return least
}

// sequence is the best way found to put a beginning together from so many pieces.
type sequence struct {
	product float64
	found   bool
	brute   bool // its last piece is plain characters
}

// is tells whether a sequence is one: the empty one is, of nothing.
func (q sequence) is(length int) bool { return q.found || length == 0 }

type search struct{ best [][]sequence } // by length of the beginning, then by pieces

func (s *search) consider(to, l int, q sequence, possible bool) {
	if !possible || l >= len(s.best[to]) {
		return
	}
	if old := s.best[to][l]; !old.found || q.product < old.product {
		s.best[to][l] = q
	}
}

// cost is what a sequence of l pieces takes.
func cost(l int, product float64) float64 {
	return math.Gamma(float64(l+1))*product + math.Pow(sequencePenalty, float64(l-1))
}
