// Package browser_test uses the dashboard as people do: in a real Chromium, on a real server. Each test
// fails where the browser reports anything that is not right: an error in the console, a script that
// breaks, something that the Content-Security-Policy has stopped, or a request that fails.
package browser_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"

	"sealpost/store/storetest/pgtest"
)

func TestMain(m *testing.M) {
	code := m.Run()
	chromium.close()
	if err := pgtest.StopShared(); err != nil {
		_, _ = fmt.Fprintln(os.Stderr, "stop PostgreSQL:", err)
		code = max(code, 1)
	}
	os.Exit(code)
}

// chromium is the one browser of all tests.
var chromium browser

type browser struct {
	once  sync.Once
	err   error
	ctx   context.Context
	end   []func()
	files string
}

// names are what distributions call it.
var names = []string{"chromium", "chromium-browser", "google-chrome", "google-chrome-stable"}

func (b *browser) start() {
	var path string
	for _, name := range names {
		if path, b.err = exec.LookPath(name); b.err == nil {
			break
		}
	}
	if b.err != nil {
		b.err = fmt.Errorf("no Chromium is installed (Debian: apt-get install chromium): %w", b.err)
		return
	}
	if b.files, b.err = os.MkdirTemp("", "sealpost-chromium-"); b.err != nil {
		return
	}
	flags := []chromedp.ExecAllocatorOption{
		chromedp.ExecPath(path), chromedp.UserDataDir(b.files), chromedp.NoFirstRun, chromedp.NoDefaultBrowserCheck, chromedp.Headless,
		chromedp.DisableGPU, chromedp.NoSandbox, // root may not use it, and it is our own page that is shown
	}
	for _, name := range []string{
		"disable-quic", "disable-background-networking", "disable-component-update", "disable-sync", "disable-dev-shm-usage",
	} {
		flags = append(flags, chromedp.Flag(name, true))
	}
	ctx, endProcess := chromedp.NewExecAllocator(context.Background(), flags...)
	ctx, endBrowser := chromedp.NewContext(ctx)
	b.ctx, b.end = ctx, []func(){endBrowser, endProcess}
	b.err = chromedp.Do(ctx)
}

func (b *browser) close() {
	for _, end := range b.end {
		end()
	}
	if b.files != "" {
		_ = os.RemoveAll(b.files)
	}
}

// tab is a person's window: it has cookies of its own.
type tab struct {
	t   *testing.T
	ctx context.Context
	url string

	mu       sync.Mutex
	problems []string
	expected []string
}

// patience is how long a page may take here: the machine is shared, and so is the browser.
const patience = 60 * time.Second

// open opens a window on a server's pages until the test ends, and then fails the test where the
// browser has found fault with any of them.
func open(t *testing.T, url string) *tab {
	t.Helper()
	chromium.once.Do(chromium.start)
	if chromium.err != nil {
		t.Fatal(chromium.err)
	}
	ctx, end := chromedp.NewContext(chromium.ctx, chromedp.WithNewBrowserContext())
	if err := chromedp.Do(ctx); err != nil { // makes the window, which a limit of its own would end again
		t.Fatal(err)
	}
	b := &tab{t: t, ctx: ctx, url: url}
	messages, listened := chromedp.Console(ctx), make(chan struct{})
	go func() {
		defer close(listened)
		for m, err := range messages {
			if err != nil {
				return
			}
			b.listen(m)
		}
	}()
	t.Cleanup(func() {
		end()
		<-listened
		for _, p := range b.problems {
			t.Errorf("the browser says: %s", p)
		}
	})
	b.run(chromedp.EmulateViewport(1280, 800))
	return b
}

// listen notes what the browser finds wrong.
func (b *tab) listen(m chromedp.ConsoleMessage) {
	switch m.Type {
	case chromedp.ConsoleLog, chromedp.ConsoleDebug, chromedp.ConsoleInfo:
		return
	default: // warnings, errors, exceptions, and whatever else there is
	}
	problem := fmt.Sprintf("%s %s %s", m.Source, m, m.URL)
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, e := range b.expected {
		if strings.Contains(problem, e) {
			return
		}
	}
	b.problems = append(b.problems, problem)
}

// expect says what the browser may find fault with from now on, because the test brings it about.
func (b *tab) expect(parts ...string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.expected = append(b.expected, parts...)
}

// noticed tells whether a problem was reported that has a part, and takes it off the list.
func (b *tab) noticed(part string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	before := len(b.problems)
	b.problems = slices.DeleteFunc(b.problems, func(p string) bool { return strings.Contains(p, part) })
	return len(b.problems) < before
}

// run does something in the window.
func (b *tab) run(actions ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	if err := chromedp.Do(ctx, actions...); err != nil {
		b.t.Fatalf("%v\n%s", err, b.where())
	}
}

// evaluate gives what an expression is, as its own Go type.
func evaluate[T any](b *tab, limit time.Duration, expression string) (T, error) {
	ctx, cancel := context.WithTimeout(b.ctx, limit)
	defer cancel()
	return chromedp.Run(ctx, chromedp.Evaluate[T](expression))
}

// where tells what the window shows, for a test that has failed.
func (b *tab) where() string {
	text, err := evaluate[string](b, 5*time.Second, `location.href + "\n" + (document.body ? document.body.innerText : "")`)
	if err != nil {
		return "and the window does not answer: " + err.Error()
	}
	b.shot("failed-" + filepath.Base(b.t.Name()))
	return "the window is at " + text
}

func (b *tab) visit(path string) {
	b.t.Helper()
	b.run(chromedp.Navigate(b.url + path))
}

func (b *tab) fill(selector, text string) {
	b.t.Helper()
	css := chromedp.CSS(selector)
	b.run(chromedp.WaitVisible(css))
	b.value(fmt.Sprintf(`document.querySelector(%q).value = ""`, selector))
	b.run(chromedp.SendKeys(css, text))
}

func (b *tab) click(selector string) {
	b.t.Helper()
	b.run(chromedp.Click(chromedp.CSS(selector)))
}

// press types into whatever has the focus: text, or a key of package kb.
func (b *tab) press(keys ...string) {
	b.t.Helper()
	for _, k := range keys {
		b.run(chromedp.KeyEvent(k))
	}
}

// sees waits until the text that a selector finds has a part.
func (b *tab) sees(selector, part string) {
	b.t.Helper()
	b.until(fmt.Sprintf(`(document.querySelector(%q)?.textContent || "").includes(%q)`, selector, part))
}

// until waits until an expression is true. While a page is being left there is nothing to ask.
func (b *tab) until(expression string) {
	b.t.Helper()
	end := time.Now().Add(patience)
	for {
		is, err := evaluate[bool](b, 10*time.Second, "Boolean("+expression+")")
		if err == nil && is {
			return
		}
		if time.Now().After(end) {
			b.t.Fatalf("it does not come true: %s (%v)\n%s", expression, err, b.where())
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// at waits until the window is at a path.
func (b *tab) at(path string) {
	b.t.Helper()
	b.until(fmt.Sprintf(`location.pathname + location.search === %q && document.readyState === "complete"`, path))
}

// value gives what an expression is, as text.
func (b *tab) value(expression string) string {
	b.t.Helper()
	v, err := evaluate[string](b, patience, "String("+expression+")")
	if err != nil {
		b.t.Fatalf("%v\n%s", err, b.where())
	}
	return v
}

// shot keeps pictures of the page, where SEALPOST_SCREENSHOTS names a folder for them: as it is, in
// dark colours, and as wide as a telephone.
func (b *tab) shot(name string) {
	b.t.Helper()
	dir := os.Getenv("SEALPOST_SCREENSHOTS")
	if dir == "" {
		return
	}
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	for _, look := range []struct {
		name, scheme  string
		width, height int64
	}{{"", "light", 1280, 800}, {"-dark", "dark", 1280, 800}, {"-400", "light", 400, 800}} {
		_, err := chromedp.Call(ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
			Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: look.scheme}},
		})
		if err == nil {
			err = chromedp.Do(ctx, chromedp.EmulateViewport(look.width, look.height))
		}
		var png []byte
		if err == nil {
			png, err = chromedp.Run(ctx, chromedp.FullScreenshot(100))
		}
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, name+look.name+".png"), png, 0o644)
		}
		if err != nil {
			b.t.Logf("no picture of %s%s: %v", name, look.name, err)
		}
	}
	if err := chromedp.Do(ctx, chromedp.EmulateViewport(1280, 800)); err != nil {
		b.t.Error(err)
	}
}
