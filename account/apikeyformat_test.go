package account

import (
	"crypto/sha256"
	"regexp"
	"strings"
	"testing"
)

func TestAPIKeyFormat(t *testing.T) {
	pattern := regexp.MustCompile(`^sp_[0-9A-Za-z]{49}$`)
	seen := map[string]bool{}
	counts := map[rune]int{}
	for range 1000 {
		key := newAPIKey()
		if !pattern.MatchString(key) || seen[key] {
			t.Fatalf("the key %s is of another form, or came twice", key)
		}
		seen[key] = true
		hash, ok := hashAPIKey(key)
		want := sha256.Sum256([]byte(key))
		if !ok || string(hash) != string(want[:]) {
			t.Fatalf("%s is kept as %x, %t", key, hash, ok)
		}
		for _, r := range key[len(keyPrefix) : keyLength-keyChecksum] {
			counts[r]++
		}
	}
	// Of 43,000 letters each of the 62 comes 694 times, give or take 26.
	for _, r := range keyAlphabet {
		if counts[r] < 500 || counts[r] > 900 {
			t.Errorf("%c comes %d times", r, counts[r])
		}
	}
}

// The checksum is that of others' tools: CRC-32 as zlib has it, in base 62, digits before capitals before
// small letters.
func TestAPIKeyChecksum(t *testing.T) {
	for text, want := range map[string]string{"": "000000", "123456789": "3jZRME", "a": "4GEHKN"} {
		if got := checksumOf(text); got != want {
			t.Errorf("of %q it is %s, want %s", text, got, want)
		}
	}
}

func TestWhatIsNoAPIKey(t *testing.T) {
	key := newAPIKey()
	swapped := []byte(key)
	for i := range swapped[:len(swapped)-1] { // the first two neighbours that differ
		if i >= len(keyPrefix) && swapped[i] != swapped[i+1] {
			swapped[i], swapped[i+1] = swapped[i+1], swapped[i]
			break
		}
	}
	for name, text := range map[string]string{
		"nothing": "", "the prefix": "sp_", "cut": key[:keyLength-1], "longer": key + "0", "a space behind": key + " ",
		"a line break behind": key + "\n", "two letters changed over": string(swapped),
		"another prefix":   "sx_" + key[len(keyPrefix):],
		"a capital prefix": strings.ToUpper(key[:3]) + key[3:],
		"another letter":   key[:10] + "-" + key[11:],
		"no ASCII":         key[:10] + "é" + key[12:],
	} {
		if _, ok := hashAPIKey(text); ok {
			t.Errorf("%s: %q is taken for a key", name, text)
		}
	}
	for i := len(keyPrefix); i < keyLength; i++ { // each letter counts
		for _, c := range []byte{'0', 'A', 'z'} {
			if key[i] != c {
				if _, ok := hashAPIKey(key[:i] + string(c) + key[i+1:]); ok {
					t.Fatalf("with the letter %d changed it is taken", i)
				}
			}
		}
	}
}

func FuzzAPIKey(f *testing.F) {
	f.Add(newAPIKey())
	f.Add("sp_")
	f.Add("spr_" + strings.Repeat("A", 43))
	f.Fuzz(func(t *testing.T, text string) {
		if _, ok := hashAPIKey(text); ok && (len(text) != keyLength || checksumOf(text[:keyLength-keyChecksum]) != text[keyLength-keyChecksum:]) {
			t.Errorf("%q is taken for a key", text)
		}
	})
}
