package config

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
)

// secretKind is what a secret may be. Its errors are shown, so they tell lengths and never content.
type secretKind struct {
	decode   func(text string, production bool) ([]byte, error)
	keying   bool // must not be guessable: in production a known sample is refused
	required bool // in production
	previous bool // of a rotation: it comes and goes, so an empty file means that there is none

	// Secrets that nobody has set are kept in the data directory's secrets: outside production the
	// keys, so that a first run needs no configuration; in production only what protects the first
	// account, which exists before anybody can have set it.
	kept     func(production bool) bool
	generate func() string
}

const (
	keyBytes      = 32 // RFC 7518, section 3.2, for HS256; AES-256; RFC 8032, section 5.1.5
	tokenMinBytes = 16
	howToMake     = "make one with: openssl rand -base64 32"
)

func outsideProduction(production bool) bool { return !production }
func inProduction(production bool) bool      { return production }
func never(bool) bool                        { return false }

var (
	signingText = secretKind{decode: longText, keying: true, required: true, kept: outsideProduction, generate: randomKey}
	key32       = secretKind{decode: base64Key, keying: true, required: true, kept: outsideProduction, generate: randomKey}

	previousText = secretKind{decode: longText, keying: true, previous: true, kept: outsideProduction}
	previousKey  = secretKind{decode: base64Key, keying: true, previous: true, kept: outsideProduction}

	headerToken = secretKind{decode: token(tokenMinBytes), keying: true, kept: inProduction, generate: randomToken}
	apiKey      = secretKind{decode: token(1), kept: never}
	databaseURL = secretKind{decode: checkDatabaseURL, kept: never}
	webhookURL  = secretKind{decode: checkWebhookURL, kept: never}

	webhookSecret = secretKind{decode: signingSecret, keying: true, kept: never}
)

var (
	errUnclean = errors.New("a value with white space around it or with control characters in it")
	errSample  = errors.New("a known sample value or a pattern, which anybody can guess")
)

// read checks and decodes the text of a secret.
func (k *secretKind) read(text string, production bool) ([]byte, error) {
	if clean(text) != nil {
		return nil, errUnclean
	}
	value, err := k.decode(text, production)
	if err != nil {
		return nil, err
	}
	if production && k.guessable(text, value) {
		return nil, errSample
	}
	return value, nil
}

func (k *secretKind) guessable(text string, value []byte) bool {
	return k.keying && (isSample(text) || isSample(string(value)))
}

func longText(text string, _ bool) ([]byte, error) {
	if len(text) < keyBytes {
		return nil, errors.New(bytesOf(text))
	}
	return []byte(text), nil
}

func base64Key(text string, _ bool) ([]byte, error) {
	key, err := base64.StdEncoding.Strict().DecodeString(text)
	switch {
	case err != nil && strings.ContainsAny(text, "-_"):
		return nil, errors.New(bytesOf(text) + " in the URL's base64, not the standard one")
	case err != nil:
		return nil, errors.New(bytesOf(text) + " that are not base64 with its padding")
	case len(key) != keyBytes:
		return nil, errors.New("base64 of " + bytesOf(string(key)))
	}
	return key, nil
}

// token takes what can stand in an HTTP header as it is.
func token(atLeast int) func(string, bool) ([]byte, error) {
	return func(text string, _ bool) ([]byte, error) {
		if strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r > '~' }) {
			return nil, errors.New("characters that an HTTP header cannot carry")
		}
		if len(text) < atLeast {
			return nil, errors.New(bytesOf(text))
		}
		return []byte(text), nil
	}
}

func checkWebhookURL(text string, production bool) ([]byte, error) {
	u, err := webURL(text)
	switch {
	case errors.Is(err, errWrong):
		return nil, errors.New(bytesOf(text) + " that are no http or https URL")
	case err != nil:
		return nil, fmt.Errorf("a URL with %w", err)
	case production && u.Scheme != "https":
		return nil, errors.New("a URL that is not https")
	}
	return []byte(text), nil
}

// signingSecret decodes a secret of Standard Webhooks.
func signingSecret(text string, _ bool) ([]byte, error) {
	encoded, ok := strings.CutPrefix(text, "whsec_")
	key, err := base64.StdEncoding.Strict().DecodeString(encoded)
	switch {
	case !ok:
		return nil, errors.New(bytesOf(text) + " that do not begin with whsec_")
	case err != nil:
		return nil, errors.New("whsec_ and " + bytesOf(encoded) + " that are not base64 with its padding")
	case len(key) < 24 || len(key) > 64:
		return nil, errors.New("whsec_ and base64 of " + bytesOf(string(key)))
	}
	return key, nil
}

func random32() []byte {
	b := make([]byte, keyBytes)
	_, _ = rand.Read(b) // it never fails: it ends the program instead
	return b
}

func randomKey() string   { return base64.StdEncoding.EncodeToString(random32()) }
func randomToken() string { return base64.RawURLEncoding.EncodeToString(random32()) }
