package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"sealpost/store/storetest"
)

// The operator's guide has every line of the runbook, in its order.
func TestTheGuideHasEveryLine(t *testing.T) {
	guide := readGuide(t)
	at := 0
	for _, line := range runbookLines(t) {
		n := slices.Index(guide[at:], line)
		if n < 0 {
			t.Fatalf("docs/operations.md has no line at its place that says: %s", line)
		}
		at += n + 1
	}
}

func readGuide(t *testing.T) []string {
	t.Helper()
	text, err := os.ReadFile("../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(string(text), "\n")
	for i := range lines {
		lines[i] = strings.TrimSpace(lines[i])
	}
	return lines
}

// Every path that the guide names is a route, by its method where it says one.
func TestTheGuidesPathsAreRoutes(t *testing.T) {
	p := newProcess(t, storetest.SQLiteURL(t), "ALLOW_DEV_LOGIN=true")
	p.start()
	var document struct {
		Paths map[string]map[string]json.RawMessage
	}
	p.must("GET", "/openapi.json", nil, &document)
	routes := map[string]bool{}
	parameter := regexp.MustCompile(`\{[^}]+\}|:[A-Za-z]+|\$[A-Z]+`)
	for path, methods := range document.Paths {
		for method := range methods {
			routes[strings.ToUpper(method)+" "+parameter.ReplaceAllString(path, "*")] = true
			routes[parameter.ReplaceAllString(path, "*")] = true
		}
	}
	named := regexp.MustCompile(`(?:(GET|POST|PUT|PATCH|DELETE) )?["']?(/(?:api|health|livez|metrics)[A-Za-z0-9/$:{}_-]*)`)
	text := strings.Join(readGuide(t), "\n")
	found := 0
	for _, m := range named.FindAllStringSubmatch(text, -1) {
		route := strings.TrimSpace(m[1] + " " + parameter.ReplaceAllString(strings.TrimSuffix(m[2], "/"), "*"))
		if found++; !routes[route] {
			t.Errorf("docs/operations.md names %s, and there is no such route", m[0])
		}
	}
	if found < 30 {
		t.Errorf("only %d paths were found: the test is not about what it should be", found)
	}
}

// TestTheGuideWorks runs the guide's commands, all of them in their order and in one shell, on the real
// program in production settings.
func TestTheGuideWorks(t *testing.T) {
	w := newWalk(t, storetest.SQLiteURL(t), "JWT_SECRET_FILE=$SECRETS/JWT_SECRET", "JWT_SECRET_PREVIOUS_FILE=$SECRETS/empty")
	w.receiver.fix(true)
	var script strings.Builder
	script.WriteString(guidePrelude)
	text, err := os.ReadFile("../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks := regexp.MustCompile("(?ms)^```sh\n(.*?)^```$").FindAllStringSubmatch(string(text), -1)
	if len(blocks) < 20 {
		t.Fatalf("only %d blocks of commands were found", len(blocks))
	}
	for _, b := range blocks {
		first, _, _ := strings.Cut(b[1], "\n")
		fmt.Fprintf(&script, "echo %q\n%s", "== "+strings.TrimPrefix(first, "# "), b[1])
	}
	script.WriteString("echo '== all of it has run'\n")
	codes := httptest.NewServer(guideCodes(t))
	defer codes.Close()
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "bash", "-c", script.String())
	cmd.Env = append(os.Environ(), "S="+w.p.api.URL, "DATA_DIR="+w.p.dataDir(), "SECRETS="+w.secrets, "RECEIVER="+w.receiver.URL+"/in",
		"TEST_SEALPOST="+path, "TEST_CODES="+codes.URL, "TEST_EMAIL="+w.admin.email, "TEST_PASSWORD="+w.admin.password,
		"TEST_AUTHOR_PASSWORD="+w.author.password)
	cmd.Env = append(cmd.Env, w.p.env...)
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.HasSuffix(string(out), "== all of it has run\n") {
		t.Errorf("the guide's commands end with %v:\n%s", err, out)
	}
}

// guidePrelude answers for the person at the keyboard, and stops at the first command that fails.
const guidePrelude = `
set -euo pipefail
trap 'echo "this failed: $BASH_COMMAND" >&2' ERR
sealpost() { "$TEST_SEALPOST" "$@"; }
read() {
  local name=${*: -1} value
  case $name in
  EMAIL) value=$TEST_EMAIL ;;
  PASSWORD) value=$TEST_PASSWORD ;;
  AUTHOR_PASSWORD) value=$TEST_AUTHOR_PASSWORD ;;
  CODE) value=$(curl -sS --fail "$TEST_CODES/?secret=$(jq -r .setup.secret <<<"$SETUP")") ;;
  *) echo "the guide asks for $name" >&2; return 1 ;;
  esac
  printf -v "$name" %s "$value"
}
`

// guideCodes is the authenticator app: the next code that has not been used, waited for where its time has
// not come.
func guideCodes(t *testing.T) http.HandlerFunc {
	const step = 30 * time.Second
	var mu sync.Mutex
	var last time.Time
	return func(rw http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		at := time.Now().Truncate(step).Add(-step) // the server takes the step before and behind the present one
		if next := last.Add(step); next.After(at) {
			at = next
		}
		time.Sleep(time.Until(at.Add(-step)))
		last = at
		code, err := totpCode(r.URL.Query().Get("secret"), at)
		if err != nil {
			t.Error(err)
		}
		_, _ = fmt.Fprint(rw, code)
	}
}
