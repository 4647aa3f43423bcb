package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"sealpost/audit"
	"sealpost/bench"
	"sealpost/keys"
	"sealpost/store"
)

const (
	benchBatch  = 500 // events of one change
	benchProofs = 500
)

// benchSeal writes events into an empty database, and measures how long they take to be sealed and proven.
// It is the sealer itself, not the server: what a server seals is what it can accept, which is less.
func benchSeal(ctx context.Context, databaseURL string, events int) (s bench.Sealed, err error) {
	st, err := store.Open(ctx, databaseURL, store.Options{})
	if err != nil {
		return s, err
	}
	defer func() { err = errors.Join(err, st.Close()) }()
	if err := st.Migrate(ctx); err != nil {
		return s, err
	}
	log := audit.New(st, slog.New(slog.DiscardHandler))
	log.Use(keys.NewRing(keys.NewKey(keys.NewID(), []byte(strings.Repeat("k", 32))), nil))
	defer log.Close(context.WithoutCancel(ctx))
	by := audit.Principal{Kind: audit.User, UserID: store.NewID(), Role: audit.Author, IP: "192.0.2.7", RequestID: store.NewID()}
	for n := 0; n < events; n += benchBatch {
		list := make([]audit.Event, benchBatch)
		for i := range list {
			list[i] = audit.Event{
				Action: "dispatch.job.accepted", Entity: "DispatchJob", EntityID: store.NewID(),
				Details: map[string]any{"endpointId": by.UserID, "bytes": 1024, "contentType": "application/json"},
			}
		}
		if err := log.Change(ctx, by, func(*store.Tx) ([]audit.Event, error) { return list, nil }); err != nil {
			return s, err
		}
	}
	sealer := audit.NewSealer(log, audit.SealerOptions{Origin: "bench.example/audit/log", CheckpointEvery: time.Second})
	start := time.Now()
	if err := sealer.SealNow(ctx); err != nil {
		return s, err
	}
	s.Took = time.Since(start)
	page, err := log.Events(ctx, audit.Filter{Action: "dispatch.job.accepted"}, store.Page{Limit: benchProofs})
	if err != nil {
		return s, err
	}
	for _, e := range page.Items {
		start := time.Now()
		if _, err := log.Prove(ctx, e.ID); err != nil {
			return s, fmt.Errorf("after sealing: %w", err)
		}
		s.Proofs = append(s.Proofs, time.Since(start))
	}
	return s, nil
}
