package config

import (
	"slices"
	"strings"
)

// ordinary are variables of other programs that happen to be near one of ours.
var ordinary = []string{"SSL_CERT_FILE"}

// findNearMisses warns about variables that nobody reads and that were probably meant to be read: a
// mistyped name leaves the default in force, silently.
func (r *reading) findNearMisses() {
	known := map[string]bool{credentialsDirectory: true}
	var plain []string
	eachVariable(func(v variable) {
		known[v.Name] = true
		if v.kind != nil {
			known[v.Name+"_FILE"] = true
		} else {
			plain = append(plain, v.Name+"_FILE")
		}
	})
	names := sortedKeys(known)
	for _, name := range sortedKeys(r.env) {
		switch {
		case known[name], slices.Contains(ordinary, name):
		case slices.Contains(plain, name):
			r.warn("%s is not read: %s is no secret and comes only as itself", name, strings.TrimSuffix(name, "_FILE"))
		default:
			if near := nearest(name, names); near != "" {
				r.warn("%s is not read; is %s meant?", name, near)
			}
		}
	}
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// nearest gives the known name that a name is a near miss of, or "".
func nearest(name string, known []string) string {
	best, least := "", 3
	plain := squeezed(name)
	for _, k := range known {
		if plain == squeezed(k) {
			return k
		}
		if d := mistakes(name, k); d < least && d <= forgiven(name, k) {
			best, least = k, d
		}
	}
	return best
}

// squeezed is a name without its case and without what stands between its words.
func squeezed(name string) string {
	b := make([]byte, 0, 64)
	for i := range len(name) {
		switch c := name[i]; {
		case c >= 'a' && c <= 'z':
			b = append(b, c-'a'+'A')
		case c != '_' && c != '-' && c != '.':
			b = append(b, c)
		}
	}
	return string(b)
}

// forgiven is how many mistakes make a name a near miss of a known one. Short names have many
// neighbours among ordinary variables (HOST, HOME, POST), so of theirs only two letters changed over
// count; names of up to eight letters may have one mistake, longer ones two.
func forgiven(name, known string) int {
	switch {
	case len(known) <= 4 && !sameLetters(strings.ToUpper(name), known):
		return 0
	case len(known) <= 8:
		return 1
	}
	return 2
}

func sameLetters(a, b string) bool {
	x, y := []byte(a), []byte(b)
	slices.Sort(x)
	slices.Sort(y)
	return string(x) == string(y)
}

const (
	longestName = 63
	many        = longestName + 1 // mistakes, when they need not be counted
)

// mistakes counts the single ones between a name, in whatever case, and a known one: a letter too
// many, one missing, another one, or two neighbours changed over (Damerau–Levenshtein, without
// editing a place twice). It gives many where the lengths alone make more than two. It runs for every
// pair of a variable of the environment and a known one at each start, hence rows and not a table.
func mistakes(name, known string) int {
	if diff := len(name) - len(known); diff > 2 || diff < -2 || max(len(name), len(known)) > longestName {
		return many
	}
	name = strings.ToUpper(name)
	var rows [3][longestName + 1]int // what came before the last letter of name, before this one, and now
	before, last, now := &rows[0], &rows[1], &rows[2]
	for j := range len(known) + 1 {
		last[j] = j
	}
	for i := 1; i <= len(name); i++ {
		now[0] = i
		for j := 1; j <= len(known); j++ {
			other := 1
			if name[i-1] == known[j-1] {
				other = 0
			}
			now[j] = min(last[j]+1, now[j-1]+1, last[j-1]+other)
			if i > 1 && j > 1 && name[i-1] == known[j-2] && name[i-2] == known[j-1] {
				now[j] = min(now[j], before[j-2]+1)
			}
		}
		before, last, now = last, now, before
	}
	return last[len(known)]
}
