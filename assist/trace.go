package assist

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"strings"
	"time"
	"unicode"

	"github.com/google/uuid"
)

// Purpose is what a model was asked for.
type Purpose string

// The purposes.
const (
	Composing  Purpose = "COMPOSE"
	Suggesting Purpose = "SUGGEST"
)

// Outcome is how a call ended.
type Outcome string

// The outcomes.
const (
	Complete    Outcome = "COMPLETE"
	Cut         Outcome = "CUT"         // the model came to its limit of length
	Declined    Outcome = "DECLINED"    // the model, or the server's filter, would not
	Refused     Outcome = "REFUSED"     // the server did not take the request: nothing was made
	TimedOut    Outcome = "TIMED_OUT"   // not within the time, or nothing for too long
	Unreachable Outcome = "UNREACHABLE" // no connection, or it broke off
	Unusable    Outcome = "UNUSABLE"    // an answer that is not of the form, or too large
	Withdrawn   Outcome = "WITHDRAWN"   // the caller went away
)

// Trace is what is kept of a call, however it ended. It has no word of what was sent or came back.
// The zero Trace belongs to a call that was never made.
type Trace struct {
	ID            string // a UUIDv7
	Purpose       Purpose
	PromptVersion string
	Model         string // as the server named it; as it was asked for where the server named none
	InputTokens   int64  // by the server's count; 0 where it gave none
	OutputTokens  int64
	Latency       time.Duration
	Salt          []byte            // 16 bytes, of both hashes; it goes when the texts go
	SentHash      [sha256.Size]byte // see Hash: of the prompt and the message
	ReceivedHash  [sha256.Size]byte // of the answer, as far as it came
	FinishReason  string            // the model's own: "stop" where it came to its end
	Outcome       Outcome
	Dropped       int // suggestions that did not match
	Retried       int // requests that the server refused before it took one
}

const saltBytes = 16

// newTrace begins the trace of a call.
func newTrace(p prompt, model string) Trace {
	salt := make([]byte, saltBytes)
	_, _ = rand.Read(salt) // never fails: crypto/rand ends the program instead
	return Trace{
		ID: uuid.Must(uuid.NewV7()).String(), Purpose: p.purpose, PromptVersion: p.version, Model: model, Salt: salt,
	}
}

// Hash is SHA-256 over a salt and texts, each of the texts with its length in 8 bytes, big-endian,
// before it. Without the salt the hash of a short text could be found by trying.
func Hash(salt []byte, texts ...string) [sha256.Size]byte {
	h := sha256.New()
	h.Write(salt)
	for _, text := range texts {
		var n [8]byte
		binary.BigEndian.PutUint64(n[:], uint64(len(text)))
		h.Write(n[:])
		h.Write([]byte(text))
	}
	return [sha256.Size]byte(h.Sum(nil))
}

// maxWord bounds what the server says about itself and is kept.
const maxWord = 200

// word makes a name that the server gave fit to be kept: printable, and not long.
func word(s string) string {
	s = strings.Map(func(r rune) rune {
		if unicode.IsGraphic(r) {
			return r
		}
		return -1
	}, strings.ToValidUTF8(s, ""))
	if len(s) > maxWord {
		s = strings.ToValidUTF8(s[:maxWord], "")
	}
	return s
}
