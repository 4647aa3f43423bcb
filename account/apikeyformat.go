package account

import (
	"crypto/rand"
	"crypto/sha256"
	"hash/crc32"
	"strings"
)

// An API key reads sp_ and 49 letters and digits: 43 at random, which are 256 bits, and a checksum of all
// that is before it in the last six. So a scanner finds one in a log or a repository by a pattern
// (sp_[0-9A-Za-z]{49}) and knows by the checksum that it is none by chance, and one that was cut or
// mistyped is refused without a look into the database (decision 13). The checksum is no secret.
const (
	keyPrefix   = "sp_"
	keyAlphabet = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	keyRandom   = 43 // characters: 62^43 is more than 2^256
	keyChecksum = 6  // 62^6 is more than 2^32
	keyLength   = len(keyPrefix) + keyRandom + keyChecksum
	keyHint     = len(keyPrefix) + 4 // how much of a key is shown later
)

// newAPIKey makes a key. Bytes that are no multiple of the alphabet's size are drawn anew, so that each
// letter is as likely as any other.
func newAPIKey() string {
	const fair = 256 - 256%len(keyAlphabet)
	text := make([]byte, 0, keyLength)
	text = append(text, keyPrefix...)
	var b [64]byte
	for len(text) < len(keyPrefix)+keyRandom {
		_, _ = rand.Read(b[:])
		for _, c := range b {
			if int(c) < fair && len(text) < len(keyPrefix)+keyRandom {
				text = append(text, keyAlphabet[int(c)%len(keyAlphabet)])
			}
		}
	}
	return string(text) + checksumOf(string(text))
}

// checksumOf is the CRC-32 (IEEE) of a text in six digits of the alphabet.
func checksumOf(text string) string {
	var digits [keyChecksum]byte
	sum := crc32.ChecksumIEEE([]byte(text))
	for i := range digits {
		digits[keyChecksum-1-i] = keyAlphabet[sum%uint32(len(keyAlphabet))]
		sum /= uint32(len(keyAlphabet))
	}
	return string(digits[:])
}

// hashAPIKey gives what a key is kept as, and false for what is no key: another length, another letter, a
// checksum that does not fit.
func hashAPIKey(key string) ([]byte, bool) {
	if len(key) != keyLength || !strings.HasPrefix(key, keyPrefix) {
		return nil, false
	}
	if strings.Trim(key[len(keyPrefix):], keyAlphabet) != "" || checksumOf(key[:keyLength-keyChecksum]) != key[keyLength-keyChecksum:] {
		return nil, false
	}
	hash := sha256.Sum256([]byte(key))
	return hash[:], true
}
