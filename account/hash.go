package account

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/argon2"
	"golang.org/x/text/unicode/norm"

	"sealpost/fault"
)

// hashParams are what argon2id is run with. New hashes use the ones that OWASP's Password Storage
// Cheat Sheet gives first for one lane; old hashes carry their own.
type hashParams struct {
	memory uint32 // KiB
	time   uint32
	lanes  uint8
}

var currentParams = hashParams{memory: 19 * 1024, time: 2, lanes: 1}

// What a stored hash may ask for at most, so that a row that was tampered with cannot take the memory.
var maxParams = hashParams{memory: 64 * 1024, time: 8, lanes: 4}

const (
	saltLength = 16
	hashLength = 32
	// queuePerSlot is how many may wait for each slot. A hash takes some 25 ms, so the last in the
	// queue waits about two seconds; whoever comes then is told to come again.
	queuePerSlot = 64
	hashRetry    = 2 * time.Second
)

// hasher runs argon2id, on as many processors as there are and no more at a time: 19 MiB for each
// sign-in, at 500 sign-ins at once, would be all the memory there is.
type hasher struct {
	params  hashParams // of new hashes
	slots   chan struct{}
	waiting atomic.Int64
	queue   int64
	dummy   string // a hash that no password has
}

func newHasher(params hashParams, slots int) *hasher {
	h := &hasher{params: params, slots: make(chan struct{}, slots), queue: int64(slots * queuePerSlot)}
	none := make([]byte, saltLength+hashLength)
	_, _ = rand.Read(none)
	h.dummy = encodePHC(params, none[:saltLength], none[saltLength:])
	return h
}

func processors() int { return min(runtime.NumCPU(), runtime.GOMAXPROCS(0)) }

// take waits for a slot. fault.Unavailable where too many wait already.
func (h *hasher) take(ctx context.Context) (release func(), err error) {
	release = func() { <-h.slots }
	select {
	case h.slots <- struct{}{}:
		return release, nil
	default:
	}
	if h.waiting.Add(1) > h.queue {
		h.waiting.Add(-1)
		return nil, fault.New(fault.Unavailable, "too many sign-ins at once: try again in a moment").After(hashRetry)
	}
	defer h.waiting.Add(-1)
	select {
	case h.slots <- struct{}{}:
		return release, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// hash gives a password's hash as a PHC string: $argon2id$v=19$m=19456,t=2,p=1$salt$hash.
func (h *hasher) hash(ctx context.Context, password string) (string, error) {
	release, err := h.take(ctx)
	if err != nil {
		return "", err
	}
	defer release()
	salt := make([]byte, saltLength)
	_, _ = rand.Read(salt)
	return encodePHC(h.params, salt, h.params.run(password, salt, hashLength)), nil
}

// verify tells whether a password has a hash. An empty hash, of an account that is not there or has no
// password, costs the same work as any other and is never right. What is too long to be anybody's
// password is wrong without any work, whosever hash it is held against.
func (h *hasher) verify(ctx context.Context, phc, password string) (bool, error) {
	if len(password) > maxPasswordBytes {
		return false, nil
	}
	known := phc != ""
	if !known {
		phc = h.dummy
	}
	p, salt, want, err := decodePHC(phc)
	if err != nil {
		return false, err
	}
	release, err := h.take(ctx)
	if err != nil {
		return false, err
	}
	defer release()
	got := p.run(password, salt, uint32(len(want))) //nolint:gosec // decodePHC bounds it
	return subtle.ConstantTimeCompare(got, want) == 1 && known, nil
}

// run hashes the NFC form, so that a password is the same from every keyboard. argon2id takes all of
// it: nothing is cut at 72 bytes.
func (p hashParams) run(password string, salt []byte, length uint32) []byte {
	return argon2.IDKey([]byte(norm.NFC.String(password)), salt, p.time, p.memory, p.lanes, length)
}

var phcBase64 = base64.RawStdEncoding.Strict()

func encodePHC(p hashParams, salt, hash []byte) string {
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, p.memory, p.time, p.lanes,
		phcBase64.EncodeToString(salt), phcBase64.EncodeToString(hash))
}

var errPHC = errors.New("a stored password hash cannot be read")

func decodePHC(phc string) (p hashParams, salt, hash []byte, err error) {
	fields := strings.Split(phc, "$")
	if len(fields) != 6 || fields[0] != "" || fields[1] != "argon2id" || fields[2] != fmt.Sprintf("v=%d", argon2.Version) {
		return p, nil, nil, errPHC
	}
	if _, err := fmt.Sscanf(fields[3], "m=%d,t=%d,p=%d", &p.memory, &p.time, &p.lanes); err != nil {
		return p, nil, nil, errPHC
	}
	within := func(n, low, high int) bool { return low <= n && n <= high }
	if !within(int(p.memory), 8*int(p.lanes), int(maxParams.memory)) || !within(int(p.time), 1, int(maxParams.time)) ||
		!within(int(p.lanes), 1, int(maxParams.lanes)) {
		return p, nil, nil, errPHC
	}
	salt, saltErr := phcBase64.DecodeString(fields[4])
	hash, hashErr := phcBase64.DecodeString(fields[5])
	if saltErr != nil || hashErr != nil || !within(len(salt), 8, 64) || !within(len(hash), 16, 64) ||
		encodePHC(p, salt, hash) != phc {
		return p, nil, nil, errPHC
	}
	return p, salt, hash, nil
}
