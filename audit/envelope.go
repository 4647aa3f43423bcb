package audit

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"time"

	"github.com/google/uuid"

	"sealpost/keys"
)

// Envelope is the part of an event that is kept forever, and that the log's tree is made of: it says
// that an event was, when, and what its body hashes to, without saying what it was.
type Envelope struct {
	KeyID    string // of the audit key whose MAC covers it until it is sealed
	Writer   string // the server's incarnation, a UUID
	Counter  uint64 // the writer's own count, from 1: a gap is an event that is missing or rolled back
	At       time.Time
	BodyHash [sha256.Size]byte // of salt ‖ body
}

const (
	envelopeVersion = 1
	envelopeBytes   = 1 + keys.IDBytes + 16 + 8 + 8 + sha256.Size
	saltBytes       = 16
)

// Marshal writes an envelope in its one form, 73 bytes, integers big-endian: version (1), key id (8),
// writer (16), counter (8), microseconds since the epoch (8), body hash (32).
func (e Envelope) Marshal() ([]byte, error) {
	key, err := hex.DecodeString(e.KeyID)
	if err != nil || len(key) != keys.IDBytes {
		return nil, fmt.Errorf("envelope: key id %q is not %d bytes of hex", e.KeyID, keys.IDBytes)
	}
	writer, err := uuid.Parse(e.Writer)
	if err != nil {
		return nil, fmt.Errorf("envelope: writer: %w", err)
	}
	b := make([]byte, 0, envelopeBytes)
	b = append(b, envelopeVersion)
	b = append(b, key...)
	b = append(b, writer[:]...)
	b = binary.BigEndian.AppendUint64(b, e.Counter)
	b = binary.BigEndian.AppendUint64(b, uint64(e.At.UnixMicro()))
	return append(b, e.BodyHash[:]...), nil
}

// ParseEnvelope reads what Marshal wrote.
func ParseEnvelope(b []byte) (Envelope, error) {
	if len(b) != envelopeBytes || b[0] != envelopeVersion {
		return Envelope{}, fmt.Errorf("envelope: %d bytes of a form that is not known", len(b))
	}
	writer, err := uuid.FromBytes(b[9:25])
	if err != nil {
		return Envelope{}, fmt.Errorf("envelope: %w", err)
	}
	e := Envelope{
		KeyID:   hex.EncodeToString(b[1:9]),
		Writer:  writer.String(),
		Counter: binary.BigEndian.Uint64(b[25:33]),
		At:      time.UnixMicro(int64(binary.BigEndian.Uint64(b[33:41]))).UTC(), //nolint:gosec // as it was written
	}
	copy(e.BodyHash[:], b[41:])
	return e, nil
}

// bodyHash is SHA-256(salt ‖ body). The salt goes when the body goes, so that a short body cannot be
// found again by trying all.
func bodyHash(salt, body []byte) [sha256.Size]byte {
	h := sha256.New()
	h.Write(salt)
	h.Write(body)
	return [sha256.Size]byte(h.Sum(nil))
}

// mac covers an envelope and the id of its event until a checkpoint does.
func mac(key *keys.Key, eventID string, envelope []byte) []byte {
	h := hmac.New(sha256.New, key.Derive(keys.EnvelopeMAC))
	h.Write([]byte(eventID))
	h.Write(envelope)
	return h.Sum(nil)
}
