package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note"

	"sealpost/audit"
	"sealpost/audit/verify"
	"sealpost/bench"
	"sealpost/keys"
	"sealpost/store"
)

const benchOrigin = "bench.example/audit/log"

// benchVerify writes events into an empty database, seals and exports them, and measures how long the export,
// its verification and that of the database take.
func benchVerify(ctx context.Context, databaseURL, dir string, events int) (v bench.Verified, err error) {
	st, err := store.Open(ctx, databaseURL, store.Options{})
	if err != nil {
		return v, err
	}
	defer func() { err = errors.Join(err, st.Close()) }()
	if err := st.Migrate(ctx); err != nil {
		return v, err
	}
	key := keys.NewKey(keys.NewID(), []byte(strings.Repeat("k", 32)))
	log := audit.New(st, slog.New(slog.DiscardHandler))
	log.Use(keys.NewRing(key, nil))
	defer log.Close(context.WithoutCancel(ctx))
	by := audit.Principal{
		Kind: audit.User, UserID: store.NewID(), Role: audit.Author, SessionID: store.NewID(), IP: "192.0.2.7", RequestID: store.NewID(),
	}
	for n := 0; n < events; n += benchBatch {
		list := make([]audit.Event, min(benchBatch, events-n))
		for i := range list {
			list[i] = audit.Event{
				Action: "dispatch.job.dispatched", Entity: "DispatchJob", EntityID: store.NewID(),
				Details: map[string]any{"endpointId": by.UserID, "attempt": 1, "httpStatus": 204},
			}
		}
		if err := log.Change(ctx, by, func(*store.Tx) ([]audit.Event, error) { return list, nil }); err != nil {
			return v, err
		}
	}
	if err := audit.NewSealer(log, audit.SealerOptions{Origin: benchOrigin, CheckpointEvery: time.Second}).Drain(ctx); err != nil {
		return v, err
	}
	text, err := audit.VerifierKey(benchOrigin, key)
	if err != nil {
		return v, err
	}
	verifier, err := note.NewVerifier(text)
	if err != nil {
		return v, err
	}
	v.Dir = filepath.Join(dir, "export")
	start := time.Now()
	if _, err := audit.Export(ctx, st, v.Dir, nil); err != nil {
		return v, err
	}
	v.Export = time.Since(start)
	for _, m := range []struct {
		src  verify.Source
		took *time.Duration
	}{{verify.Export(v.Dir), &v.Files}, {verify.Database(st), &v.Database}} {
		start := time.Now()
		r, err := verify.Run(ctx, m.src, verify.Options{Keys: []note.Verifier{verifier}, Own: []*keys.Key{key}})
		if err != nil {
			return v, err
		}
		if r.Verdict() != verify.Holds || r.Bodies < int64(events) {
			return v, fmt.Errorf("the log does not hold: %v %v", r.Findings, r.Unknown)
		}
		*m.took = time.Since(start)
	}
	return v, nil
}
