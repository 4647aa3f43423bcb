package main

import (
	"context"
	"log/slog"

	"sealpost/account"
	"sealpost/audit"
	"sealpost/config"
	"sealpost/dispatch"
	"sealpost/rotation"
)

// openKeeper opens what keeps the secrets. The domains are looked up when they are
// needed: they come after it, since they stand on its keys. Either may be nil in a command that has none.
func openKeeper(ctx context.Context, log *audit.Log, c *config.Config, logger *slog.Logger, s *server) (*rotation.Keeper, error) {
	return rotation.Open(ctx, log, rotation.Sources{Secrets: c.Secrets, DatabasePassword: c.DatabasePassword()}, rotation.Options{
		TokenLife: c.Auth.AccessTTL, MaxAgeDays: c.RotationMaxAgeDays, Sealed: append(account.Sealed(), dispatch.Sealed()...),
		Endpoints: func(ctx context.Context) ([]rotation.NamedSecret, error) {
			if s.dispatch == nil {
				return nil, nil
			}
			ages, err := s.dispatch.SecretAges(ctx)
			list := make([]rotation.NamedSecret, len(ages))
			for i, a := range ages {
				list[i] = rotation.NamedSecret{ID: a.EndpointID, Name: a.Name, ChangedAt: a.ChangedAt}
			}
			return list, err
		},
		APIKeys: func(ctx context.Context) ([]rotation.NamedSecret, error) {
			if s.accounts == nil {
				return nil, nil
			}
			ages, err := s.accounts.KeyAges(ctx)
			list := make([]rotation.NamedSecret, len(ages))
			for i, a := range ages {
				list[i] = rotation.NamedSecret{ID: a.ID, Name: a.Name, ChangedAt: a.CreatedAt}
			}
			return list, err
		},
		SealPending: func(ctx context.Context) error {
			if s.sealer == nil {
				return nil
			}
			return s.sealer.SealNow(ctx)
		},
		OpenAIChanged: func(key config.Secret) {
			if s.assist != nil {
				s.assist.UseKey(key)
			}
		},
		Logger: logger,
	})
}
