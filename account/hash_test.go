package account

import (
	"context"
	"errors"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"testing"

	"golang.org/x/crypto/argon2"

	"sealpost/fault"
)

func TestHashAndVerify(t *testing.T) {
	h := newHasher(currentParams, 2)
	ctx := t.Context()
	long := strings.Repeat("x", 80)
	phc, err := h.hash(ctx, long+"a")
	if err != nil {
		t.Fatal(err)
	}
	form := regexp.MustCompile(`^\$argon2id\$v=19\$m=19456,t=2,p=1\$[A-Za-z0-9+/]{22}\$[A-Za-z0-9+/]{43}$`)
	if !form.MatchString(phc) {
		t.Errorf("the hash is %q", phc)
	}
	other, err := h.hash(ctx, long+"a")
	if err != nil || other == phc {
		t.Errorf("the same password twice has the same hash, or %v", err)
	}
	composed, err := h.hash(ctx, "u\u0308")
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name, phc, password string
		want                bool
	}{
		{"right", phc, long + "a", true},
		{"wrong behind byte 72", phc, long + "b", false},
		{"empty", phc, "", false},
		{"NFC and NFD are one", composed, "\u00fc", true},
		{"no account", "", long + "a", false},
		{"the dummy", h.dummy, "", false},
	} {
		if got, err := h.verify(ctx, tt.phc, tt.password); got != tt.want || err != nil {
			t.Errorf("%s: %v, %v", tt.name, got, err)
		}
	}
}

func TestDecodePHC(t *testing.T) {
	salt, hash := strings.Repeat("A", 22), strings.Repeat("A", 43)
	for _, tt := range []struct {
		phc  string
		good bool
	}{
		{"$argon2id$v=19$m=19456,t=2,p=1$" + salt + "$" + hash, true},
		{"$argon2id$v=19$m=65536,t=8,p=4$" + salt + "$" + hash, true},
		{"$argon2id$v=19$m=65537,t=2,p=1$" + salt + "$" + hash, false},
		{"$argon2id$v=19$m=19456,t=9,p=1$" + salt + "$" + hash, false},
		{"$argon2id$v=19$m=19456,t=2,p=5$" + salt + "$" + hash, false},
		{"$argon2id$v=19$m=19456,t=0,p=1$" + salt + "$" + hash, false},
		{"$argon2id$v=19$m=19456,t=2,p=0$" + salt + "$" + hash, false},
		{"$argon2id$v=19$m=19456,t=2,p=1x$" + salt + "$" + hash, false},
		{"$argon2id$v=16$m=19456,t=2,p=1$" + salt + "$" + hash, false},
		{"$argon2i$v=19$m=19456,t=2,p=1$" + salt + "$" + hash, false},
		{"$argon2id$v=19$m=19456,t=2,p=1$" + salt + "$", false},
		{"$argon2id$v=19$m=19456,t=2,p=1$" + salt + "$" + hash + "=", false},
		{"$2b$12$" + salt + hash, false},
		{"", false},
	} {
		if _, _, _, err := decodePHC(tt.phc); (err == nil) != tt.good {
			t.Errorf("decodePHC(%q): %v", tt.phc, err)
		}
	}
}

// The known answer is RFC 9106's algorithm through the library, with our parameters, so that a change
// of them, which would lock everybody out, is seen.
func TestKnownHash(t *testing.T) {
	salt := []byte("0123456789abcdef")
	phc := encodePHC(currentParams, salt, argon2.IDKey([]byte("vK8#qLw2!nPz"), salt, 2, 19456, 1, 32))
	if ok, err := newHasher(currentParams, 1).verify(t.Context(), phc, "vK8#qLw2!nPz"); !ok || err != nil {
		t.Errorf("%v, %v", ok, err)
	}
}

func TestQueueIsShort(t *testing.T) {
	h := newHasher(currentParams, 1)
	release, err := h.take(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for range queuePerSlot {
		wg.Go(func() {
			if _, err := h.take(ctx); !errors.Is(err, context.Canceled) {
				t.Errorf("who waited and went away got %v", err)
			}
		})
	}
	for h.waiting.Load() < queuePerSlot {
		runtime.Gosched()
	}
	_, err = h.take(t.Context())
	if f, ok := errors.AsType[*fault.Error](err); !ok || f.Kind != fault.Unavailable || f.RetryAfter <= 0 {
		t.Errorf("past the queue: %v", err)
	}
	cancel()
	wg.Wait()
	release()
	if release, err = h.take(t.Context()); err != nil {
		t.Fatalf("a free slot is not given: %v", err)
	}
	release()
}
