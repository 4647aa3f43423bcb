package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"time"

	"sealpost/config"
	"sealpost/web"
)

const (
	drainFor = 30 * time.Second // requests that were begun have this long to end; deliveries have their own limit
	closeFor = 10 * time.Second // the last events have this long to be written
)

func serveCommand(ctx context.Context, p program, args []string) error {
	f := p.flags("serve", "run the server, configured by environment variables (`sealpost help variables`)")
	if err := p.parse(f, args); err != nil {
		return err
	}
	c, logger, err := p.configure()
	if err != nil {
		return err
	}
	s, err := wire(ctx, c, logger)
	if err != nil {
		return err
	}
	err = s.listenAndServe(ctx, func(url string) { _, _ = fmt.Fprintf(p.stdout, "listening on %s\n", url) })
	return errors.Join(err, s.close())
}

func migrateCommand(ctx context.Context, p program, args []string) error {
	f := p.flags("migrate", "bring the database's tables to this version, and end")
	if err := p.parse(f, args); err != nil {
		return err
	}
	c, logger, err := p.configure()
	if err != nil {
		return err
	}
	st, err := openStore(ctx, c, logger)
	if err != nil {
		return err
	}
	_, _ = fmt.Fprintln(p.stdout, "the database's tables are of this version")
	return st.Close()
}

// configure reads the configuration, and makes the log that it asks for: JSON lines in production,
// text for people elsewhere. The error is of type config.Problems, or about a file.
func (p program) configure() (*config.Config, *slog.Logger, error) {
	c, warnings, err := config.Load(p.environ)
	if err != nil {
		for _, w := range warnings {
			_, _ = fmt.Fprintf(p.stderr, "sealpost: warning: %s\n", w)
		}
		return nil, nil, err
	}
	var handler slog.Handler = slog.NewTextHandler(p.stderr, nil)
	if c.Production() {
		handler = slog.NewJSONHandler(p.stderr, nil)
	}
	logger := slog.New(handler)
	for _, w := range warnings {
		logger.Warn(w)
	}
	return c, logger, nil
}

// listenAndServe serves on HOST:PORT until ctx ends, and tells at which URL once it does.
func (s *server) listenAndServe(ctx context.Context, ready func(url string)) error {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", net.JoinHostPort(s.config.Host, strconv.Itoa(s.config.Port)))
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	return s.serve(ctx, l, ready)
}

// serve answers what comes to a listener, and dispatches, until ctx ends; then it drains. It ends
// earlier, with an error, if a part of it does.
func (s *server) serve(ctx context.Context, l net.Listener, ready func(url string)) error {
	srv := web.HTTPServer(l.Addr().String(), s.web.Handler())
	srv.ErrorLog = slog.NewLogLogger(s.logger.Handler(), slog.LevelDebug) // broken connections, mostly
	srv.RegisterOnShutdown(s.web.EndStreams)                              // a drain waits for answers, and these have no end
	scheme, accept := "http", func() error { return srv.Serve(l) }
	if files := s.config.TLS; files.CertFile != "" {
		certificate, err := loadCertificate(files.CertFile, files.KeyFile, s.logger)
		if err != nil {
			return errors.Join(err, l.Close())
		}
		srv.TLSConfig = certificate.config()
		scheme, accept = "https", func() error { return srv.ServeTLS(l, "", "") }
	}

	work, stopWork := context.WithCancel(context.WithoutCancel(ctx))
	defer stopWork()
	ended := make(chan error, 2)
	dispatched, tidied, alerted := make(chan struct{}), make(chan struct{}), make(chan struct{})
	kept, sealed, counted := make(chan struct{}), make(chan struct{}), make(chan struct{})
	go func() {
		defer close(dispatched)
		if err := s.dispatch.Run(work); err != nil {
			ended <- fmt.Errorf("the dispatcher has ended: %w", err)
		}
	}()
	go func() {
		defer close(tidied)
		s.tidy(work)
	}()
	go func() {
		defer close(counted)
		s.log.CountUp(work)
	}()
	go func() {
		defer close(alerted)
		s.alerts.Run(work)
	}()
	go func() {
		defer close(kept)
		s.rotation.Run(work)
	}()
	go func() {
		defer close(sealed)
		s.sealer.Run(work)
	}()
	endOperator := s.serveOperator(ctx)
	var failed error
	if s.dispatching(ctx, ended) {
		go func() {
			if err := accept(); !errors.Is(err, http.ErrServerClosed) {
				ended <- fmt.Errorf("serve: %w", err)
			}
		}()
		ready(scheme + "://" + l.Addr().String())
	} else {
		_ = l.Close()
	}
	select {
	case failed = <-ended:
		s.logger.Error("ending", "error", failed)
	case <-ctx.Done():
		s.logger.Info("ending: finishing what was begun")
	}
	// Requests and deliveries end side by side. A job accepted meanwhile is stored, and sent after the
	// next start.
	stopWork()
	drain, cancel := context.WithTimeout(context.Background(), s.drain)
	defer cancel()
	if err := srv.Shutdown(drain); err != nil {
		s.logger.Warn("requests did not end in time and are broken off", "after", s.drain)
		_ = srv.Close()
	}
	endOperator()
	<-dispatched // has a limit of its own
	<-tidied
	<-counted
	<-alerted
	<-kept
	<-sealed // what is left is sealed when everything has ended: see close
	return failed
}

// dispatching waits until the dispatcher is at work, so that a server which says that it listens is
// healthy. false: ctx or the dispatcher has ended before.
func (s *server) dispatching(ctx context.Context, ended chan error) bool {
	for s.dispatch.Check(ctx) != nil {
		select {
		case err := <-ended:
			ended <- err
			return false
		case <-ctx.Done():
			return false
		case <-time.After(time.Millisecond):
		}
	}
	return true
}
