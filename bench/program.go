package bench

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"sealpost/client"
)

// program is the sealpost server that is measured, a child process.
type program struct {
	api     *client.Client
	cmd     *exec.Cmd
	started time.Duration // from the start of the process to its first answer
	log     *os.File
	env     []string
	exe     string
}

// withDatabase is a PostgreSQL URL with another database's name.
func withDatabase(raw, name string) (string, error) {
	u, err := url.Parse(raw)
	if err != nil {
		return "", fmt.Errorf("the PostgreSQL URL cannot be read")
	}
	u.Path = "/" + name
	return u.String(), nil
}

// startProgram starts a server in a scratch folder, signs in as its first admin, and keeps the token.
func startProgram(ctx context.Context, o Options, dir, databaseURL string) (*program, error) {
	port, err := freePort(ctx)
	if err != nil {
		return nil, err
	}
	p := &program{
		api: &client.Client{URL: "http://127.0.0.1:" + strconv.Itoa(port), HTTP: newClient()}, exe: o.Program,
		env: []string{
			"NODE_ENV=development", "MFA_REQUIRED=false", "DATA_DIR=" + dir, "DATABASE_URL=" + databaseURL,
			"AUTH_LOGIN_MAX_ATTEMPTS=100000", // all clients are one network
			"PORT=" + strconv.Itoa(port), "PATH=" + os.Getenv("PATH"), "HOME=" + dir,
		},
	}
	for _, name := range []string{"GOMAXPROCS", "GOGC", "GOMEMLIMIT"} { // so that they can be tried
		if value, ok := os.LookupEnv(name); ok {
			p.env = append(p.env, name+"="+value)
		}
	}
	if p.log, err = os.Create(filepath.Join(dir, "server.log")); err != nil { //nolint:gosec // our scratch folder
		return nil, err
	}
	if err := p.start(ctx); err != nil {
		return nil, err
	}
	var first struct{ Token string }
	err = p.api.Call(ctx, http.MethodPost, "/api/auth/register-first",
		map[string]string{"email": "bench@example.com", "name": "Bench", "password": "Quiet-Harbour-42-Lanterns"}, &first)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%w\n%s", err, p.tail()), p.stop())
	}
	p.api.Token = first.Token
	return p, nil
}

// start runs the process and waits for its first answer.
func (p *program) start(ctx context.Context) error {
	began := time.Now()
	p.cmd = exec.CommandContext(ctx, p.exe, "serve") //nolint:gosec // the program itself
	p.cmd.Env = p.env
	p.cmd.Stdout, p.cmd.Stderr = p.log, p.log
	p.cmd.Cancel = func() error { return p.cmd.Process.Signal(syscall.SIGTERM) }
	if err := p.cmd.Start(); err != nil {
		return err
	}
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, p.api.URL+"/livez", nil)
		if err != nil {
			return err
		}
		if res, err := p.api.HTTP.Do(req); err == nil {
			_ = res.Body.Close()
			p.started = time.Since(began)
			return nil
		}
		if time.Since(began) > 20*time.Second {
			return fmt.Errorf("the server does not answer:\n%s", p.tail())
		}
		if err := pause(ctx, time.Millisecond); err != nil {
			return err
		}
	}
}

func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (p *program) stop() error {
	p.api.HTTP.CloseIdleConnections()
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	err := p.cmd.Wait()
	_ = p.log.Close()
	if err != nil {
		return fmt.Errorf("the server ended with %w:\n%s", err, p.tail())
	}
	return nil
}

// tail is the end of the server's log.
func (p *program) tail() string {
	b, err := os.ReadFile(p.log.Name())
	if err != nil {
		return err.Error()
	}
	return string(b[max(0, len(b)-2000):])
}

// endpoint makes an endpoint and gives its id.
func (p *program) endpoint(ctx context.Context, url string) (string, error) {
	var made struct{ Endpoint struct{ ID string } }
	err := p.api.Call(ctx, http.MethodPost, "/api/admin/dispatch/endpoints", map[string]string{"name": "bench", "url": url}, &made)
	return made.Endpoint.ID, err
}

// rss is the resident memory of the server, in bytes; 0 where the system does not tell.
func (p *program) rss() int64 {
	f, err := os.Open(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		return 0
	}
	defer f.Close() //nolint:errcheck // only read
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if rest, ok := strings.CutPrefix(lines.Text(), "VmRSS:"); ok {
			kb, _ := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
			return kb << 10
		}
	}
	return 0
}

// processorTime is how long the server has been computing; 0 where the system does not tell.
func (p *program) processorTime() time.Duration {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.cmd.Process.Pid))
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(b), ") ") // the name before may have spaces
	fields := strings.Fields(rest)
	if len(fields) < 13 {
		return 0
	}
	user, _ := strconv.ParseInt(fields[11], 10, 64)
	system, _ := strconv.ParseInt(fields[12], 10, 64)
	return time.Duration(user+system) * 10 * time.Millisecond // Linux counts hundredths of a second for programs
}

// reopen opens a closed log again, to write on.
func reopen(f *os.File) (*os.File, error) {
	return os.OpenFile(f.Name(), os.O_APPEND|os.O_WRONLY, 0o600)
}

func freePort(ctx context.Context) (int, error) {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close() //nolint:errcheck // only its number is wanted
	return l.Addr().(*net.TCPAddr).Port, nil
}
