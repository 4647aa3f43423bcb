package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"syscall"
	"time"

	"sealpost/audit"
	"sealpost/client"
	"sealpost/config"
	"sealpost/runbook"
	"sealpost/store"
)

// exitCannotTell is verify's status where nothing could be checked.
const exitCannotTell = 2

// verifyTimeout is how long a server may take to check everything.
const verifyTimeout = time.Minute

// runbookCommand is `sealpost runbook verify`: status 0 where no control FAILs, 1 where one does, 2 where
// it cannot tell.
func runbookCommand(ctx context.Context, p program, args []string) error {
	if len(args) == 0 || args[0] != "verify" {
		if len(args) > 0 && (args[0] == "-h" || args[0] == "-help" || args[0] == "--help") {
			args = []string{"verify", "-h"}
		} else {
			return usage("runbook: say `sealpost runbook verify`; with -h it explains itself")
		}
	}
	var v verifying
	f := p.flags("runbook verify", "check each clause of the security runbook, here and now.\n"+
		"It asks the server that runs on this DATA_DIR, over the operator's socket; where none runs it\n"+
		"looks at the configuration and the database itself. With --url it asks another server.\n"+
		"Status: 0 nothing FAILs, 1 something does, 2 it cannot tell.")
	f.BoolVar(&v.json, "json", false, "print the controls as JSON, with their evidence")
	only := f.String("only", "", "check only these `IDs`, as RB-1.1,RB-5.2")
	f.StringVar(&v.url, "url", "", "the `URL` of a server to ask, with --token-file")
	f.StringVar(&v.tokenFile, "token-file", "", "the `file` that holds an access token of an ADMIN or AUDITOR")
	if err := p.parse(f, args[1:]); err != nil {
		return err
	}
	if *only != "" {
		v.only = strings.Split(*only, ",")
	}
	if err := v.check(); err != nil {
		return err
	}
	results, from, err := v.run(ctx, p)
	if err != nil {
		return endsWith{exitCannotTell, fmt.Errorf("cannot tell: %w", err)}
	}
	return v.report(p, results, from)
}

// verifying is what a run of verify is asked for.
type verifying struct {
	json           bool
	only           []string
	url, tokenFile string
}

func (v verifying) check() error {
	known := map[string]bool{}
	for _, c := range runbook.Controls() {
		known[c.ID] = true
	}
	for _, id := range v.only {
		if !known[id] {
			return usage("runbook verify: there is no control %q; they are RB-1.1 to RB-6.3", id)
		}
	}
	if (v.url == "") != (v.tokenFile == "") {
		return usage("runbook verify: --url and --token-file go together")
	}
	if v.url == "" {
		return nil
	}
	u, err := url.Parse(v.url)
	switch {
	case err != nil || u.Host == "" || u.User != nil || u.Scheme != "http" && u.Scheme != "https":
		return usage("runbook verify: --url is no http or https URL")
	case u.Scheme == "http" && !isLoopback(u.Hostname()):
		return usage("runbook verify: --url is http, and the token would travel in clear: name the https URL")
	}
	return nil
}

func isLoopback(host string) bool {
	addr, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && addr.IsLoopback()
}

// run has the controls checked, and tells by whom.
func (v verifying) run(ctx context.Context, p program) ([]runbook.Result, string, error) {
	if v.url != "" {
		token, err := os.ReadFile(v.tokenFile)
		if err != nil {
			return nil, "", fmt.Errorf("read the token: %w", err)
		}
		api := &client.Client{
			URL: strings.TrimRight(v.url, "/"), Token: strings.TrimSpace(string(token)), HTTP: &http.Client{
				Timeout: verifyTimeout, Transport: &http.Transport{},
				CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
			},
		}
		results, err := v.ask(ctx, api)
		return results, "the server at " + v.url, err
	}
	c, _, err := config.Parse(p.environ)
	if err != nil {
		return nil, "", fmt.Errorf("the configuration has problems:\n%w", err)
	}
	socket := operatorPath(c.DataDir)
	results, err := v.ask(ctx, &client.Client{URL: "http://operator", HTTP: operatorClient(socket, verifyTimeout)})
	if nobodyThere(err) {
		results, err = v.look(ctx, c)
		return results, "this command, on the configuration and the database (no server runs on " + c.DataDir + ")", err
	}
	if errors.Is(err, fs.ErrPermission) {
		err = fmt.Errorf("%w: run this as the server's own account or as root, or give --url and --token-file", err)
	}
	return results, "the server that runs here, over " + socket, err
}

// nobodyThere tells whether an error means that no server has the socket: none is there, it is a dead
// one's, or its path is too long for one.
func nobodyThere(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, syscall.ENOTDIR) ||
		errors.Is(err, syscall.EINVAL)
}

// ask has a running server check.
func (v verifying) ask(ctx context.Context, api *client.Client) ([]runbook.Result, error) {
	defer api.HTTP.CloseIdleConnections()
	var answer struct{ Controls []runbook.Result }
	var body any
	if len(v.only) > 0 {
		body = map[string]any{"only": v.only}
	}
	if err := api.Call(ctx, http.MethodPost, "/api/admin/security/posture/run", body, &answer); err != nil {
		return nil, fmt.Errorf("ask the server: %w", err)
	}
	if len(answer.Controls) == 0 {
		return nil, errors.New("ask the server: its answer has no controls in it")
	}
	return answer.Controls, nil
}

// look checks from outside a server that does not run. It writes nothing, and makes no database.
func (v verifying) look(ctx context.Context, c *config.Config) ([]runbook.Result, error) {
	databaseURL := string(c.DatabaseURL.Reveal())
	if path, ok := strings.CutPrefix(databaseURL, "sqlite:"); ok {
		if _, err := os.Stat(path); err != nil {
			return nil, fmt.Errorf("%w: are this installation's variables set here? (its environment file, DATA_DIR, DATABASE_URL)", err)
		}
	}
	logger := slog.New(slog.DiscardHandler)
	st, err := store.Open(ctx, databaseURL, store.Options{Logger: logger, MaxConns: 4})
	if errors.Is(err, store.ErrLocked) {
		return nil, fmt.Errorf("%w, and does not answer on the operator's socket: give --url and --token-file", err)
	}
	if err != nil {
		return nil, err
	}
	if err := st.Ping(ctx); err != nil {
		return nil, errors.Join(err, st.Close())
	}
	results, err := runbook.New(runbook.Options{Config: c, Log: audit.New(st, logger)}).Check(ctx, v.only...)
	return results, errors.Join(err, st.Close())
}

// report prints what was found, and gives the error that the program ends with.
func (v verifying) report(p program, results []runbook.Result, from string) error {
	counts := map[runbook.Status]int{}
	for _, r := range results {
		counts[r.Status]++
	}
	var err error
	if v.json {
		out := json.NewEncoder(p.stdout)
		out.SetEscapeHTML(false)
		out.SetIndent("", "  ")
		err = out.Encode(map[string]any{"controls": results})
	} else {
		_, err = fmt.Fprintf(p.stdout, "%s\n%d controls, checked by %s:\n%d PASS, %d FAIL, %d WARN, %d NOT_APPLICABLE\n",
			postureTable(results), len(results), plain(from), counts[runbook.Pass], counts[runbook.Fail], counts[runbook.Warn],
			counts[runbook.NotApplicable])
	}
	switch {
	case err != nil:
		return endsWith{exitCannotTell, err}
	case counts[runbook.Pass]+counts[runbook.Warn]+counts[runbook.NotApplicable] != len(results):
		return endsWith{exitFailed, fmt.Errorf("%d of %d controls FAIL", len(results)-counts[runbook.Pass]-counts[runbook.Warn]-
			counts[runbook.NotApplicable], len(results))}
	}
	return nil
}
