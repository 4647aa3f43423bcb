package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"sealpost/audit"
	"sealpost/config"
	"sealpost/fault"
)

// newSealer makes what seals the audit log, as the environment says.
func newSealer(log *audit.Log, c *config.Config, logger *slog.Logger) (*audit.Sealer, error) {
	o := audit.SealerOptions{
		Origin: audit.Origin(c.PublicURL), CheckpointEvery: c.Audit.CheckpointEvery, CheckpointDir: c.Audit.CheckpointDir, Logger: logger,
	}
	for _, w := range c.Audit.Witnesses {
		witness := audit.Witness{URL: w.URL}
		if w.Key == "" {
			logger.Warn("a witness is named without its key: its cosignatures are published and not verified", "witness", w.URL)
		} else {
			var err error
			if witness.Verifier, err = audit.NewCosigner(w.Key); err != nil {
				return nil, fmt.Errorf("AUDIT_WITNESS_URLS: %s: %w", w.URL, err)
			}
		}
		o.Witnesses = append(o.Witnesses, witness)
	}
	return audit.NewSealer(log, o), nil
}

// endLog accounts for the last events of this process, and seals them if nobody else does. A log that
// cannot be sealed is no reason not to end: what waits is sealed after the next start.
func (s *server) endLog(ctx context.Context) error {
	if s.sealer == nil || s.rotation == nil {
		return nil
	}
	if err := s.log.End(ctx); err != nil && !fault.Is(err, fault.Unavailable) {
		return err
	}
	if err := s.sealer.Drain(ctx); err != nil {
		if fault.Is(err, fault.Unavailable) || errors.Is(err, context.DeadlineExceeded) {
			s.logger.Warn("the last audit events are not sealed yet; they are after the next start", "error", err)
			return nil
		}
		return err
	}
	return nil
}
