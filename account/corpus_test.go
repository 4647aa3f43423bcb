package account

import (
	"math"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/trustelem/zxcvbn"
)

// corpus reads passwords, one a line.
func corpus(t testing.TB, name string) []string {
	t.Helper()
	b, err := os.ReadFile("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Split(strings.TrimSuffix(string(b), "\n"), "\n")
}

// Passphrases with separators, what password managers make, and what people think of who take care: all
// of them keep the runbook's composition, and none is refused.
func TestGoodPasswordsAreAccepted(t *testing.T) {
	good := corpus(t, "good.txt")
	if len(good) < 200 {
		t.Fatalf("only %d", len(good))
	}
	for _, p := range good {
		if got := codes(CheckPassword(p, 12, "Ada Lovelace", adminEmail)); got != nil {
			t.Errorf("%q is refused: %v (10^%.1f guesses)", p, got, math.Log10(estimate(p, nil)))
		}
	}
}

// Composition rules make people write these. Each keeps them all, and is refused for its pattern.
func TestWeakPasswordsAreRefused(t *testing.T) {
	weak := corpus(t, "weak.txt")
	if len(weak) < 200 {
		t.Fatalf("only %d", len(weak))
	}
	for _, p := range weak {
		if got := codes(CheckPassword(p, 12)); !slices.Equal(got, []string{WeakPattern}) {
			t.Errorf("%q: %v (10^%.1f guesses)", p, got, math.Log10(estimate(p, nil)))
		}
	}
}

// Our estimate against a port of zxcvbn that others wrote, whose lists are shorter and whose reading of
// dates and leet is not ours: they differ, but not by much, and not on what is good.
func TestEstimateAgainstAnotherPort(t *testing.T) {
	var apart []float64
	for _, p := range append(corpus(t, "good.txt"), corpus(t, "weak.txt")...) {
		if len(p) > maxGuessed || strings.ContainsFunc(p, func(r rune) bool { return r > 0x7e }) {
			continue // it counts bytes
		}
		ours, theirs := math.Log10(estimate(p, nil)), math.Log10(zxcvbn.PasswordStrength(p, nil).Guesses)
		apart = append(apart, math.Abs(ours-theirs))
		if ours > theirs+2 {
			t.Errorf("%q: we say 10^%.1f, they say 10^%.1f", p, ours, theirs)
		}
	}
	slices.Sort(apart)
	t.Logf("apart by a median of 10^%.2f, at most 10^%.2f", apart[len(apart)/2], apart[len(apart)-1])
	if median := apart[len(apart)/2]; median > 0.5 {
		t.Errorf("the median is %.2f", median)
	}
	for _, p := range corpus(t, "good.txt") {
		if r := zxcvbn.PasswordStrength(p, nil); r.Score < 4 {
			t.Errorf("%q is good to us, and a %d to them", p, r.Score)
		}
	}
}
