// Package keys derives what the program needs from the three secrets that an operator keeps
// (JWT_SECRET, DATA_ENCRYPTION_KEY, AUDIT_SIGNING_KEY), and encrypts what is kept at rest.
//
// A secret in use has a random id, never derived from the secret itself, that goes with what it
// signed or encrypted, so that a rotation can tell the current from the previous. Each use has an
// HKDF label of its own (labels.go).
package keys

import (
	"bytes"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/chacha20poly1305"
)

// IDBytes is the length of a key's id; its text form is twice as long, in hex.
const IDBytes = 8

// NewID makes a random id for a key, in hex.
func NewID() string {
	b := make([]byte, IDBytes)
	_, _ = rand.Read(b) // never fails: crypto/rand ends the program instead
	return hex.EncodeToString(b)
}

// Key is one secret with its id. What is secret about it is behind a pointer that fmt does not follow,
// so that no way of printing a key, nor of anything that holds one, shows it.
type Key struct {
	ID string
	*material
}

type material struct {
	secret  []byte
	mu      sync.RWMutex
	derived map[Purpose][]byte
}

// NewKey makes a key of a secret. The id is 16 hex digits.
func NewKey(id string, secret []byte) *Key {
	return &Key{ID: id, material: &material{secret: bytes.Clone(secret), derived: map[Purpose][]byte{}}}
}

// Secret is the secret itself, for the one key that is used as it is (the Ed25519 seed). It is not to
// be changed.
func (k *Key) Secret() []byte { return k.secret }

// Derive gives the 32-byte key of a purpose: HKDF-SHA256 (RFC 5869) of the secret, without a salt, with
// the purpose as its info. It is not to be changed.
func (k *Key) Derive(p Purpose) []byte {
	k.mu.RLock()
	sub := k.derived[p]
	k.mu.RUnlock()
	if sub != nil {
		return sub
	}
	sub, err := hkdf.Key(sha256.New, k.secret, nil, string(p), 32)
	if err != nil {
		panic(err) // the length is a constant that SHA-256 allows
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.derived[p] = sub
	return sub
}

// Format prints a key's id, whatever the verb.
func (k Key) Format(f fmt.State, _ rune) { _, _ = fmt.Fprintf(f, "key %s", k.ID) }

// LogValue gives a log the id.
func (k Key) LogValue() slog.Value { return slog.StringValue("key " + k.ID) }

// Ring is a secret in use and the one before it. It can be replaced while it is used.
type Ring struct{ state atomic.Pointer[ringState] }

type ringState struct {
	current, previous *Key
	until             time.Time // the end of the previous key's window; zero: it has none
}

// NewRing makes a ring; previous may be nil.
func NewRing(current, previous *Key) *Ring {
	r := &Ring{}
	r.Replace(current, previous)
	return r
}

// Replace puts other keys in the ring.
func (r *Ring) Replace(current, previous *Key) {
	r.state.Store(&ringState{current: current, previous: previous})
}

// Current is the key that signs and encrypts.
func (r *Ring) Current() *Key { return r.state.Load().current }

// Previous is the key that still verifies and decrypts, or nil.
func (r *Ring) Previous() *Key { return r.state.Load().previous }

// Find gives the key with an id, or nil.
func (r *Ring) Find(id string) *Key {
	s := r.state.Load()
	switch {
	case s.current != nil && s.current.ID == id:
		return s.current
	case s.previous != nil && s.previous.ID == id:
		return s.previous
	}
	return nil
}

// Set is the three rings of a running program.
type Set struct{ JWT, Data, Audit *Ring }

// ErrCannotDecrypt says that a value was not encrypted by a key of this ring for this purpose and
// place, or has been changed since.
var ErrCannotDecrypt = errors.New("cannot decrypt: another key, another place, or a changed value")

const boxVersion = 1

// Encrypt seals a value with XChaCha20-Poly1305 under the ring's current key. The place (a row's id,
// say) is authenticated and not stored, so a value cannot be moved to another row. The form is
// version (1 byte), key id (8), nonce (24), ciphertext and tag.
func (r *Ring) Encrypt(p Purpose, place string, value []byte) ([]byte, error) {
	key := r.Current()
	if key == nil {
		return nil, errors.New("encrypt: there is no key")
	}
	id, err := hex.DecodeString(key.ID)
	if err != nil || len(id) != IDBytes {
		return nil, fmt.Errorf("encrypt: key id %q is not %d bytes of hex", key.ID, IDBytes)
	}
	aead, err := chacha20poly1305.NewX(key.Derive(p))
	if err != nil {
		return nil, fmt.Errorf("encrypt: %w", err)
	}
	head := 1 + IDBytes + chacha20poly1305.NonceSizeX
	box := make([]byte, head, head+len(value)+chacha20poly1305.Overhead)
	box[0] = boxVersion
	copy(box[1:], id)
	nonce := box[1+IDBytes : head]
	_, _ = rand.Read(nonce)
	return aead.Seal(box, nonce, value, []byte(place)), nil
}

// Decrypt opens what Encrypt made, with the current or the previous key. ErrCannotDecrypt.
func (r *Ring) Decrypt(p Purpose, place string, box []byte) ([]byte, error) {
	head := 1 + IDBytes + chacha20poly1305.NonceSizeX
	if len(box) < head+chacha20poly1305.Overhead || box[0] != boxVersion {
		return nil, ErrCannotDecrypt
	}
	key := r.Find(hex.EncodeToString(box[1 : 1+IDBytes]))
	if key == nil {
		return nil, ErrCannotDecrypt
	}
	aead, err := chacha20poly1305.NewX(key.Derive(p))
	if err != nil {
		return nil, fmt.Errorf("decrypt: %w", err)
	}
	value, err := aead.Open(nil, box[1+IDBytes:head], box[head:], []byte(place))
	if err != nil {
		return nil, ErrCannotDecrypt
	}
	return value, nil
}
