package audit

import (
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"fmt"
	"strconv"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"sealpost/fault"
	"sealpost/keys"
	"sealpost/store"
)

// Checkpoint is a signed tree head (C2SP tlog-checkpoint): all leaves before Size are as they were when it
// was signed. Its time is an extension line, "time " and RFC 3339 with six digits, UTC: it is signed, and so
// vouched for by this log; only a witness's cosignature has a time that is independent.
type Checkpoint struct {
	Origin   string
	Size     int64
	Root     tlog.Hash
	Time     time.Time
	KeyID    string // of the audit key that signed it
	Note     string // the signed note, with the witnesses' lines
	Cosigned int    // how many witnesses have cosigned it
	Link     bool   // the first of its key, signed by the key before too where that was there
}

const timeLine = "time "

// maxNote bounds a checkpoint that comes from outside; ours have some hundred bytes.
const maxNote = 1 << 16

// text is what is signed.
func (c Checkpoint) text() string {
	return fmt.Sprintf("%s\n%d\n%s\n%s%s\n", c.Origin, c.Size, base64.StdEncoding.EncodeToString(c.Root[:]), timeLine, c.Time.Format(timeLayout))
}

// ParseCheckpoint reads the text of a checkpoint, without its signatures: use OpenCheckpoint for a note. A
// log's checkpoint that has no time line has the zero time.
func ParseCheckpoint(text string) (Checkpoint, error) {
	malformed := func(what string) (Checkpoint, error) {
		return Checkpoint{}, fmt.Errorf("checkpoint: %s", what)
	}
	body, ended := strings.CutSuffix(text, "\n")
	lines := strings.Split(body, "\n")
	if !ended || len(lines) < 3 {
		return malformed("it has not the three lines origin, size and root")
	}
	c := Checkpoint{Origin: lines[0]}
	if c.Origin == "" {
		return malformed("it has no origin")
	}
	var err error
	if c.Size, err = strconv.ParseInt(lines[1], 10, 64); err != nil || c.Size < 0 || strconv.FormatInt(c.Size, 10) != lines[1] {
		return malformed("its size is not a decimal number")
	}
	root, err := base64.StdEncoding.DecodeString(lines[2])
	if err != nil || len(root) != tlog.HashSize || base64.StdEncoding.EncodeToString(root) != lines[2] {
		return malformed("its root is not a hash of 32 bytes in base64")
	}
	c.Root = tlog.Hash(root)
	for _, line := range lines[3:] {
		if line == "" {
			return malformed("it has an empty line")
		}
		at, isTime := strings.CutPrefix(line, timeLine)
		if !isTime {
			continue
		}
		if !c.Time.IsZero() {
			return malformed("it has two times")
		}
		if c.Time, err = time.Parse(timeLayout, at); err != nil || c.Time.IsZero() || c.Time.Format(timeLayout) != at {
			return malformed("its time is not RFC 3339 in UTC with six digits")
		}
	}
	return c, nil
}

// OpenCheckpoint verifies and reads a signed note: one of its signatures has to be of a verifier that is
// given, and all of those have to hold.
func OpenCheckpoint(signed string, verifiers ...note.Verifier) (Checkpoint, error) {
	if len(signed) > maxNote {
		return Checkpoint{}, fmt.Errorf("checkpoint: %d bytes, at most %d are read", len(signed), maxNote)
	}
	n, err := note.Open([]byte(signed), note.VerifierList(verifiers...))
	if err != nil {
		return Checkpoint{}, fmt.Errorf("checkpoint: %w", err)
	}
	c, err := ParseCheckpoint(n.Text)
	if err != nil {
		return Checkpoint{}, err
	}
	for _, sig := range n.Sigs {
		if sig.Name != c.Origin {
			return Checkpoint{}, fmt.Errorf("checkpoint: it is of %s and signed by %s", c.Origin, sig.Name)
		}
	}
	c.Note = signed
	return c, nil
}

// VerifierKey is the note verifier (C2SP signed-note) of an audit key: "origin+hash+key".
func VerifierKey(origin string, key *keys.Key) (string, error) {
	public, err := signingKey(key)
	if err != nil {
		return "", err
	}
	return note.NewEd25519VerifierKey(origin, public.Public().(ed25519.PublicKey)) //nolint:forcetypeassert // it is of that type
}

func signingKey(key *keys.Key) (ed25519.PrivateKey, error) {
	if len(key.Secret()) != ed25519.SeedSize {
		return nil, fmt.Errorf("the audit key %s is not an Ed25519 seed of %d bytes", key.ID, ed25519.SeedSize)
	}
	return ed25519.NewKeyFromSeed(key.Secret()), nil
}

// signer signs notes with an audit key.
type signer struct {
	note.Verifier
	private ed25519.PrivateKey
}

// Sign implements note.Signer.
func (s signer) Sign(msg []byte) ([]byte, error) { return ed25519.Sign(s.private, msg), nil }

func newSigner(origin string, key *keys.Key) (signer, error) {
	private, err := signingKey(key)
	if err != nil {
		return signer{}, err
	}
	text, err := VerifierKey(origin, key)
	if err != nil {
		return signer{}, err
	}
	verifier, err := note.NewVerifier(text)
	return signer{Verifier: verifier, private: private}, err
}

// sign makes the note of a checkpoint, signed with one audit key or several.
func (c Checkpoint) sign(by ...*keys.Key) (string, error) {
	var signers []note.Signer
	for _, key := range by {
		s, err := newSigner(c.Origin, key)
		if err != nil {
			return "", fmt.Errorf("sign a checkpoint: %w", err)
		}
		signers = append(signers, s)
	}
	signed, err := note.Sign(&note.Note{Text: c.text()}, signers...)
	if err != nil {
		return "", fmt.Errorf("sign a checkpoint: %w", err)
	}
	return string(signed), nil
}

const checkpointColumns = `size, at, root, key_id, note, cosignatures, cosigned_by, link`

func (c *Checkpoint) scan(scan func(...any) error) error {
	var root []byte
	var cosignatures string
	if err := scan(&c.Size, store.Time(&c.Time), &root, &c.KeyID, &c.Note, &cosignatures, &c.Cosigned, &c.Link); err != nil {
		return err
	}
	if len(root) != tlog.HashSize {
		return fmt.Errorf("checkpoint %d: its root has %d bytes", c.Size, len(root))
	}
	c.Root = tlog.Hash(root)
	c.Origin, _, _ = strings.Cut(c.Note, "\n")
	c.Note += cosignatures
	return nil
}

// Checkpoint gives the newest checkpoint, as the table has it: nothing of it is verified. fault.NotFound
// where there is none yet.
func (l *Log) Checkpoint(ctx context.Context) (Checkpoint, error) {
	return l.oneCheckpoint(ctx, `order by size desc limit 1`)
}

// CheckpointCovering gives the first kept checkpoint that covers a leaf. fault.NotFound where there is none.
func (l *Log) CheckpointCovering(ctx context.Context, leaf int64) (Checkpoint, error) {
	return l.oneCheckpoint(ctx, `where size > $1 order by size limit 1`, leaf)
}

// CheckpointBefore gives the newest kept checkpoint that is not younger than a time: what it covers is at
// least that old. fault.NotFound where there is none.
func (l *Log) CheckpointBefore(ctx context.Context, t time.Time) (Checkpoint, error) {
	return l.oneCheckpoint(ctx, `where at <= $1 order by at desc limit 1`, t.UnixMicro())
}

func (l *Log) oneCheckpoint(ctx context.Context, which string, args ...any) (c Checkpoint, err error) {
	err = l.st.Read(ctx, func(tx *store.Tx) error {
		return c.scan(tx.QueryRow(ctx, `select `+checkpointColumns+` from audit_checkpoint `+which, args...).Scan)
	})
	if store.NoRow(err) {
		return Checkpoint{}, fault.New(fault.NotFound, "there is no such checkpoint")
	}
	if err != nil {
		return Checkpoint{}, fmt.Errorf("read a checkpoint: %w", err)
	}
	return c, nil
}

// LogKey is a key that has signed checkpoints of this log.
type LogKey struct {
	KeyID     string
	Verifier  string // note verifier
	FirstSize int64  // of its first checkpoint
	FirstAt   time.Time
}

// LogKeys is the key history, the oldest first.
func (l *Log) LogKeys(ctx context.Context) (list []LogKey, err error) {
	err = l.st.Read(ctx, func(tx *store.Tx) error {
		list = nil
		return tx.Each(ctx, func(scan func(...any) error) error {
			var k LogKey
			err := scan(&k.KeyID, &k.Verifier, &k.FirstSize, store.Time(&k.FirstAt))
			list = append(list, k)
			return err
		}, `select key_id, verifier, first_size, first_at from audit_key order by first_size, key_id`)
	})
	if err != nil {
		return nil, fmt.Errorf("read the log's keys: %w", err)
	}
	return list, nil
}

// verifyOwn makes sure that a checkpoint of the database is signed by the key that it names.
func (l *Log) verifyOwn(ctx context.Context, c Checkpoint) error {
	key, err := l.VerifierOf(ctx, c)
	if err != nil {
		return err
	}
	verifier, err := note.NewVerifier(key)
	if err != nil {
		return fmt.Errorf("read the key of checkpoint %d: %w", c.Size, err)
	}
	opened, err := OpenCheckpoint(c.Note, verifier)
	if err != nil || opened.Size != c.Size || opened.Root != c.Root || !opened.Time.Equal(c.Time) {
		return fault.New(fault.Conflict, "the checkpoint over %d events is not what was signed: the log has been changed", c.Size)
	}
	return nil
}

// VerifierOf gives the key that signed a checkpoint, as a note verifier: made from the audit key itself
// where this server has it, and from the log's history otherwise.
func (l *Log) VerifierOf(ctx context.Context, c Checkpoint) (string, error) {
	if ring := l.key.Load(); ring != nil {
		if key := ring.Find(c.KeyID); key != nil {
			return VerifierKey(c.Origin, key)
		}
	}
	history, err := l.LogKeys(ctx)
	if err != nil {
		return "", err
	}
	for _, k := range history {
		if k.KeyID == c.KeyID {
			return k.Verifier, nil
		}
	}
	return "", fmt.Errorf("the key %s of checkpoint %d is not in the log's history", c.KeyID, c.Size)
}
