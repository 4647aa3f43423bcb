package account

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"strings"
)

// Opaque tokens are 256 random bits behind a prefix that says what they are for. Each kind is looked
// up in its own table by its SHA-256, which is enough for something that cannot be guessed.
const (
	refreshPrefix    = "spr_"
	enrollmentPrefix = "spe_"
	pagePrefix       = "spp_"
	resetPrefix      = "spw_"
	opaqueBytes      = 32
)

func newOpaque(prefix string) string {
	b := make([]byte, opaqueBytes)
	_, _ = rand.Read(b)
	return writeOpaque(prefix, b)
}

func writeOpaque(prefix string, value []byte) string {
	return prefix + base64.RawURLEncoding.EncodeToString(value)
}

// hashOpaque gives what a token is kept as, and false for what is no token of this kind.
func hashOpaque(prefix, token string) ([]byte, bool) {
	text, ok := strings.CutPrefix(token, prefix)
	if !ok || strings.ContainsAny(text, "\r\n") {
		return nil, false
	}
	value, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil || len(value) != opaqueBytes {
		return nil, false
	}
	hash := sha256.Sum256([]byte(token))
	return hash[:], true
}
