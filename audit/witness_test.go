package audit_test

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"
	"golang.org/x/mod/sumdb/note"

	"sealpost/audit"
	"sealpost/store"
	"sealpost/store/storetest"
)

// witness is a witness as C2SP tlog-witness describes it: it knows one log, by its key, and cosigns what
// goes on from what it has cosigned.
type witness struct {
	name    string
	private ed25519.PrivateKey
	log     note.Verifier

	mu     sync.Mutex
	size   uint64
	root   []byte
	asked  int
	broken string // how it misbehaves
	url    string
}

func newWitness(t *testing.T, name string, log note.Verifier) *witness {
	t.Helper()
	seed := sha256.Sum256([]byte(name))
	w := &witness{name: name, private: ed25519.NewKeyFromSeed(seed[:]), log: log}
	server := httptest.NewServer(w)
	t.Cleanup(server.Close)
	w.url = server.URL + "/w"
	return w
}

// key is the witness's public key with its type.
func (w *witness) key() []byte {
	return append([]byte{4}, w.private.Public().(ed25519.PublicKey)...) //nolint:forcetypeassert // it is of that type
}

func (w *witness) hash() uint32 {
	sum := sha256.Sum256(append([]byte(w.name+"\n"), w.key()...))
	return binary.BigEndian.Uint32(sum[:])
}

func (w *witness) verifierKey() string {
	return fmt.Sprintf("%s+%08x+%s", w.name, w.hash(), base64.StdEncoding.EncodeToString(w.key()))
}

func (w *witness) option(t *testing.T) audit.Witness {
	t.Helper()
	v, err := audit.NewCosigner(w.verifierKey())
	if err != nil {
		t.Fatal(err)
	}
	return audit.Witness{URL: w.url, Verifier: v}
}

func (w *witness) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.asked++
	body, err := io.ReadAll(r.Body)
	if err != nil || r.Method != http.MethodPost || r.URL.Path != "/w/add-checkpoint" {
		http.Error(rw, "no", http.StatusNotFound)
		return
	}
	head, signed, ok := strings.Cut(string(body), "\n\n")
	lines := strings.Split(head, "\n")
	oldText, isOld := strings.CutPrefix(lines[0], "old ")
	old, err := strconv.ParseUint(oldText, 10, 64)
	if !ok || !isOld || err != nil || len(lines) > 64 {
		http.Error(rw, "malformed", http.StatusBadRequest)
		return
	}
	n, err := note.Open([]byte(signed), note.VerifierList(w.log))
	if err != nil {
		http.Error(rw, err.Error(), http.StatusForbidden)
		return
	}
	text := strings.Split(n.Text, "\n")
	size, err1 := strconv.ParseUint(text[1], 10, 64)
	root, err2 := base64.StdEncoding.DecodeString(text[2])
	if err1 != nil || err2 != nil || text[0] != w.log.Name() || old > size {
		http.Error(rw, "malformed", http.StatusBadRequest)
		return
	}
	if old != w.size {
		rw.Header().Set("Content-Type", "text/x.tlog.size")
		rw.WriteHeader(http.StatusConflict)
		_, _ = fmt.Fprintf(rw, "%d\n", w.size)
		return
	}
	var hashes [][]byte
	for _, line := range lines[1:] {
		h, err := base64.StdEncoding.DecodeString(line)
		if err != nil {
			http.Error(rw, "malformed", http.StatusBadRequest)
			return
		}
		hashes = append(hashes, h)
	}
	switch {
	case old == 0 && len(hashes) > 0:
		http.Error(rw, "a proof from nothing", http.StatusUnprocessableEntity)
		return
	case old == size && !bytes.Equal(root, w.root):
		http.Error(rw, "another root", http.StatusConflict)
		return
	case old > 0:
		if err := proof.VerifyConsistency(rfc6962.DefaultHasher, old, size, hashes, w.root, root); err != nil {
			http.Error(rw, err.Error(), http.StatusUnprocessableEntity)
			return
		}
	}
	w.answer(rw, n.Text, size, root)
}

func (w *witness) answer(rw http.ResponseWriter, text string, size uint64, root []byte) {
	at := uint64(time.Now().Unix())
	sig := ed25519.Sign(w.private, fmt.Appendf(nil, "cosignature/v1\ntime %d\n%s", at, text))
	line := binary.BigEndian.AppendUint32(nil, w.hash())
	line = append(binary.BigEndian.AppendUint64(line, at), sig...)
	switch w.broken {
	case "signature":
		line[20] ^= 1
	case "down":
		http.Error(rw, "down", http.StatusServiceUnavailable)
		return
	case "large":
		_, _ = rw.Write(bytes.Repeat([]byte("x"), 1<<17))
		return
	}
	w.size, w.root = size, root
	_, _ = fmt.Fprintf(rw, "— %s %s\n", w.name, base64.StdEncoding.EncodeToString(line))
	_, _ = fmt.Fprintf(rw, "— stranger.example %s\n", base64.StdEncoding.EncodeToString(line))
}

func TestWitnesses(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		log, key := newLog(t, st)
		logKey := verifierOf(t, key)
		a, b, c := newWitness(t, "a.example/w", logKey), newWitness(t, "b.example/w", logKey), newWitness(t, "c.example/w", logKey)
		dir := t.TempDir()
		s := newSealer(t, log, func(o *audit.SealerOptions) {
			o.Witnesses, o.CheckpointDir = []audit.Witness{a.option(t), b.option(t), c.option(t)}, dir
		})
		for i, n := range []int{1, 300, 3, 2} {
			switch i {
			case 1:
				b.broken, c.broken = "signature", "down"
			case 2:
				b.broken, c.broken = "", "large"
			case 3:
				c.broken = ""
				execute(t, st, `delete from audit_witness where url = '`+a.url+`'`) // what it knows is asked for again
			}
			write(t, log, n)
			if err := s.Drain(t.Context()); err != nil {
				t.Fatal(err)
			}
			newest, err := log.Checkpoint(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			want := []int{3, 1, 2, 3}[i]
			if newest.Cosigned != want || strings.Count(newest.Note, "\n— ") != 1+want {
				t.Errorf("%d: cosigned by %d: %s", i, newest.Cosigned, newest.Note)
			}
			all := []note.Verifier{logKey}
			for _, w := range []*witness{a, b, c} {
				all = append(all, w.option(t).Verifier)
			}
			opened, err := note.Open([]byte(newest.Note), note.VerifierList(all...))
			if err != nil || len(opened.Sigs) != 1+want || len(opened.UnverifiedSigs) != 0 {
				t.Fatalf("%d: %v", i, err)
			}
			for _, sig := range opened.Sigs[1:] {
				if at, err := audit.CosignedAt(sig); err != nil || time.Since(at) > time.Minute {
					t.Errorf("%s cosigned at %v (%v)", sig.Name, at, err)
				}
			}
			if copied, err := audit.ReadCopy(dir); err != nil || copied.Note != newest.Note {
				t.Errorf("the copy is %q (%v)", copied.Note, err)
			}
			if _, err := audit.OpenCheckpoint(newest.Note, logKey); err != nil {
				t.Error(err)
			}
		}
		if n := number(t, st, `select count(*) from audit_witness where size = 306 and cosigned_at is not null and error is null`); n != 3 {
			t.Errorf("%d witnesses are at the newest size", n)
		}
		// An idle log asks nobody; a witness that knows more than there is says that the log was set back.
		asked := a.asked
		if err := s.Drain(t.Context()); err != nil {
			t.Fatal(err)
		}
		if a.asked != asked {
			t.Error("an idle log asked again")
		}
		a.size = 1000
		write(t, log, 1)
		if err := s.Drain(t.Context()); err != nil {
			t.Fatal(err)
		}
		if n := number(t, st, `select count(*) from audit_witness where error like '%was set back%'`); n != 1 {
			t.Error("a witness that knows more is not told of")
		}
	})
}

// A witness whose key nobody has told us: what it says is published as it came, and counts for nothing.
func TestWitnessWithoutAKey(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		log, key := newLog(t, st)
		w := newWitness(t, "a.example/w", verifierOf(t, key))
		s := newSealer(t, log, func(o *audit.SealerOptions) { o.Witnesses = []audit.Witness{{URL: w.url}} })
		write(t, log, 3)
		if err := s.Drain(t.Context()); err != nil {
			t.Fatal(err)
		}
		newest, err := log.Checkpoint(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if n, err := note.Open([]byte(newest.Note), note.VerifierList(verifierOf(t, key), w.option(t).Verifier)); err != nil || len(n.Sigs) != 2 {
			t.Errorf("%s (%v)", newest.Note, err)
		}
		if newest.Cosigned != 0 {
			t.Errorf("it counts as %d", newest.Cosigned)
		}
	})
}

func TestNewCosigner(t *testing.T) {
	good := newWitness(t, "a.example/w", nil).verifierKey()
	if _, err := audit.NewCosigner(good); err != nil {
		t.Error(err)
	}
	for _, text := range []string{
		"", "a", "a.example/w", strings.Replace(good, "a.example", "b.example", 1), good[:len(good)-4], "a b" + good[11:],
		strings.Replace(good, "+", "", 1), good + "=",
	} {
		if _, err := audit.NewCosigner(text); err == nil {
			t.Errorf("%q is a witness's key", text)
		}
	}
}
