package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"sealpost/web"
)

// A running server can be asked from its own machine without a token, over a Unix socket in DATA_DIR
// (decision 8): on SQLite it has the database to itself, and at 3 a.m. nobody has a token at hand. The
// folder of the socket is the server's account's alone, and so is what the socket gives: the routes
// that say so (web/operator.go).

const (
	operatorFolder = "run"
	operatorSocket = "operator.sock"
)

func operatorPath(dataDir string) string {
	return filepath.Join(dataDir, operatorFolder, operatorSocket)
}

// listenOperator makes the socket. Only the process that has DATA_DIR's server name does, so an old
// socket that is in the way is a dead process's.
func listenOperator(ctx context.Context, dataDir string) (net.Listener, error) {
	folder := filepath.Join(dataDir, operatorFolder)
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return nil, err
	}
	if err := os.Chmod(folder, 0o700); err != nil { //nolint:gosec // a folder needs its x
		return nil, err
	}
	path := operatorPath(dataDir)
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, "unix", path)
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", path, err)
	}
	return l, nil
}

// serveOperator answers on the operator's socket until the returned function ends it. A server that
// cannot have one says so, and serves all the same.
func (s *server) serveOperator(ctx context.Context) (end func()) {
	if s.name.String() == "" {
		s.logger.Warn("no operator's socket: another process serves from this DATA_DIR, and has it")
		return func() {}
	}
	l, err := listenOperator(ctx, s.config.DataDir)
	if err != nil {
		s.logger.Warn("no operator's socket: `sealpost runbook verify` needs --url and a token here", "error", err)
		return func() {}
	}
	srv := web.OperatorServer(s.web.Handler())
	srv.ErrorLog = slog.NewLogLogger(s.logger.Handler(), slog.LevelDebug)
	served := make(chan struct{})
	go func() {
		defer close(served)
		if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			s.logger.Error("the operator's socket has ended", "error", err)
		}
	}()
	return func() {
		ctx, cancel := context.WithTimeout(context.Background(), closeFor)
		defer cancel()
		if err := srv.Shutdown(ctx); err != nil {
			_ = srv.Close()
		}
		<-served
	}
}

// operatorClient is an HTTP client whose every connection leads to an operator's socket.
func operatorClient(path string, timeout time.Duration) *http.Client {
	return &http.Client{Timeout: timeout, Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", path)
		},
	}}
}
