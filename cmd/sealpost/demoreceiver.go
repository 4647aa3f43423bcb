package main

import (
	"context"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	webhook "github.com/standard-webhooks/standard-webhooks/libraries/go"
)

// demoReceiver is a receiving system: it takes what is signed, once for each webhook-id, and can be
// broken.
type demoReceiver struct {
	url        string
	endpointID string
	broken     atomic.Bool
	srv        *http.Server

	mu       sync.Mutex
	verifier *webhook.Webhook
	got      map[string]int // how often each webhook-id was taken
}

func startDemoReceiver(ctx context.Context) (*demoReceiver, error) {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	r := &demoReceiver{url: "http://" + l.Addr().String() + "/inbox", got: map[string]int{}}
	r.srv = &http.Server{Handler: r, ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = r.srv.Serve(l) }()
	return r, nil
}

// trust gives the receiver the secret that its senders sign with.
func (r *demoReceiver) trust(secret string) error {
	verifier, err := webhook.NewWebhook(secret)
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.verifier = verifier
	return nil
}

// ServeHTTP takes a job.
func (r *demoReceiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	body, err := io.ReadAll(io.LimitReader(req.Body, listenMaxBody+1))
	if err != nil || len(body) > listenMaxBody {
		w.WriteHeader(http.StatusRequestEntityTooLarge)
		return
	}
	if r.broken.Load() {
		http.Error(w, "the archive is down for maintenance", http.StatusServiceUnavailable)
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.verifier == nil || r.verifier.Verify(body, req.Header) != nil {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	r.got[req.Header.Get("webhook-id")]++
	w.WriteHeader(http.StatusNoContent)
}

// taken tells how often a job was taken.
func (r *demoReceiver) taken(id string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.got[id]
}

func (r *demoReceiver) close() { _ = r.srv.Close() }
