package audit

import (
	"bytes"
	"cmp"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"sealpost/store"
)

// Witness is somebody who cosigns checkpoints after having made sure that the log only grows (C2SP
// tlog-witness): whoever trusts a witness need not trust this server, nor its clock.
type Witness struct {
	URL string // its submission prefix
	// Verifier is that of its Ed25519 cosignatures (C2SP tlog-cosignature), see NewCosigner. Without one they
	// are published as they come, for readers who know its key; nobody here has verified them.
	Verifier note.Verifier
}

const (
	cosignTime  = 5 * time.Second // for one witness to answer
	maxCosigned = 1 << 16         // bytes of an answer
	algCosigned = 0x04            // Ed25519 cosignatures, in a verifier key
)

// NewCosigner reads the verifier key of a witness: "name+hash+key", with the key type of Ed25519
// cosignatures (0x04).
func NewCosigner(text string) (note.Verifier, error) {
	name, rest, _ := strings.Cut(text, "+")
	hash16, key64, _ := strings.Cut(rest, "+")
	key, err := base64.StdEncoding.DecodeString(key64)
	if err != nil || len(key) != 1+ed25519.PublicKeySize || key[0] != algCosigned {
		return nil, fmt.Errorf("a witness's key is not of the form name+hash+key, with an Ed25519 cosignature key (type 4)")
	}
	public := ed25519.PublicKey(key[1:])
	// The hash of a key depends on its type, so a signature of another kind cannot pass for one.
	plain, err := note.NewEd25519VerifierKey(name, public)
	if err == nil {
		_, err = note.NewVerifier(plain) // the name's form
	}
	hash, errHash := strconv.ParseUint(hash16, 16, 32)
	if err != nil || errHash != nil || len(hash16) != 8 || uint32(hash) != cosignerHash(name, key) {
		return nil, fmt.Errorf("a witness's key has a name or a hash that does not fit it")
	}
	return cosigner{name: name, hash: uint32(hash), key: public}, nil
}

// cosignerHash is a key's id in signature lines (C2SP signed-note): of its name, type and bytes.
func cosignerHash(name string, key []byte) uint32 {
	h := sha256.New()
	h.Write([]byte(name + "\n"))
	h.Write(key)
	return binary.BigEndian.Uint32(h.Sum(nil))
}

// cosigner verifies timestamped cosignatures.
type cosigner struct {
	name string
	hash uint32
	key  ed25519.PublicKey
}

func (c cosigner) Name() string    { return c.name }
func (c cosigner) KeyHash() uint32 { return c.hash }

// Verify implements note.Verifier: the signature is a time (8 bytes) and an Ed25519 signature over it and
// the note's text.
func (c cosigner) Verify(msg, sig []byte) bool {
	if len(sig) != 8+ed25519.SignatureSize {
		return false
	}
	at := binary.BigEndian.Uint64(sig)
	return at < 1<<63 && ed25519.Verify(c.key, CosignedText(at, msg), sig[8:])
}

// CosignedText is what a witness signs: the time, in seconds since the epoch, and the checkpoint's text.
func CosignedText(at uint64, text []byte) []byte {
	return append([]byte("cosignature/v1\ntime "+strconv.FormatUint(at, 10)+"\n"), text...)
}

// CosignedAt is the time in a witness's signature line that has been verified.
func CosignedAt(sig note.Signature) (time.Time, error) {
	b, err := base64.StdEncoding.DecodeString(sig.Base64)
	if err != nil || len(b) != 4+8+ed25519.SignatureSize {
		return time.Time{}, errors.New("a signature is no cosignature")
	}
	return time.Unix(int64(binary.BigEndian.Uint64(b[4:])), 0).UTC(), nil //nolint:gosec // below 1<<63: it has been verified
}

// Quorum is how many of some witnesses have to cosign: more than half.
func Quorum(witnesses int) int { return witnesses/2 + 1 }

// cosigned is what asking a witness came to.
type cosigned struct {
	url   string
	lines string // its signature lines that hold
	size  int64  // up to which it has cosigned now
	err   error
}

// askAgain is after how long a witness that has not cosigned the newest checkpoint is asked once more. A new
// checkpoint is another question.
const askAgain = 30 * time.Second

// cosigning is the witnesses being asked, beside the sealing: one that hangs holds up nobody.
type cosigning struct {
	busy sync.WaitGroup
	size int64 // of the checkpoint that was last asked about
	at   time.Time

	mu      sync.Mutex // of what follows
	running bool
	answer  *Checkpoint // with its cosignatures, to be taken in
	failed  bool
}

// publish lets the newest checkpoint leave the machine: to the witnesses, whose cosignatures become part of
// it, and into the directory.
func (s *Sealer) publish(ctx context.Context) {
	s.takeCosigned()
	if s.cosignDue(time.Now()) {
		c := s.newest
		s.asked.busy.Go(func() {
			all, err := s.cosign(context.WithoutCancel(ctx), &c) // has a limit of its own
			if err != nil {
				s.o.Logger.Error("the witnesses' cosignatures could not be stored", "error", err)
			}
			s.asked.mu.Lock()
			defer s.asked.mu.Unlock()
			s.asked.running, s.asked.answer, s.asked.failed = false, &c, !all || err != nil
		})
	}
	s.copyOut()
}

// cosignDue tells whether the witnesses are to be asked about the newest checkpoint, and notes that they are.
func (s *Sealer) cosignDue(now time.Time) bool {
	a := &s.asked
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(s.o.Witnesses) == 0 || s.newest.Size == 0 || a.running {
		return false
	}
	if a.size == s.newest.Size && (!a.failed || now.Sub(a.at) < askAgain) {
		return false
	}
	a.size, a.at, a.running = s.newest.Size, now, true
	return true
}

// takeCosigned takes in what the witnesses have answered.
func (s *Sealer) takeCosigned() {
	s.asked.mu.Lock()
	defer s.asked.mu.Unlock()
	if c := s.asked.answer; c != nil && c.Size == s.newest.Size {
		s.newest = *c
	}
	s.asked.answer = nil
}

// cosign asks all witnesses at once, and adds the cosignatures to the checkpoint. all: every one has given it.
func (s *Sealer) cosign(ctx context.Context, c *Checkpoint) (all bool, err error) {
	sizes, err := s.witnessSizes(ctx)
	if err != nil {
		return false, err
	}
	answers := make([]cosigned, len(s.o.Witnesses))
	var asking sync.WaitGroup
	for i, w := range s.o.Witnesses {
		asking.Go(func() { answers[i] = s.ask(ctx, w, sizes[w.URL], *c) })
	}
	asking.Wait()
	lines, got, n := "", 0, 0
	for i, a := range answers {
		if a.err != nil {
			s.o.Logger.Warn("a witness has not cosigned a checkpoint", "witness", a.url, "size", c.Size, "error", a.err)
			continue
		}
		lines, got = lines+a.lines, got+1
		if s.o.Witnesses[i].Verifier != nil { // what nobody verifies is published, and counts for nothing
			n++
		}
	}
	err = s.log.seal(ctx, func(tx *store.Tx) ([]Event, error) {
		now, err := tx.Now(ctx)
		if err != nil {
			return nil, err
		}
		for _, a := range answers {
			if err := a.store(ctx, tx, now); err != nil {
				return nil, err
			}
		}
		if n < c.Cosigned || got == 0 {
			return nil, nil // an earlier answer had more
		}
		_, err = tx.Exec(ctx, `update audit_checkpoint set cosignatures = $2, cosigned_by = $3 where size = $1`, c.Size, lines, n)
		return nil, err
	})
	if err == nil && got > 0 && n >= c.Cosigned {
		text, own, _ := strings.Cut(c.signed(), "\n\n")
		c.Note, c.Cosigned = text+"\n\n"+own+lines, n
	}
	return got == len(answers), err
}

// signed is the note with our own signatures alone.
func (c Checkpoint) signed() string {
	text, lines, _ := strings.Cut(c.Note, "\n\n")
	var own strings.Builder
	for line := range strings.Lines(lines) {
		if strings.HasPrefix(line, "— "+c.Origin+" ") {
			own.WriteString(line)
		}
	}
	return text + "\n\n" + own.String()
}

func (s *Sealer) witnessSizes(ctx context.Context) (map[string]int64, error) {
	sizes := map[string]int64{}
	err := s.log.st.Read(ctx, func(tx *store.Tx) error {
		return tx.Each(ctx, func(scan func(...any) error) error {
			var url string
			var size int64
			err := scan(&url, &size)
			sizes[url] = size
			return err
		}, `select url, size from audit_witness`)
	})
	if err != nil {
		return nil, fmt.Errorf("read what the witnesses know: %w", err)
	}
	return sizes, nil
}

func (a cosigned) store(ctx context.Context, tx *store.Tx, now time.Time) error {
	var cosignedAt, failedAt, text any
	if a.err == nil {
		cosignedAt = now.UnixMicro()
	} else {
		failedAt, text = now.UnixMicro(), word(a.err.Error())
	}
	_, err := tx.Exec(ctx, `
		insert into audit_witness (url, size, cosigned_at, failed_at, error) values ($1, $2, $3, $4, $5)
		on conflict (url) do update set size = excluded.size, error = excluded.error,
		   cosigned_at = coalesce(excluded.cosigned_at, audit_witness.cosigned_at),
		   failed_at = coalesce(excluded.failed_at, audit_witness.failed_at)`, a.url, a.size, cosignedAt, failedAt, text)
	if err != nil {
		return fmt.Errorf("keep what a witness knows: %w", err)
	}
	return nil
}

// ask has a witness cosign a checkpoint. One that knows another size than we thought says so, and is asked
// once more.
func (s *Sealer) ask(ctx context.Context, w Witness, size int64, c Checkpoint) cosigned {
	ctx, cancel := context.WithTimeout(ctx, cosignTime)
	defer cancel()
	a := cosigned{url: w.URL, size: size}
	for try := 1; ; try++ {
		if a.size > c.Size {
			a.err = fmt.Errorf("it has cosigned %d leaves of this log, which has %d: the log was set back", a.size, c.Size)
			return a
		}
		body, err := s.submission(ctx, a.size, c)
		if err != nil {
			a.err = err
			return a
		}
		answer, knows, err := submit(ctx, w.URL, body)
		if err == nil && knows >= 0 && try == 1 {
			a.size = knows
			continue
		}
		if err == nil && knows >= 0 {
			err = fmt.Errorf("it knows %d leaves, and does not take what goes on from there", knows)
		}
		if err == nil {
			a.lines, err = cosignatures(c, answer, w.Verifier)
		}
		if a.err = err; err == nil {
			a.size = c.Size
		}
		return a
	}
}

// submission is the body of add-checkpoint: the size that the witness knows, the consistency proof from
// there, and the checkpoint with our own signatures.
func (s *Sealer) submission(ctx context.Context, old int64, c Checkpoint) ([]byte, error) {
	var b bytes.Buffer
	_, _ = fmt.Fprintf(&b, "old %d\n", old)
	if old > 0 && old < c.Size {
		proof, err := tlog.ProveTree(c.Size, old, s.log.Tree(ctx, c.Size, c.Root))
		if err != nil {
			return nil, fmt.Errorf("prove that the log goes on from %d leaves: %w", old, err)
		}
		for _, h := range proof {
			_, _ = fmt.Fprintf(&b, "%s\n", base64.StdEncoding.EncodeToString(h[:]))
		}
	}
	b.WriteString("\n" + c.signed())
	return b.Bytes(), nil
}

// witnessClient follows no redirect: a witness is whom the operator has named.
var witnessClient = &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}

// submit posts a checkpoint. knows is the size that the witness has cosigned, where it is another one than
// was said; -1 otherwise.
func submit(ctx context.Context, prefix string, body []byte) (answer string, knows int64, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, prefix+"/add-checkpoint", bytes.NewReader(body))
	if err != nil {
		return "", -1, err
	}
	resp, err := witnessClient.Do(req)
	if err != nil {
		return "", -1, err
	}
	defer resp.Body.Close() //nolint:errcheck // only read
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxCosigned+1))
	if err != nil {
		return "", -1, err
	}
	switch {
	case len(b) > maxCosigned:
		return "", -1, fmt.Errorf("it answers with more than %d bytes", maxCosigned)
	case resp.StatusCode == http.StatusOK:
		return string(b), -1, nil
	case resp.StatusCode == http.StatusConflict && resp.Header.Get("Content-Type") == "text/x.tlog.size":
		text := strings.TrimSuffix(string(b), "\n")
		knows, err := strconv.ParseInt(text, 10, 64)
		if err != nil || knows < 0 || strconv.FormatInt(knows, 10) != text {
			return "", -1, errors.New("it answers with a size that is no number")
		}
		return "", knows, nil
	}
	return "", -1, fmt.Errorf("it answers %s", resp.Status)
}

// maxUnverified is how many lines are kept of a witness whose key is not known.
const maxUnverified = 2

// cosignatures gives the lines of an answer that are of the witness's key, and hold. Others are left out.
func cosignatures(c Checkpoint, answer string, verifier note.Verifier) (string, error) {
	text, _, _ := strings.Cut(c.Note, "\n\n")
	verifiers := note.VerifierList()
	if verifier != nil {
		verifiers = note.VerifierList(verifier)
	}
	n, err := note.Open([]byte(text+"\n\n"+answer), verifiers)
	var sigs []note.Signature
	unverified, other := errors.AsType[*note.UnverifiedNoteError](err)
	switch {
	case err == nil:
		sigs = n.Sigs
	case verifier == nil && other:
		for _, sig := range unverified.Note.UnverifiedSigs {
			if _, err := CosignedAt(sig); err == nil && sig.Name != c.Origin && len(sigs) < maxUnverified {
				sigs = append(sigs, sig)
			}
		}
	}
	if len(sigs) == 0 {
		return "", fmt.Errorf("its cosignature does not hold: %w", cmp.Or(err, errors.New("there is none")))
	}
	var lines strings.Builder
	for _, sig := range sigs {
		lines.WriteString("— " + sig.Name + " " + sig.Base64 + "\n")
	}
	return lines.String(), nil
}
