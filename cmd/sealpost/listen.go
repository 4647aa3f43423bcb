package main

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	webhook "github.com/standard-webhooks/standard-webhooks/libraries/go"
)

// The limits of listen.
const (
	listenMaxBody   = 8 << 20 // bytes: a payload's own limit
	listenShownBody = 4 << 10 // bytes of a body that are printed
	listenMemory    = 100_000 // webhook-ids that are remembered
)

// listenCommand is a receiver for integrators: it prints what arrives, and whether its signature holds.
func listenCommand(ctx context.Context, p program, args []string) error {
	f := p.flags("listen", "receive jobs, print them and check their signatures")
	addr := f.String("addr", "127.0.0.1:0", "the `host:port` to listen on; port 0 is any free one")
	secret := f.String("secret", "", "the endpoint's signing `secret` (whsec_…); other users of this machine can see it")
	secretFile := f.String("secret-file", "", "a `file` that holds the signing secret")
	code := f.Int("status", http.StatusNoContent, "the HTTP `status` to answer with, 200 to 599")
	asJSON := f.Bool("json", false, "print one JSON object for each request, one on a line")
	if err := p.parse(f, args); err != nil {
		return err
	}
	if *code < 200 || *code > 599 {
		return usage("listen: --status %d is no status to answer with; it takes 200 to 599", *code)
	}
	verifier, err := listenVerifier(*secret, *secretFile)
	if err != nil {
		return err
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", *addr)
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	r := &receiver{out: p.stdout, json: *asJSON, status: *code, verifier: verifier, seen: seenIDs{at: map[string]bool{}}}
	r.print(arrival{Listening: "http://" + l.Addr().String()})
	srv := &http.Server{Handler: r, ReadHeaderTimeout: 10 * time.Second, ReadTimeout: time.Minute, IdleTimeout: 2 * time.Minute}
	context.AfterFunc(ctx, func() { _ = srv.Close() })
	if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("listen: %w", err)
	}
	return nil
}

// listenVerifier reads the signing secret; nil where there is none to check with.
func listenVerifier(secret, file string) (*webhook.Webhook, error) {
	if secret != "" && file != "" {
		return nil, usage("listen: --secret and --secret-file: one of the two")
	}
	if file != "" {
		b, err := os.ReadFile(file) //nolint:gosec // the user's own choice
		if err != nil {
			return nil, fmt.Errorf("listen: read the secret: %w", err)
		}
		secret = strings.TrimSpace(string(b))
	} else if secret == "" {
		return nil, nil //nolint:nilnil // nothing to check with is no error
	}
	encoded, ok := strings.CutPrefix(secret, "whsec_")
	key, err := base64.StdEncoding.DecodeString(encoded)
	if !ok || err != nil || len(key) == 0 {
		return nil, usage("listen: a signing secret is whsec_ and base64, as the answer that created the endpoint has it")
	}
	return webhook.NewWebhookRaw(key)
}

// receiver prints each request. It answers all with one status: whether a job was right is for the
// reader to see, and for the sender's retries to be tried out.
type receiver struct {
	out      io.Writer
	json     bool
	status   int
	verifier *webhook.Webhook

	mu   sync.Mutex // one request is printed at a time
	seen seenIDs
}

// ServeHTTP implements http.Handler.
func (r *receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, req.Body, listenMaxBody))
	if _, tooLarge := errors.AsType[*http.MaxBytesError](err); tooLarge {
		w.WriteHeader(http.StatusRequestEntityTooLarge)
		return
	}
	if err != nil {
		return // the sender has broken it off
	}
	a := arrival{
		At: time.Now().UTC(), Method: req.Method, Path: req.RequestURI, Bytes: len(body), body: body,
		ID: req.Header.Get(webhook.HeaderWebhookID), Signature: signatureNotChecked, Status: r.status,
		Headers: headersThatMatter(req.Header),
	}
	if r.verifier != nil {
		a.Signature = verdictOf(r.verifier.Verify(body, req.Header))
	}
	r.mu.Lock()
	a.Duplicate = r.seen.add(a.ID)
	r.print(a)
	r.mu.Unlock()
	w.WriteHeader(r.status)
}

// The words for a signature.
const (
	signatureHolds      = "holds"
	signatureNotChecked = "not checked: no --secret was given"
)

// verdictOf puts the library's answer into words.
func verdictOf(err error) string {
	switch {
	case err == nil:
		return signatureHolds
	case errors.Is(err, webhook.ErrRequiredHeaders):
		return "missing: webhook-id, webhook-timestamp or webhook-signature is not there"
	case errors.Is(err, webhook.ErrMessageTooOld):
		return "too old: webhook-timestamp is more than 5 minutes ago"
	case errors.Is(err, webhook.ErrMessageTooNew):
		return "too new: webhook-timestamp is more than 5 minutes ahead"
	case errors.Is(err, webhook.ErrNoMatchingSignature):
		return "DOES NOT HOLD: another secret, or something was changed on the way"
	}
	return "cannot be read"
}

// headersThatMatter are the headers worth printing, in their order. Credentials are not.
func headersThatMatter(h http.Header) [][2]string {
	var list [][2]string
	for _, name := range []string{"Content-Type", "User-Agent", "webhook-timestamp", "webhook-signature", "Idempotency-Key", "Traceparent"} {
		for _, value := range h.Values(name) {
			list = append(list, [2]string{strings.ToLower(name), value})
		}
	}
	if value := h.Get("Authorization"); value != "" {
		scheme, _, _ := strings.Cut(value, " ")
		list = append(list, [2]string{"authorization", scheme + " …"})
	}
	return list
}

// seenIDs remembers the latest webhook-ids.
type seenIDs struct {
	at    map[string]bool
	order []string
	next  int
}

// add remembers an id and tells whether it was there.
func (s *seenIDs) add(id string) bool {
	if id == "" {
		return false
	}
	if s.at[id] {
		return true
	}
	s.at[id] = true
	if len(s.order) < listenMemory {
		s.order = append(s.order, id)
		return false
	}
	delete(s.at, s.order[s.next])
	s.order[s.next] = id
	s.next = (s.next + 1) % listenMemory
	return false
}
