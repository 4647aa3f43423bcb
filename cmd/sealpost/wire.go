package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"sealpost/account"
	"sealpost/assist"
	"sealpost/audit"
	"sealpost/config"
	"sealpost/dispatch"
	"sealpost/document"
	"sealpost/rotation"
	"sealpost/runbook"
	"sealpost/store"
	"sealpost/web"
)

// server is the program put together: every part with what it stands on.
type server struct {
	config *config.Config
	logger *slog.Logger
	name   *serverName
	drain  time.Duration // what was begun has this long to end

	store     *store.Store
	log       *audit.Log
	sealer    *audit.Sealer
	rotation  *rotation.Keeper
	retention *audit.Retention
	accounts  *account.Accounts
	dispatch  *dispatch.Dispatcher
	assist    *assist.Assistant
	documents *document.Documents
	alerts    *dispatch.Alerts
	web       *web.Server
	traces    *traces
}

// wire puts the program together, in the order of DESIGN §1 from the bottom to the top: the database
// with its tables, the audit log, the keys, the domains, and the routes. Nothing runs yet but the
// database. Whoever wires a server closes it.
func wire(ctx context.Context, c *config.Config, logger *slog.Logger) (_ *server, err error) {
	s := &server{config: c, logger: logger, drain: drainFor}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.close())
		}
	}()

	if s.store, err = openStore(ctx, c, logger); err != nil {
		return nil, err
	}
	if s.name, err = takeServerName(c.DataDir); err != nil {
		logger.Warn("this server has no name that outlives a restart: after a crash its jobs wait 15 s", "error", err)
	}
	s.log = audit.New(s.store, logger)
	if s.sealer, err = newSealer(s.log, c, logger); err != nil {
		return nil, err
	}
	if s.rotation, err = openKeeper(ctx, s.log, c, logger, s); err != nil {
		return nil, err
	}
	if s.traces, err = openTraces(ctx, c.OTLPEndpoint, s.log.Writer(), os.Getenv, logger); err != nil {
		return nil, err
	}
	set := s.rotation.Keys()
	s.retention = audit.NewRetention(s.log, audit.RetentionOptions{
		Days: c.Audit.RetentionDays, EveryDays: c.Audit.RetentionEvery, Sealer: s.sealer,
	})
	s.accounts = account.New(s.log, set, accountOptions(c))
	s.dispatch = dispatch.New(s.log, set.Data, dispatch.Options{
		MaxAttempts: c.Dispatch.MaxAttempts, Backoff: c.Dispatch.Backoff, Timeout: c.Dispatch.Timeout,
		Concurrency: c.Dispatch.Concurrency, EndpointConcurrency: c.Dispatch.EndpointConcurrency,
		PayloadRetention:     time.Duration(c.Dispatch.PayloadRetentionDays) * 24 * time.Hour,
		AllowPrivateNetworks: c.Dispatch.AllowPrivateNetworks, AllowedNetworks: c.Dispatch.AllowedNetworks,
		Server: s.name.String(), Logger: logger, Tracer: s.traces.tracer(),
	})
	s.log.Tell(s.dispatch.Count)
	s.assist = assist.New(assist.Options{APIKey: c.Secrets.OpenAI, BaseURL: c.AI.BaseURL, Model: c.AI.Model})
	s.documents = document.New(s.log, set, s.dispatch, s.assist)
	s.alerts = dispatch.NewAlerts(s.log, dispatch.AlertOptions{Alert: c.Dispatch.Alert, PublicURL: c.PublicURL.String(), Logger: logger})
	s.web = web.New(web.Deps{
		Config: c, Log: s.log, Sealer: s.sealer, Accounts: s.accounts, Dispatch: s.dispatch, Documents: s.documents,
		Alerts: s.alerts, Rotation: s.rotation, Retention: s.retention, Runbook: runbook.New(runbook.Options{Config: c, Log: s.log, Rotation: s.rotation}),
		Version: versionText(), Logger: logger, Tracer: s.traces.tracer(),
	})
	return s, nil
}

func accountOptions(c *config.Config) account.Options {
	return account.Options{
		Auth: c.Auth, Issuer: c.PublicURL.String(), Production: c.Production(), Bootstrap: c.Secrets.Bootstrap,
	}
}

// openStore opens the database and brings its tables to this version.
func openStore(ctx context.Context, c *config.Config, logger *slog.Logger) (*store.Store, error) {
	st, err := store.Open(ctx, string(c.DatabaseURL.Reveal()), store.Options{Logger: logger})
	if err != nil {
		return nil, err
	}
	if err := st.Migrate(ctx); err != nil {
		return nil, errors.Join(err, st.Close())
	}
	return st, nil
}

// close writes what is still only remembered, and closes the database. It is the end of a server
// that does not run, or no longer does.
func (s *server) close() error {
	var err error
	if s.accounts != nil {
		ctx, cancel := context.WithTimeout(context.Background(), closeFor)
		defer cancel()
		err = s.accounts.Close(ctx)
	}
	if s.log != nil {
		ctx, cancel := context.WithTimeout(context.Background(), closeFor)
		defer cancel()
		s.log.Close(ctx)
		err = errors.Join(err, s.endLog(ctx))
	}
	err = errors.Join(err, s.traces.close(), s.name.release())
	if s.store != nil {
		if e := s.store.Close(); e != nil {
			err = errors.Join(err, fmt.Errorf("close the database: %w", e))
		}
	}
	return err
}
