package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"sealpost/assist/fakeprovider"
	"sealpost/client"
	"sealpost/config"
)

// demoKey is what the fake AI provider takes as its key: it is no secret, and long enough to be none of
// the samples that are refused.
const demoKey = "sealpost-demo-fake-provider-key-0001"

// demoPort is the first port that the demo tries, serve's own; where it is taken, any free one.
const demoPort = 4000

// demoCommand shows the whole way of a document on a server of its own, which needs nothing installed
// and nothing configured, and leaves it running for whoever wants to try more.
func demoCommand(ctx context.Context, p program, args []string) error {
	f := p.flags("demo", "show the way of a document, from first sign-in to replay, on a server of its own")
	exit := f.Bool("exit", false, "end when every step has held, with status 0, instead of leaving the server running")
	database := f.String("database", "", "a database `URL` to use instead of SQLite in the scratch folder: an empty one")
	if err := p.parse(f, args); err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "sealpost-demo-")
	if err != nil {
		return fmt.Errorf("make a scratch folder: %w", err)
	}
	defer os.RemoveAll(dir) //nolint:errcheck // the system's temporary folder
	d, err := startDemo(ctx, p.stdout, dir, *database)
	if err != nil {
		return err
	}
	err = d.steps(ctx)
	if err != nil {
		err = fmt.Errorf("%w\nthe server's log is below\n%s", err, d.logTail())
	}
	if err == nil && !*exit {
		d.invite()
		select {
		case <-ctx.Done():
		case err = <-d.ended:
			d.ended <- nil
		}
	}
	return errors.Join(err, d.close())
}

// demo is a running demo: the server, its receivers, and what was learnt on the way.
type demo struct {
	out      io.Writer
	dir      string
	environ  []string // what the server was started with
	logged   *os.File
	server   *server
	provider *fakeprovider.Server
	stop     context.CancelFunc
	ended    chan error
	api      *client.Client
	step     int

	ledger, archive *demoReceiver
	admin           credentials
	totpSecret      string
	lastCode        string
	backupCodes     []string
	documentID      string
	failedJob       string
}

type credentials struct{ email, password string }

// startDemo starts a server in a scratch folder.
func startDemo(ctx context.Context, out io.Writer, dir, databaseURL string) (*demo, error) {
	provider, err := fakeprovider.Start(ctx, demoKey)
	if err != nil {
		return nil, err
	}
	l, err := listenNear(ctx, demoPort)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("listen: %w", err), provider.Close())
	}
	environ := []string{
		"NODE_ENV=development", "MFA_REQUIRED=true", "ALLOW_DEV_LOGIN=false", "DATA_DIR=" + filepath.Join(dir, "data"),
		"PORT=" + strconv.Itoa(l.Addr().(*net.TCPAddr).Port),
		// Retries in a demo are to be watched, not waited for.
		"DISPATCH_MAX_ATTEMPTS=3", "DISPATCH_BACKOFF_MS=400", "DISPATCH_TIMEOUT_SECONDS=5",
		"OPENAI_API_KEY=" + demoKey, "OPENAI_BASE_URL=" + provider.URL, "OPENAI_MODEL=" + fakeprovider.Model,
	}
	if databaseURL != "" {
		environ = append(environ, "DATABASE_URL="+databaseURL)
	}
	c, _, err := config.Load(environ)
	if err != nil {
		return nil, errors.Join(err, l.Close(), provider.Close())
	}
	logged, err := os.Create(filepath.Join(dir, "server.log")) //nolint:gosec // our scratch folder
	if err != nil {
		return nil, errors.Join(err, l.Close(), provider.Close())
	}
	s, err := wire(ctx, c, slog.New(slog.NewTextHandler(logged, nil)))
	if err != nil {
		return nil, errors.Join(err, l.Close(), logged.Close(), provider.Close())
	}
	d := &demo{out: out, dir: dir, environ: environ, logged: logged, server: s, provider: provider, ended: make(chan error, 2)}
	d.api = &client.Client{HTTP: &http.Client{Transport: &http.Transport{}, Timeout: time.Minute}}
	running, stop := context.WithCancel(context.WithoutCancel(ctx))
	d.stop = stop
	ready := make(chan string, 1)
	go func() { d.ended <- s.serve(running, l, func(url string) { ready <- url }) }()
	select {
	case d.api.URL = <-ready:
		return d, nil
	case err := <-d.ended:
		d.ended <- nil
		return nil, errors.Join(err, d.close())
	}
}

// listenNear listens on a port of this machine, or on any free one where that is taken.
func listenNear(ctx context.Context, port int) (net.Listener, error) {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	if err != nil {
		l, err = lc.Listen(ctx, "tcp", "127.0.0.1:0")
	}
	return l, err
}

// close ends the server in order, then the receivers.
func (d *demo) close() error {
	d.api.HTTP.CloseIdleConnections()
	d.stop()
	err := errors.Join(<-d.ended, d.server.close())
	for _, r := range []*demoReceiver{d.ledger, d.archive} {
		if r != nil {
			r.close()
		}
	}
	return errors.Join(err, d.provider.Close(), d.logged.Close())
}

// logTail is the end of the server's log.
func (d *demo) logTail() string {
	b, err := os.ReadFile(d.logged.Name())
	if err != nil {
		return err.Error()
	}
	return string(b[max(0, len(b)-4000):])
}

// say tells of one step, as it has happened.
func (d *demo) say(format string, args ...any) {
	d.step++
	_, _ = fmt.Fprintf(d.out, "%2d  "+format+"\n", append([]any{d.step}, args...)...)
}

// invite says how to go on with the server that is left running.
func (d *demo) invite() {
	_, _ = fmt.Fprintf(d.out, `
The server runs until you press Ctrl-C. Its folder, %[2]s, is gone then.

  dashboard      %[1]s
  account        %[3]s (ADMIN)
  password       %[4]s
  TOTP secret    %[5]s   (for an authenticator app)
  backup codes   %[6]s
  access token   %[7]s

Try it:

  curl -s -H 'Authorization: Bearer %[7]s' %[1]s/api/admin/dispatch/jobs
  curl -s %[1]s/openapi.json
`, d.api.URL, d.dir, d.admin.email, d.admin.password, d.totpSecret, joined(d.backupCodes), d.api.Token)
}

func joined(codes []string) string {
	var text strings.Builder
	for i, c := range codes {
		switch {
		case i == 0:
		case i%4 == 0:
			text.WriteString("\n                 ")
		default:
			text.WriteString(" ")
		}
		text.WriteString(c)
	}
	return text.String()
}
