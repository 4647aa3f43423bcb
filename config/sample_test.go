package config

import (
	"crypto/ed25519"
	"encoding/base64"
	"encoding/hex"
	"strings"
	"testing"
)

func TestIsSample(t *testing.T) {
	ascending := make([]byte, 32)
	for i := range ascending {
		ascending[i] = byte(i)
	}
	for _, value := range []string{
		"your-256-bit-secret-your-256-bit-secret",
		"Change Me Please, I am 32 bytes long",
		"change_me_in_production_1234567890ab",
		"super-secret-jwt-token-with-at-least-32-characters-long",
		"django-insecure-0s8d7f9s8d7f98sd7f98",
		"A-String-Secret-At-Least-256-Bits-Long",
		"AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcUuTwjAzZr1Z9CAow",
		"<placeholder: 32 bytes from the vault>",
		strings.Repeat("x", 32),
		strings.Repeat("ab", 16),
		strings.Repeat("secret", 6),
		"0123456789abcdef0123456789abcdef",
		"12345678901234567890123456789012",
		"abcdefghijklmnopqrstuvwxyz012345",
		"zyxwvutsrqponmlkjihgfedcba987654",
		string(make([]byte, 32)),
		strings.Repeat("\xff", 32),
		string(ascending),
	} {
		if !isSample(value) {
			t.Errorf("%q is not found", value)
		}
	}
}

// The samples of RFC 8032 are the real ones: they make the public keys that stand there.
func TestSampleKeysAreTheRFCs(t *testing.T) {
	for i, public := range []string{
		"d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
		"3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
		"fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
	} {
		seed, err := hex.DecodeString(sampleKeys[i])
		if err != nil {
			t.Fatal(err)
		}
		if got := hex.EncodeToString(ed25519.NewKeyFromSeed(seed).Public().(ed25519.PublicKey)); got != public {
			t.Errorf("test %d: got %s, want %s", i+1, got, public)
		}
		if !isSample(string(seed)) {
			t.Errorf("test %d is not found", i+1)
		}
	}
}

// A gate that refuses good secrets would be opened by hand. Every usual way of making one must pass.
func TestRandomIsNoSample(t *testing.T) {
	for range 5000 {
		b := random32()
		for form, value := range map[string]string{
			"raw": string(b), "hex": hex.EncodeToString(b), "base64": base64.StdEncoding.EncodeToString(b),
			"half in hex": hex.EncodeToString(b[:16]), "token": hex.EncodeToString(b[:8]), "for URLs": base64.RawURLEncoding.EncodeToString(b),
		} {
			if isSample(value) {
				t.Errorf("%s: %q is taken for a sample", form, value)
			}
		}
	}
	for _, value := range []string{"production-jwt-signing-key-2024-rotation-7", "the walrus hums at 4 over blue gravel roads"} {
		if isSample(value) {
			t.Errorf("%q is taken for a sample", value)
		}
	}
}
