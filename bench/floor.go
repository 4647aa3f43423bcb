package bench

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// newClient is the client of all measurements: the floor's and ours are the same.
func newClient() *http.Client {
	return &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: clients * 4, MaxConnsPerHost: clients * 4}}
}

// Sink is the bare server of the floor: it reads a POST and answers 204, and answers a GET with what was
// last PUT to it. It serves until its standard input ends, in a process of its own, as the program that it is
// the floor of.
func Sink(ctx context.Context, in io.Reader, out io.Writer) error {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	var answer atomic.Pointer[[]byte]
	srv := &http.Server{ReadHeaderTimeout: 10 * time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if b := answer.Load(); r.Method == http.MethodGet && b != nil {
			w.Header().Set("Content-Type", "application/json")
			_, _ = w.Write(*b)
			return
		}
		if r.Method == http.MethodPut {
			b, _ := io.ReadAll(r.Body)
			answer.Store(&b)
		}
		_, _ = io.Copy(io.Discard, r.Body)
		w.WriteHeader(http.StatusNoContent)
	})}
	_, _ = fmt.Fprintf(out, "http://%s\n", l.Addr())
	go func() {
		_, _ = io.Copy(io.Discard, in)
		_ = srv.Close()
	}()
	if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// floor is the bare client beside its sink. It is measured right before and right after each figure
// that is compared with it, since a shared machine has not the same speed from one minute to the next.
type floor struct {
	cmd    *exec.Cmd
	in     io.Closer
	url    string
	client *http.Client
	body   []byte
	d      time.Duration
}

func startFloor(ctx context.Context, o Options) (*floor, error) {
	cmd := exec.CommandContext(ctx, o.Program, "bench", "-sink") //nolint:gosec // the program itself
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	url, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		return nil, errors.Join(err, cmd.Wait())
	}
	return &floor{cmd: cmd, in: in, url: strings.TrimSpace(url), client: newClient(), body: randomPayload(), d: o.Each / 2}, nil
}

func (f *floor) close() error {
	f.client.CloseIdleConnections()
	_ = f.in.Close()
	return f.cmd.Wait()
}

// rate is F just now: how many posts a second the bare client brings to the bare sink.
func (f *floor) rate(ctx context.Context) (float64, error) {
	rate, _, err := hammer(ctx, f.d, func(ctx context.Context) error {
		return post(ctx, f.client, f.url, "", f.body, http.StatusNoContent)
	})
	return rate, err
}

// around runs a measurement between two of the floor, and gives their mean.
func (f *floor) around(ctx context.Context, measure func() error) (float64, error) {
	before, err := f.rate(ctx)
	if err != nil {
		return 0, err
	}
	if err := measure(); err != nil {
		return 0, err
	}
	after, err := f.rate(ctx)
	return (before + after) / 2, err
}

// hammer calls fn from as many goroutines as there are clients, and gives the rate and how long each
// call took.
func hammer(ctx context.Context, d time.Duration, fn func(context.Context) error) (rate float64, took []time.Duration, err error) {
	return hammerBy(ctx, clients, d, fn)
}

// hammerBy is hammer by so many goroutines.
func hammerBy(ctx context.Context, by int, d time.Duration, fn func(context.Context) error) (rate float64, took []time.Duration, err error) {
	warm := time.Now().Add(min(d/5, time.Second))
	end := warm.Add(d)
	var n atomic.Int64
	var mu sync.Mutex
	var wg sync.WaitGroup
	errs := make(chan error, by)
	for range by {
		wg.Go(func() {
			var mine []time.Duration
			for start := time.Now(); start.Before(end); start = time.Now() {
				if err := fn(ctx); err != nil {
					errs <- err
					return
				}
				if start.After(warm) {
					n.Add(1)
					mine = append(mine, time.Since(start))
				}
			}
			mu.Lock()
			took = append(took, mine...)
			mu.Unlock()
		})
	}
	wg.Wait()
	elapsed := time.Since(warm)
	select {
	case err := <-errs:
		return 0, nil, err
	default:
	}
	return float64(n.Load()) / elapsed.Seconds(), took, nil
}

func post(ctx context.Context, client *http.Client, url, token string, body []byte, want int) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	res, err := client.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close() //nolint:errcheck // read to its end
	answer, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode != want {
		err = fmt.Errorf("POST %s: %s: %.200s", url, res.Status, answer)
	}
	return err
}

func randomPayload() []byte {
	b := make([]byte, payloadBytes)
	_, _ = rand.Read(b)
	const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_"
	for i := range b {
		b[i] = letters[b[i]&63]
	}
	return b
}
