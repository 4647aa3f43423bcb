package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"os/user"
	"slices"
	"strings"
	"time"

	"sealpost/audit"
	"sealpost/client"
	"sealpost/config"
	"sealpost/rotation"
	"sealpost/store"
)

const (
	rotateWait  = 60 * time.Second // for all servers to have the new secret
	rotateEvery = time.Second      // how often they are asked meanwhile
)

// elsewhere says how the secrets that no file of ours holds are rotated.
var elsewhere = map[string]string{
	rotation.OpenAIKey: `OPENAI_API_KEY is made by its provider:
  1. make a new key there
  2. put it into the file that OPENAI_API_KEY_FILE names (servers read it again within 2 s), or into the
     variable, and restart the servers
  3. record it:  POST /api/admin/security/secret-rotation/record  (secrets: ["OPENAI_API_KEY"])
  4. revoke the old key at the provider`,
	rotation.DatabasePassword: `The database's password is the database's:
  1. alter role … password '…'  (a second role with the same rights leaves no gap)
  2. put it into DATABASE_URL, and restart the servers
  3. record it:  POST /api/admin/security/secret-rotation/record  (secrets: ["DATABASE_PASSWORD"])`,
}

// rotateCommand is `sealpost rotate NAME`: it replaces a secret in its file, waits until the servers that
// run have it, and records the rotation (runbook §3).
func rotateCommand(ctx context.Context, p program, args []string) error {
	r := &rotating{out: p}
	f := p.flags("rotate NAME", "replace JWT_SECRET, DATA_ENCRYPTION_KEY or AUDIT_SIGNING_KEY, and record it (runbook §3).\n"+
		"It writes NAME_PREVIOUS and NAME in their files, has the server that runs on this DATA_DIR read them,\n"+
		"over the operator's socket, waits until every server has the new one, and records the rotation.\n"+
		"Where none runs here it looks at the database itself. With --url it asks another server.")
	f.StringVar(&r.record.TicketID, "ticket", "", "the `ticket` that asks for it (required)")
	f.StringVar(&r.record.RollbackPlan, "rollback-plan", "", "what to do if it goes wrong, in a `sentence` (required)")
	environments := f.String("environments", "", "the affected `environments`, as production,dr (default: NODE_ENV)")
	f.BoolVar(&r.leaked, "leaked", false, "the old secret is in wrong hands: JWT_SECRET's tokens stop at once, without a window")
	f.StringVar(&r.url, "url", "", "the `URL` of a server to ask, with --token-file")
	f.StringVar(&r.tokenFile, "token-file", "", "the `file` that holds a fresh access token of an ADMIN")
	name := ""
	if len(args) > 0 && !strings.HasPrefix(args[0], "-") {
		name, args = args[0], args[1:]
	}
	if err := p.parse(f, args); err != nil {
		return err
	}
	if err := r.check(name); err != nil {
		return err
	}
	c, _, err := config.Parse(p.environ)
	if err != nil {
		return err
	}
	r.record.Secrets, r.record.Environments = []string{name}, strings.Split(*environments, ",")
	if *environments == "" {
		r.record.Environments = []string{c.Env}
	}
	if r.files, err = rotation.FilesOf(c.Secrets, name); err != nil {
		return err
	}
	return r.run(ctx, c)
}

// rotating is a run of rotate.
type rotating struct {
	out            program
	files          rotation.Files
	leaked         bool
	record         rotation.NewRotation
	url, tokenFile string
	server         asked
}

// asked is the server that is told, or the database where none runs.
type asked interface {
	name() string
	reload(context.Context) ([]rotation.State, error)
	keep(context.Context, rotation.NewRotation) (rotation.Rotation, error)
	close() error
}

func (r *rotating) check(name string) error {
	own := []string{rotation.JWTSecret, rotation.DataEncryptionKey, rotation.AuditSigningKey}
	switch {
	case name == "":
		return usage("rotate: say which secret first: sealpost rotate %s --ticket T --rollback-plan P", strings.Join(own, "|"))
	case elsewhere[name] != "":
		return errors.New(elsewhere[name])
	case strings.HasPrefix(name, rotation.EndpointPrefix):
		return usage("rotate: an endpoint's secret is rotated by POST /api/admin/dispatch/endpoints/%s/rotate-secret",
			strings.TrimPrefix(name, rotation.EndpointPrefix))
	case !slices.Contains(own, name):
		return usage("rotate: there is no secret %q; it takes %s", name, strings.Join(own, ", "))
	case strings.TrimSpace(r.record.TicketID) == "" || strings.TrimSpace(r.record.RollbackPlan) == "":
		return usage("rotate: the record of a rotation is whole: give --ticket and --rollback-plan")
	case (r.url == "") != (r.tokenFile == ""):
		return usage("rotate: --url and --token-file go together")
	case r.leaked && name == rotation.DataEncryptionKey:
		return usage("rotate: what is at rest is encrypted with the old data key, so it cannot stop at once. Rotate it without --leaked; " +
			"the server encrypts everything anew and says in its log when DATA_ENCRYPTION_KEY_PREVIOUS may go")
	case r.leaked && name == rotation.AuditSigningKey:
		return usage("rotate: the old audit key still verifies what it has signed. Rotate it without --leaked")
	}
	return nil
}

func (r *rotating) run(ctx context.Context, c *config.Config) (err error) {
	if r.server, err = r.connect(ctx, c); err != nil {
		return fmt.Errorf("nothing has been changed: %w", err)
	}
	defer func() { err = errors.Join(err, r.server.close()) }()
	before, err := r.state(ctx)
	if err == nil {
		err = mayRotate(before)
	}
	if err != nil {
		return fmt.Errorf("nothing has been changed: %w", err)
	}
	r.say("%s is in use with key %s since %s", r.files.Secret, before.KeyID, before.Since.Format(time.RFC3339))
	undo, err := r.files.Replace(r.leaked)
	if err != nil {
		return fmt.Errorf("nothing has been changed: %w", err)
	}
	if r.leaked {
		r.say("wrote a new secret to %s; the old one is gone", r.files.Path)
	} else {
		r.say("wrote the old secret to %s and a new one to %s", r.files.Previous, r.files.Path)
	}
	after, err := r.wait(ctx, before)
	if err != nil {
		return r.back(ctx, undo, err)
	}
	r.say("key %s is in use, by %s", after.KeyID, r.server.name())
	kept, err := r.server.keep(ctx, r.record)
	if err != nil {
		return fmt.Errorf("the rotation is done and not recorded, so do that by POST /api/admin/security/secret-rotation/record: %w", err)
	}
	r.say("recorded as rotation %s (ticket %s)", kept.ID, kept.TicketID)
	if len(after.WaitsFor) > 0 {
		r.say("NOT YET EVERYWHERE: these servers still use the old secret; copy %s to them: %s", r.files.Path, strings.Join(after.WaitsFor, ", "))
	}
	r.goOn(after)
	return nil
}

// mayRotate tells whether a secret can be rotated as it stands.
func mayRotate(s rotation.State) error {
	switch {
	case s.Problem != "":
		return fmt.Errorf("the server does not use what the file holds now: %s", s.Problem)
	case s.NextKeyID != "":
		return fmt.Errorf("an earlier rotation is not over: %s have not got key %s yet", strings.Join(s.WaitsFor, ", "), s.NextKeyID)
	case !s.Settled:
		return errors.New("an earlier rotation is not over: values are still being encrypted anew. " +
			"The server says in its log when DATA_ENCRYPTION_KEY_PREVIOUS is no longer needed; try again then")
	}
	return nil
}

// state reads how the secret stands, and has the server look at the files.
func (r *rotating) state(ctx context.Context) (rotation.State, error) {
	states, err := r.server.reload(ctx)
	if err != nil {
		return rotation.State{}, err
	}
	for _, s := range states {
		if s.Secret == r.files.Secret {
			return s, nil
		}
	}
	return rotation.State{}, fmt.Errorf("the server says nothing about %s", r.files.Secret)
}

// errRefused is an answer after which what was written is to be undone.
var errRefused = errors.New("the server does not take the new secret")

// wait waits until the new secret is in use.
func (r *rotating) wait(ctx context.Context, before rotation.State) (rotation.State, error) {
	deadline := time.Now().Add(rotateWait)
	told := ""
	for {
		s, err := r.state(ctx)
		switch {
		case err != nil:
		case s.Problem != "":
			return s, fmt.Errorf("%w: %s", errRefused, s.Problem)
		case s.KeyID != before.KeyID && (len(s.WaitsFor) == 0 || time.Now().After(deadline)):
			return s, nil
		case s.KeyID == before.KeyID && s.NextKeyID == "":
			return s, fmt.Errorf("%w: it reads other files than %s, or runs in another environment", errRefused, r.files.Path)
		default:
			err = fmt.Errorf("these servers have not got the new secret: %s", strings.Join(s.WaitsFor, ", "))
			if waiting := strings.Join(s.WaitsFor, ", "); waiting != told {
				r.say("waiting for %s", waiting)
				told = waiting
			}
		}
		if err != nil && time.Now().After(deadline) {
			return s, err
		}
		select {
		case <-time.After(rotateEvery):
		case <-ctx.Done():
			return s, ctx.Err()
		}
	}
}

// back puts the files back where the server refuses them. A rotation that only waits for other servers is
// left as it is: every server goes on with the old secret, and begins to use the new one when all have it.
func (r *rotating) back(ctx context.Context, undo func() error, why error) error {
	if !errors.Is(why, errRefused) {
		return fmt.Errorf("%w\nThe files are written and the old secret stays in use until every server has the new one. Copy %s and %s "+
			"to those that lack them; then record it by POST /api/admin/security/secret-rotation/record. To give it up, put the content of "+
			"%s back into %s and empty %s", why, r.files.Path, r.files.Previous, r.files.Previous, r.files.Path, r.files.Previous)
	}
	if err := undo(); err != nil {
		return fmt.Errorf("%w\nand the files could not be put back: %w", why, err)
	}
	_, err := r.state(ctx)
	return errors.Join(fmt.Errorf("%w\nThe files are as they were before", why), err)
}

// goOn says what the runbook asks for next.
func (r *rotating) goOn(s rotation.State) {
	until := ""
	if s.PreviousUntil != nil {
		until = " until " + s.PreviousUntil.Format(time.RFC3339)
	}
	switch {
	case r.leaked:
		r.say("every access token made until now is refused; clients refresh. After a token leak also POST /api/auth/logout-all")
	case r.files.Secret == rotation.DataEncryptionKey:
		r.say("keep %s until the server's log says that it may go: everything at rest is being encrypted anew", r.files.Previous)
	case r.files.Secret == rotation.AuditSigningKey:
		r.say("keep %s: what the old key has signed is verified with it", r.files.Previous)
	default:
		r.say("tokens of the old secret are taken%s", until)
	}
	r.say("verify now (runbook §3.3): GET /health, login and refresh, compose, retry-due")
	r.say("to go back: put the content of %s into %s and the other way round", r.files.Previous, r.files.Path)
}

func (r *rotating) say(format string, args ...any) {
	_, _ = fmt.Fprintf(r.out.stdout, plain(format)+"\n", args...)
}

// connect finds whom to tell: the server that --url names, the one that runs here, or the database.
func (r *rotating) connect(ctx context.Context, c *config.Config) (asked, error) {
	r.record.Notes = "by `sealpost rotate`, run by " + whoRuns()
	if r.url != "" {
		if err := (verifying{url: r.url, tokenFile: r.tokenFile}).check(); err != nil {
			return nil, err
		}
		token, err := os.ReadFile(r.tokenFile)
		if err != nil {
			return nil, fmt.Errorf("read the token: %w", err)
		}
		return &overHTTP{"the server at " + r.url, &client.Client{
			URL: strings.TrimRight(r.url, "/"), Token: strings.TrimSpace(string(token)), HTTP: &http.Client{
				Timeout: verifyTimeout, Transport: &http.Transport{},
				CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
			},
		}}, nil
	}
	socket := operatorPath(c.DataDir)
	here := &overHTTP{"the server that runs here", &client.Client{URL: "http://operator", HTTP: operatorClient(socket, verifyTimeout)}}
	_, err := here.reload(ctx)
	switch {
	case err == nil:
		return here, nil
	case errors.Is(err, fs.ErrPermission):
		return nil, fmt.Errorf("%w: run this as the server's own account or as root", err)
	case !nobodyThere(err):
		return nil, err
	}
	_ = here.close()
	return openDatabase(ctx, c, slog.New(slog.NewTextHandler(r.out.stderr, &slog.HandlerOptions{Level: slog.LevelWarn})))
}

// whoRuns names the person, as far as the machine knows.
func whoRuns() string {
	name := "an unknown account"
	if u, err := user.Current(); err == nil {
		name = u.Username
	}
	if sudo := os.Getenv("SUDO_USER"); sudo != "" {
		name = sudo + " (as " + name + ")"
	}
	if host, err := os.Hostname(); err == nil {
		name += " on " + host
	}
	return name
}

// overHTTP asks a running server.
type overHTTP struct {
	called string
	api    *client.Client
}

func (s *overHTTP) name() string { return s.called }

func (s *overHTTP) reload(ctx context.Context) ([]rotation.State, error) {
	var answer struct{ Secrets []rotation.State }
	err := s.api.Call(ctx, http.MethodPost, "/api/admin/security/secret-rotation/reload", nil, &answer)
	if err != nil {
		err = fmt.Errorf("ask the server: %w", err)
	}
	return answer.Secrets, err
}

func (s *overHTTP) keep(ctx context.Context, n rotation.NewRotation) (rotation.Rotation, error) {
	var answer struct{ Rotation rotation.Rotation }
	err := s.api.Call(ctx, http.MethodPost, "/api/admin/security/secret-rotation/record", map[string]any{
		"ticketId": n.TicketID, "secrets": n.Secrets, "environments": n.Environments, "rollbackPlan": n.RollbackPlan, "notes": n.Notes,
	}, &answer)
	return answer.Rotation, err
}

func (s *overHTTP) close() error {
	s.api.HTTP.CloseIdleConnections()
	return nil
}

// inDatabase is the secrets' keeper in this process, where no server runs here. Others may run elsewhere
// on the same database, and are waited for.
type inDatabase struct {
	store  *store.Store
	log    *audit.Log
	sealer *audit.Sealer
	keeper *rotation.Keeper
}

func openDatabase(ctx context.Context, c *config.Config, logger *slog.Logger) (_ *inDatabase, err error) {
	s := &inDatabase{}
	if s.store, err = openStore(ctx, c, logger); err != nil {
		return nil, err
	}
	s.log = audit.New(s.store, logger)
	if s.sealer, err = newSealer(s.log, c, logger); err != nil {
		return nil, errors.Join(err, s.close())
	}
	if s.keeper, err = openKeeper(ctx, s.log, c, logger, &server{sealer: s.sealer}); err != nil {
		return nil, errors.Join(err, s.close())
	}
	return s, nil
}

func (s *inDatabase) name() string { return "every server on this database" }

func (s *inDatabase) reload(ctx context.Context) ([]rotation.State, error) {
	return s.keeper.Reload(ctx)
}

func (s *inDatabase) keep(ctx context.Context, n rotation.NewRotation) (rotation.Rotation, error) {
	return s.keeper.Record(ctx, audit.Itself("operator"), n)
}

func (s *inDatabase) close() error {
	ctx, cancel := context.WithTimeout(context.Background(), closeFor)
	defer cancel()
	s.log.Close(ctx)
	var err error
	if s.keeper != nil {
		err = errors.Join(s.log.End(ctx), s.sealer.Drain(ctx))
	}
	return errors.Join(err, s.store.Close())
}
