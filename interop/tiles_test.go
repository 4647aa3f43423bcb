package interop

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"
	"github.com/transparency-dev/tessera/api"
	"github.com/transparency-dev/tessera/client"
	"github.com/transparency-dev/tessera/fsck"
	"golang.org/x/mod/sumdb/note"
)

// server is a running Sealpost, with the tokens of two people.
type server struct {
	t               *testing.T
	url             string
	auditor, author string
}

// start builds the program, or takes the one that SEALPOST_PROGRAM names, and serves from a scratch folder.
func start(t *testing.T) *server {
	t.Helper()
	binary := os.Getenv("SEALPOST_PROGRAM")
	if binary == "" {
		binary = filepath.Join(t.TempDir(), "sealpost")
		build := exec.CommandContext(t.Context(), "go", "build", "-o", binary, "./cmd/sealpost")
		build.Dir = ".."
		if out, err := build.CombinedOutput(); err != nil {
			t.Fatalf("build the program: %v\n%s", err, out)
		}
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := l.Addr().(*net.TCPAddr).Port
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	var logged bytes.Buffer
	cmd := exec.Command(binary, "serve")
	cmd.Env = []string{"NODE_ENV=development", "PORT=" + strconv.Itoa(port), "DATA_DIR=" + t.TempDir()}
	cmd.Stderr = &logged
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_, _ = io.Copy(io.Discard, out)
		if err := cmd.Wait(); err != nil {
			t.Errorf("the server ended with %v", err)
		}
		if t.Failed() {
			t.Log(logged.String())
		}
	})
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || !strings.HasPrefix(line, "listening on ") {
		t.Fatalf("it does not listen: %q (%v)", line, err)
	}
	s := &server{t: t, url: "http://127.0.0.1:" + strconv.Itoa(port)}
	s.auditor, s.author = s.signIn("AUDITOR"), s.signIn("AUTHOR")
	return s
}

// do makes a request and reads a JSON answer.
func (s *server) do(method, path, token string, body, answer any) {
	s.t.Helper()
	b, err := json.Marshal(body)
	if err != nil {
		s.t.Fatal(err)
	}
	text := s.raw(method, path, token, b)
	if err := json.Unmarshal(text, answer); err != nil {
		s.t.Fatalf("%s: %v", text, err)
	}
}

func (s *server) raw(method, path, token string, body []byte) []byte {
	s.t.Helper()
	r, err := http.NewRequestWithContext(s.t.Context(), method, s.url+path, bytes.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	if method == http.MethodPost {
		r.Header.Set("Content-Type", "application/json")
	} else {
		r.Body = http.NoBody
	}
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode >= 300 {
		s.t.Fatalf("%s %s: %s %s (%v)", method, path, resp.Status, text, err)
	}
	return text
}

func (s *server) signIn(role string) string {
	s.t.Helper()
	var in struct{ Token string }
	s.do("POST", "/api/auth/dev-login", "", map[string]string{"email": strings.ToLower(role) + "@example.org", "name": role, "role": role}, &in)
	return in.Token
}

// write makes as many documents, each with its event.
func (s *server) write(n int) {
	s.t.Helper()
	for i := range n {
		s.do("POST", "/api/documents", s.author, map[string]string{"title": fmt.Sprint("Letter ", i), "content": "x"}, &struct{}{})
	}
}

// checkpoint waits until the log has a size, and gives its newest checkpoint and key.
func (s *server) checkpoint(size int) (signed string, key note.Verifier) {
	s.t.Helper()
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(200 * time.Millisecond) {
		var c struct{ Checkpoint, VerifierKey string }
		s.do("GET", "/api/admin/audit/checkpoint", s.auditor, nil, &c)
		v, err := note.NewVerifier(c.VerifierKey)
		if err != nil {
			s.t.Fatal(err)
		}
		if n, err := strconv.Atoi(strings.Split(c.Checkpoint, "\n")[1]); err != nil || n >= size {
			return c.Checkpoint, v
		}
	}
	s.t.Fatalf("the log has not got %d leaves", size)
	return "", nil
}

// hashes gives the leaf hashes of a bundle, as Tessera reads it.
func hashes(bundle []byte) ([][]byte, error) {
	var b api.EntryBundle
	if err := b.UnmarshalText(bundle); err != nil {
		return nil, err
	}
	list := make([][]byte, len(b.Entries))
	for i, e := range b.Entries {
		list[i] = rfc6962.DefaultHasher.HashLeaf(e)
	}
	return list, nil
}

// Tessera's fsck reads every entry and every tile, and makes the root anew; its client follows the log from
// one checkpoint to the next, and makes the proof of an event that we make.
func TestTesseraReadsTheLog(t *testing.T) {
	s := start(t)
	s.write(3)
	early, key := s.checkpoint(3)
	root, err := url.Parse(s.url + "/audit/log/")
	if err != nil {
		t.Fatal(err)
	}
	fetcher, err := client.NewHTTPFetcher(root, http.DefaultClient)
	if err != nil {
		t.Fatal(err)
	}
	fetcher.SetAuthorizationHeader("Bearer " + s.auditor)
	origin := key.Name()
	tracker, err := client.NewLogStateTracker(t.Context(), fetcher.ReadTile, []byte(early), key, origin, client.UnilateralConsensus(fetcher.ReadCheckpoint))
	if err != nil {
		t.Fatal(err)
	}
	s.write(300)
	s.checkpoint(303)
	if _, proof, _, err := tracker.Update(t.Context()); err != nil || len(proof) == 0 {
		t.Fatalf("the log does not go on from its first checkpoint: %v", err)
	}
	if err := fsck.New(origin, key, fetcher, hashes, fsck.Opts{N: 2}).Check(context.WithoutCancel(t.Context())); err != nil {
		t.Errorf("fsck: %v", err)
	}

	var events struct{ Events []struct{ ID string } }
	s.do("GET", "/api/admin/audit/events?action=document.created&limit=1", s.auditor, nil, &events)
	lines := strings.Split(string(s.raw("GET", "/api/admin/audit/events/"+events.Events[0].ID+"/proof", s.auditor, nil)), "\n")
	index, err := strconv.ParseUint(strings.TrimPrefix(lines[2], "index "), 10, 64)
	if err != nil {
		t.Fatalf("%q", lines)
	}
	var path [][]byte
	for _, line := range lines[3:] {
		if line == "" {
			break
		}
		h, err := base64.StdEncoding.DecodeString(line)
		if err != nil {
			t.Fatal(err)
		}
		path = append(path, h)
	}
	size, err := strconv.ParseUint(lines[3+len(path)+2], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	rootHash, err := base64.StdEncoding.DecodeString(lines[3+len(path)+3])
	if err != nil {
		t.Fatal(err)
	}
	builder, err := client.NewProofBuilder(t.Context(), size, fetcher.ReadTile)
	if err != nil {
		t.Fatal(err)
	}
	theirs, err := builder.InclusionProof(t.Context(), index)
	if err != nil || fmt.Sprint(theirs) != fmt.Sprint(path) {
		t.Errorf("Tessera's proof of leaf %d is %x, ours %x (%v)", index, theirs, path, err)
	}
	bundle, err := client.GetEntryBundle(t.Context(), fetcher.ReadEntryBundle, index/256, size)
	if err != nil {
		t.Fatal(err)
	}
	leaf := rfc6962.DefaultHasher.HashLeaf(bundle.Entries[index%256])
	if err := proof.VerifyInclusion(rfc6962.DefaultHasher, index, size, leaf, path, rootHash); err != nil {
		t.Error(err)
	}
}
