package main

import (
	"context"
	"time"
)

// tidyEvery is how often what has had its time is removed.
const tidyEvery = time.Hour

// tidy removes what has had its time, now and then once an hour, until ctx ends. Each chore is
// harmless when several servers do it, and is made up for by the next when one fails.
func (s *server) tidy(ctx context.Context) {
	chores := []struct {
		name string
		run  func(context.Context) (int64, error)
	}{
		{"forget answers to idempotency keys", s.log.ForgetAnswers},
		{"forget counters of events", s.log.ForgetCounts},
		{"forget what accounts no longer need", s.accounts.Tidy},
		{"remove payloads of ended jobs", s.dispatch.ForgetPayloads},
		{"go on with retention that broke off", s.retention.Resume},
		{"enforce retention", s.retention.Enforce},
	}
	ticker := time.NewTicker(tidyEvery)
	defer ticker.Stop()
	for {
		for _, c := range chores {
			n, err := c.run(ctx)
			if err != nil && ctx.Err() == nil {
				s.logger.Error("a chore failed", "chore", c.name, "error", err)
			} else if n > 0 {
				s.logger.Info("tidied", "chore", c.name, "rows", n)
			}
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}
