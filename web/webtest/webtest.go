// Package webtest starts the whole server on a real socket of this machine, for tests of its routes.
package webtest

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"

	"sealpost/account"
	"sealpost/assist"
	"sealpost/audit"
	"sealpost/config"
	"sealpost/dispatch"
	"sealpost/document"
	"sealpost/keys"
	"sealpost/rotation"
	"sealpost/runbook"
	"sealpost/store"
	"sealpost/web"
)

// Server is a running server, and the parts that it is made of.
type Server struct {
	URL    string
	Web    *web.Server
	Config *config.Config
	Store  *store.Store
	Log    *audit.Log
	Sealer *audit.Sealer // nothing runs it: SealNow seals
	Keys   *keys.Set

	Accounts  *account.Accounts
	Dispatch  *dispatch.Dispatcher
	Documents *document.Documents
	Alerts    *dispatch.Alerts // nothing runs it: a test that is about alerts does
	Rotation  *rotation.Keeper // nothing runs it: files are read again when Reload is called
	Retention *audit.Retention
	Runbook   *runbook.Checker

	// StopDispatch ends the dispatcher, which otherwise runs as long as the server.
	StopDispatch func()

	client *http.Client
	logged *buffer
}

// Start starts a server on a database until the test ends. env is more of the environment, such as
// "MFA_REQUIRED=true"; NODE_ENV is test.
func Start(t testing.TB, st *store.Store, env ...string) *Server {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	_, port, _ := net.SplitHostPort(listener.Addr().String())
	// PUBLIC_URL is http://localhost:PORT, where a browser on this machine finds it.
	c, _, err := config.Load(append([]string{"NODE_ENV=test", "PORT=" + port, "DATA_DIR=" + t.TempDir()}, env...))
	if err != nil {
		t.Fatal(err)
	}
	s := &Server{Config: c, Store: st, logged: &buffer{}}
	level := slog.LevelDebug
	if _, bench := t.(*testing.B); bench {
		level = slog.LevelInfo
	}
	logger := slog.New(slog.NewTextHandler(s.logged, &slog.HandlerOptions{Level: level}))
	s.Log = audit.New(st, logger)
	s.Sealer = audit.NewSealer(s.Log, audit.SealerOptions{Origin: audit.Origin(c.PublicURL), CheckpointEvery: c.Audit.CheckpointEvery, Logger: logger})
	s.Rotation, err = rotation.Open(t.Context(), s.Log, rotation.Sources{Secrets: c.Secrets}, rotation.Options{
		TokenLife: c.Auth.AccessTTL, MaxAgeDays: c.RotationMaxAgeDays, Sealed: append(account.Sealed(), dispatch.Sealed()...),
		Endpoints: s.endpointSecrets, APIKeys: s.apiKeys, Logger: logger,
	})
	if err != nil {
		t.Fatal(err)
	}
	s.Keys = s.Rotation.Keys()
	s.Retention = audit.NewRetention(s.Log, audit.RetentionOptions{Days: c.Audit.RetentionDays, Sealer: s.Sealer})
	s.Accounts = account.New(s.Log, s.Keys, account.Options{
		Auth: c.Auth, Issuer: c.PublicURL.String(), Production: c.Production(), Bootstrap: c.Secrets.Bootstrap,
	})
	s.Dispatch = dispatch.New(s.Log, s.Keys.Data, dispatch.Options{
		MaxAttempts: c.Dispatch.MaxAttempts, Backoff: c.Dispatch.Backoff, Timeout: c.Dispatch.Timeout,
		Concurrency: c.Dispatch.Concurrency, EndpointConcurrency: c.Dispatch.EndpointConcurrency,
		AllowPrivateNetworks: c.Dispatch.AllowPrivateNetworks, AllowedNetworks: c.Dispatch.AllowedNetworks, Logger: logger,
	})
	s.Log.Tell(s.Dispatch.Count)
	s.Documents = document.New(s.Log, s.Keys, s.Dispatch, assist.New(assist.Options{
		APIKey: c.Secrets.OpenAI, BaseURL: c.AI.BaseURL, Model: c.AI.Model,
	}))
	s.Alerts = dispatch.NewAlerts(s.Log, dispatch.AlertOptions{Alert: c.Dispatch.Alert, PublicURL: c.PublicURL.String(), Logger: logger})
	s.Runbook = runbook.New(runbook.Options{Config: c, Log: s.Log, Rotation: s.Rotation})
	s.Web = web.New(web.Deps{
		Config: c, Log: s.Log, Sealer: s.Sealer, Accounts: s.Accounts, Dispatch: s.Dispatch, Documents: s.Documents,
		Alerts: s.Alerts, Rotation: s.Rotation, Retention: s.Retention, Runbook: s.Runbook, Version: "test", Logger: logger,
	})
	dispatching, stop := context.WithCancel(context.Background())
	var dispatched, served sync.WaitGroup
	dispatched.Go(func() {
		if err := s.Dispatch.Run(dispatching); err != nil && dispatching.Err() == nil {
			t.Errorf("the dispatcher ended: %v", err)
		}
	})
	s.StopDispatch = func() {
		stop()
		dispatched.Wait()
	}
	t.Cleanup(s.StopDispatch)

	s.URL = "http://" + listener.Addr().String()
	server := web.HTTPServer(listener.Addr().String(), s.Web.Handler())
	server.ErrorLog = slog.NewLogLogger(logger.Handler(), slog.LevelError)
	served.Go(func() { _ = server.Serve(listener) })
	s.client = &http.Client{
		Transport:     &http.Transport{MaxIdleConnsPerHost: 64},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	t.Cleanup(func() {
		s.client.CloseIdleConnections()
		_ = server.Close()
		served.Wait()
		_ = s.Accounts.Close(context.Background()) // a test may have closed the database
		s.Log.Close(context.Background())
	})
	return s
}

// endpointSecrets tells rotation of the dispatcher's.
func (s *Server) endpointSecrets(ctx context.Context) ([]rotation.NamedSecret, error) {
	ages, err := s.Dispatch.SecretAges(ctx)
	list := make([]rotation.NamedSecret, len(ages))
	for i, a := range ages {
		list[i] = rotation.NamedSecret{ID: a.EndpointID, Name: a.Name, ChangedAt: a.ChangedAt}
	}
	return list, err
}

// apiKeys tells it of the accounts'.
func (s *Server) apiKeys(ctx context.Context) ([]rotation.NamedSecret, error) {
	ages, err := s.Accounts.KeyAges(ctx)
	list := make([]rotation.NamedSecret, len(ages))
	for i, a := range ages {
		list[i] = rotation.NamedSecret{ID: a.ID, Name: a.Name, ChangedAt: a.CreatedAt}
	}
	return list, err
}

// SignIn gives an access token of a person with a role, who is made where there is none of that name.
// A server that asks for MFA has no such shortcut.
func (s *Server) SignIn(t testing.TB, name string, role audit.Role) string {
	t.Helper()
	in, err := s.Accounts.DevLogin(t.Context(), audit.Principal{Kind: audit.Anonymous, IP: "127.0.0.1"},
		account.NewDevUser{Email: name + "@example.org", Name: name, Role: string(role)})
	if err != nil {
		t.Fatal(err)
	}
	return in.Token
}

// Logged is what the server has logged so far.
func (s *Server) Logged() string { return s.logged.String() }

// Answer is a response, read to its end.
type Answer struct {
	Status int
	Header http.Header
	Text   string
	Body   map[string]any // where the text is a JSON object
}

// Do makes a request. The token may be empty; body is nil, a string or []byte to be sent as it is, or
// what is to be sent as JSON. Headers come in pairs of name and value.
func (s *Server) Do(t testing.TB, method, path, token string, body any, headers ...string) Answer {
	t.Helper()
	var reader io.Reader
	switch b := body.(type) {
	case nil:
	case string:
		reader = strings.NewReader(b)
	case []byte:
		reader = bytes.NewReader(b)
	default:
		text, err := json.Marshal(b)
		if err != nil {
			t.Fatal(err)
		}
		reader = bytes.NewReader(text)
	}
	r, err := http.NewRequestWithContext(t.Context(), method, s.URL+path, reader)
	if err != nil {
		t.Fatal(err)
	}
	if reader != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	for i := 0; i+1 < len(headers); i += 2 {
		r.Header[http.CanonicalHeaderKey(headers[i])] = append(r.Header[http.CanonicalHeaderKey(headers[i])], headers[i+1])
	}
	return s.Send(t, r)
}

// Send makes a request that a test has made itself.
func (s *Server) Send(t testing.TB, r *http.Request) Answer {
	t.Helper()
	response, err := s.client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close() //nolint:errcheck // read to its end
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	a := Answer{Status: response.StatusCode, Header: response.Header, Text: string(text)}
	_ = json.Unmarshal(text, &a.Body)
	return a
}

// At gives the value at a path of names, "details.fields", nil where there is none.
func (a Answer) At(path string) any {
	var v any = a.Body
	for name := range strings.SplitSeq(path, ".") {
		m, _ := v.(map[string]any)
		v = m[name]
	}
	return v
}

// Want fails the test where the status is another.
func (a Answer) Want(t testing.TB, status int) Answer {
	t.Helper()
	if a.Status != status {
		t.Fatalf("status %d, want %d: %s", a.Status, status, a.Text)
	}
	return a
}

// buffer is a log that tests may read while it is written.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}
