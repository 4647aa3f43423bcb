package config

import (
	"encoding/hex"
	"slices"
	"strings"
)

// samples are whole values that stand in specifications and in other programs' example files. Most of
// what people copy is caught by the phrases below; these have none in them.
var samples = []string{
	"a-string-secret-at-least-256-bits-long", // jwt.io
	"a-valid-string-secret-that-is-at-least-512-bits-long-which-is-very-long",
	"AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcUuTwjAzZr1Z9CAow", // RFC 7515, A.1
	"qwertyuiopasdfghjklzxcvbnm123456",
	"thisisasecretkeythatisatleast32characterslong",
	"this-is-a-secret-key-that-is-at-least-32-characters-long",
}

// sampleKeys are the secret keys of RFC 8032, section 7.1, tests 1 to 3.
var sampleKeys = []string{
	"9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
	"4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
	"c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
}

// phrases are what placeholders say, in small letters without anything between the words. In a random
// value of 44 base64 characters, a given phrase of six letters stands with a chance below 10⁻⁷.
var phrases = []string{
	"changeme", "changeit", "changethis", "replaceme", "replacethis", "replacewith", "placeholder",
	"yoursecret", "yourjwt", "yoursuper", "yourkey", "yourownsecret", "your256bit", "your512bit",
	"supersecret", "topsecret", "mysecret", "notasecret", "notsosecret", "insecure", "donotuse",
	"example", "sample", "keyboardcat", "correcthorsebattery",
}

// isSample tells whether a secret is one that others know, or can find by trying patterns.
func isSample(value string) bool {
	if slices.ContainsFunc(samples, func(s string) bool { return strings.EqualFold(s, value) }) ||
		slices.Contains(sampleKeys, hex.EncodeToString([]byte(value))) {
		return true
	}
	words := lettersAndDigits(value)
	return slices.ContainsFunc(phrases, func(p string) bool { return strings.Contains(words, p) }) || isPattern(value)
}

// lettersAndDigits makes SuperSecret, super-secret and super_secret one word.
func lettersAndDigits(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9':
			return r
		case r >= 'A' && r <= 'Z':
			return r + ('a' - 'A')
		}
		return -1
	}, s)
}

// isPattern finds values without chance in them: few different bytes, one piece over and over (a key
// of zeros, an address of hex digits twice), or mostly runs such as 0123456789 and abcdef.
func isPattern(s string) bool {
	different := map[byte]bool{}
	for i := range len(s) {
		different[s[i]] = true
	}
	if len(different) < 5 {
		return true
	}
	for period := 1; period <= len(s)/2; period++ {
		if s[period:] == s[:len(s)-period] {
			return true
		}
	}
	steady := 0 // places where the step from byte to byte stays what it was
	for i := 2; i < len(s); i++ {
		if s[i]-s[i-1] == s[i-1]-s[i-2] {
			steady++
		}
	}
	return 2*steady >= len(s)
}
