package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/pquerna/otp"
	"github.com/pquerna/otp/totp"

	"sealpost/client"
)

// stepLimit is how long the demo waits for what it has set going.
const stepLimit = 30 * time.Second

// steps is the demo: each step does a thing over the API, as its user would, looks whether it held,
// and says so in one line.
func (d *demo) steps(ctx context.Context) error {
	for _, s := range []struct {
		name string
		run  func(context.Context) error
	}{
		{"start", d.showStart},
		{"first account", d.firstAccount},
		{"MFA enrollment", d.enroll},
		{"sign-in", d.signIn},
		{"endpoints", d.makeEndpoints},
		{"document", d.compose},
		{"AI", d.askForHelp},
		{"finalize", d.finalize},
		{"dispatch", d.watchDispatch},
		{"dead letter", d.watchDeath},
		{"replay", d.fixAndReplay},
		{"audit", d.readRecord},
		{"audit proof", d.proveDispatch},
		{"evidence", d.verifyEvidence},
		{"rotation", d.rotate},
		{"retention", d.planRetention},
		{"runbook", d.showRunbook},
		{"audit verify", d.verifyLog},
	} {
		if err := s.run(ctx); err != nil {
			return fmt.Errorf("the demo's step %q did not hold: %w", s.name, err)
		}
	}
	d.say("every step held")
	return nil
}

func (d *demo) showStart(ctx context.Context) error {
	var health struct {
		Checks map[string]struct{ Status string }
	}
	if err := d.api.Call(ctx, http.MethodGet, "/health", nil, &health); err != nil {
		return err
	}
	var parts []string
	for _, name := range []string{"database", "dispatcher", "audit"} {
		check, ok := health.Checks[name]
		if !ok {
			return fmt.Errorf("/health does not tell of the %s", name)
		}
		parts = append(parts, name+" "+check.Status)
	}
	d.say("a server of its own runs at %s (%s): %s", d.api.URL, d.server.store.Dialect(), strings.Join(parts, ", "))
	return nil
}

// demoUser is what the API tells of an account.
type demoUser struct{ ID, Email, Role string }

func (d *demo) firstAccount(ctx context.Context) error {
	d.admin = credentials{"admin@pilot.example", "Lantern-" + rand.Text()[:12] + "-7a"}
	body := map[string]string{"email": d.admin.email, "name": "Ada Admin", "password": "Summer2026!!"}
	err := d.api.Call(ctx, http.MethodPost, "/api/auth/register-first", body, nil)
	if client.StatusOf(err) != http.StatusUnprocessableEntity {
		return fmt.Errorf("a weak password was not refused: %w", err)
	}
	d.say("the password Summer2026!! is refused for the first account: %s", issuesOf(err))
	body["password"] = d.admin.password
	var first struct {
		User            demoUser
		EnrollmentToken string
		Token           string
	}
	if err := d.api.Call(ctx, http.MethodPost, "/api/auth/register-first", body, &first); err != nil {
		return err
	}
	if first.Token != "" || first.EnrollmentToken == "" {
		return errors.New("the first account may sign in without a second factor")
	}
	d.api.Token = first.EnrollmentToken // only until enrolled: see enroll
	d.say("the first account, %s, is %s; it gets no access before it has a second factor", first.User.Email, first.User.Role)
	if err := d.api.Call(ctx, http.MethodPost, "/api/auth/register-first", body, nil); client.StatusOf(err) != http.StatusConflict {
		return fmt.Errorf("register-first worked twice: %w", err)
	}
	return nil
}

// issuesOf are the messages of a refused password.
func issuesOf(err error) string {
	p, ok := errors.AsType[*client.Problem](err)
	if !ok {
		return ""
	}
	var messages []string
	issues, _ := p.Details["issues"].([]any)
	for _, i := range issues {
		if issue, ok := i.(map[string]any); ok {
			messages = append(messages, fmt.Sprint(issue["message"]))
		}
	}
	return strings.Join(messages, "; ")
}

func (d *demo) enroll(ctx context.Context) error {
	enrollment := d.api.Token
	d.api.Token = ""
	var start struct {
		Setup struct{ Secret, OtpauthURL string }
	}
	err := d.api.Call(ctx, http.MethodPost, "/api/auth/mfa/enroll/start", map[string]string{"enrollmentToken": enrollment}, &start)
	if err != nil {
		return err
	}
	d.totpSecret = start.Setup.Secret
	if d.lastCode, err = totpCode(d.totpSecret, time.Now()); err != nil {
		return err
	}
	var done struct {
		Token       string
		BackupCodes []string
	}
	err = d.api.Call(ctx, http.MethodPost, "/api/auth/mfa/enroll/complete",
		map[string]string{"enrollmentToken": enrollment, "mfaCode": d.lastCode}, &done)
	if err != nil {
		return err
	}
	d.backupCodes = done.BackupCodes
	d.say("a TOTP app is enrolled with a code, and %d backup codes are given", len(done.BackupCodes))
	return nil
}

func totpCode(secret string, at time.Time) (string, error) {
	return totp.GenerateCodeCustom(secret, at, totp.ValidateOpts{Period: 30, Digits: otp.DigitsSix, Algorithm: otp.AlgorithmSHA1})
}

func (d *demo) signIn(ctx context.Context) error {
	login := func(code string, answer any) error {
		body := map[string]string{"email": d.admin.email, "password": d.admin.password}
		if code != "" {
			body["mfaCode"] = code
		}
		return d.api.Call(ctx, http.MethodPost, "/api/auth/login", body, answer)
	}
	if err := login("", nil); client.StatusOf(err) != http.StatusUnauthorized {
		return fmt.Errorf("a password alone was enough: %w", err)
	}
	if err := login(d.lastCode, nil); client.StatusOf(err) != http.StatusUnauthorized {
		return fmt.Errorf("a code worked twice: %w", err)
	}
	next, err := totpCode(d.totpSecret, time.Now().Add(30*time.Second)) // the app's next one, within the ±1 step
	if err != nil {
		return err
	}
	var in struct {
		Token     string
		ExpiresAt time.Time
	}
	if err := login(next, &in); err != nil {
		return err
	}
	d.api.Token = in.Token
	d.say("sign-in needs password and code: the password alone and the used code are refused, the next code is taken")
	return nil
}

func (d *demo) makeEndpoints(ctx context.Context) (err error) {
	if d.ledger, err = startDemoReceiver(ctx); err != nil {
		return err
	}
	if d.archive, err = startDemoReceiver(ctx); err != nil {
		return err
	}
	d.archive.broken.Store(true)
	for _, e := range []struct {
		name string
		r    *demoReceiver
	}{{"Ledger", d.ledger}, {"Archive", d.archive}} {
		var made struct {
			Endpoint struct{ ID, SigningSecret string }
		}
		err := d.api.Call(ctx, http.MethodPost, "/api/admin/dispatch/endpoints", map[string]string{"name": e.name, "url": e.r.url}, &made)
		if err != nil {
			return err
		}
		e.r.endpointID = made.Endpoint.ID
		if err := e.r.trust(made.Endpoint.SigningSecret); err != nil {
			return err
		}
	}
	d.say("two receiving endpoints: Ledger takes what is signed, Archive answers 503 until it is fixed")
	return nil
}

func (d *demo) compose(ctx context.Context) error {
	var made struct{ Document struct{ ID string } }
	head, err := d.api.Do(ctx, http.MethodPost, "/api/documents", map[string]string{
		"title": "Transfer protocol 7", "content": "# Transfer protocol 7\n\nThe samples were transferred.\n",
	}, &made, "Idempotency-Key", "demo-document")
	if err != nil {
		return err
	}
	d.documentID = made.Document.ID
	body := map[string]string{
		"title": "Transfer protocol 7", "content": "# Transfer protocol 7\n\nAll 42 samples were transferred at 4 °C.\n",
	}
	if err := d.api.Call(ctx, http.MethodPut, "/api/documents/"+d.documentID, body, nil, "If-Match", head.Get("ETag")); err != nil {
		return err
	}
	err = d.api.Call(ctx, http.MethodPut, "/api/documents/"+d.documentID, body, nil, "If-Match", head.Get("ETag"))
	if client.StatusOf(err) != http.StatusPreconditionFailed {
		return fmt.Errorf("a stale version was overwritten: %w", err)
	}
	d.say("a document is written and revised; a change to a version that is no longer current is refused")
	return nil
}

func (d *demo) finalize(ctx context.Context) error {
	var final struct {
		Status, ContentHash string
		Dispatch            []struct{ ID, Status string }
	}
	err := d.api.Call(ctx, http.MethodPost, "/api/documents/"+d.documentID+"/finalize", map[string]any{
		"attest": true, "endpointIds": []string{d.ledger.endpointID, d.archive.endpointID},
	}, &final)
	if err != nil {
		return err
	}
	if final.Status != "FINALIZED" || len(final.Dispatch) != 2 {
		return fmt.Errorf("finalize answered %+v", final)
	}
	d.say("the document is FINALIZED as %s, with %d dispatch jobs in the same transaction", final.ContentHash, len(final.Dispatch))
	return nil
}

// demoJob is what the API tells of a job.
type demoJob struct {
	ID, EndpointID, Status, DeadLetterReason, LastError string
	AttemptCount                                        int
}

// await waits until an endpoint's job has a status, and tells of each status on the way.
func (d *demo) await(ctx context.Context, endpointID, status string, tell func(demoJob)) (demoJob, error) {
	ctx, cancel := context.WithTimeout(ctx, stepLimit)
	defer cancel()
	var seen demoJob
	for {
		var list struct{ Jobs []demoJob }
		err := d.api.Call(ctx, http.MethodGet, "/api/admin/dispatch/jobs?endpointId="+endpointID, nil, &list)
		if err != nil {
			return seen, fmt.Errorf("the job of endpoint %s is %s: %w", endpointID, seen.Status, err)
		}
		if len(list.Jobs) != 1 {
			return seen, fmt.Errorf("endpoint %s has %d jobs", endpointID, len(list.Jobs))
		}
		if j := list.Jobs[0]; j != seen {
			seen = j
			tell(j)
		}
		if seen.Status == status {
			return seen, nil
		}
		timer := time.NewTimer(20 * time.Millisecond)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return seen, fmt.Errorf("the job of endpoint %s stays %s (%s)", endpointID, seen.Status, seen.LastError)
		}
	}
}

func (d *demo) watchDispatch(ctx context.Context) error {
	job, err := d.await(ctx, d.ledger.endpointID, "DISPATCHED", func(demoJob) {})
	if err != nil {
		return err
	}
	if n := d.ledger.taken(job.ID); n != 1 {
		return fmt.Errorf("the Ledger took job %s %d times", job.ID, n)
	}
	d.say("Ledger: DISPATCHED at attempt %d, its signature verified by the receiver", job.AttemptCount)
	return nil
}

func (d *demo) watchDeath(ctx context.Context) error {
	attempts := 0
	job, err := d.await(ctx, d.archive.endpointID, "DEAD_LETTER", func(j demoJob) {
		if j.Status == "RETRYING" && j.AttemptCount > attempts {
			attempts = j.AttemptCount
			d.say("Archive: RETRYING after attempt %d (%s)", j.AttemptCount, j.LastError)
		}
	})
	if err != nil {
		return err
	}
	if job.DeadLetterReason != "EXHAUSTED" || attempts == 0 {
		return fmt.Errorf("the job ended as %+v", job)
	}
	d.failedJob = job.ID
	d.say("Archive: DEAD_LETTER, %s after %d attempts (%s)", job.DeadLetterReason, job.AttemptCount, job.LastError)
	return nil
}

func (d *demo) fixAndReplay(ctx context.Context) error {
	d.archive.broken.Store(false)
	d.say("Archive is fixed; the admin replays the job")
	if err := d.api.Call(ctx, http.MethodPost, "/api/admin/dispatch/"+d.failedJob+"/replay", nil, nil); err != nil {
		return err
	}
	job, err := d.await(ctx, d.archive.endpointID, "DISPATCHED", func(demoJob) {})
	if err != nil {
		return err
	}
	if n := d.archive.taken(d.failedJob); n != 1 || job.ID != d.failedJob {
		return fmt.Errorf("the Archive took job %s %d times", d.failedJob, n)
	}
	d.say("Archive: DISPATCHED at attempt %d, the same job under the same key", job.AttemptCount)
	return nil
}

func (d *demo) readRecord(ctx context.Context) error {
	var list struct {
		Events []struct {
			Action, Outcome string
			Actor           struct{ Kind, ID string }
		}
	}
	if err := d.api.Call(ctx, http.MethodGet, "/api/admin/audit/events?entityId="+d.failedJob, nil, &list); err != nil {
		return err
	}
	var actions []string
	for _, v := range slices.Backward(list.Events) {
		actions = append(actions, v.Action)
	}
	text := strings.Join(actions, " → ")
	for _, action := range []string{"dispatch.job.accepted", "dispatch.attempt.failed", "dispatch.job.dead_lettered", "dispatch.job.replayed", "dispatch.job.dispatched"} {
		if !strings.Contains(text, action) {
			return fmt.Errorf("the audit log says nothing of %s: %s", action, text)
		}
	}
	d.say("the audit log tells the job's story: %s", text)
	return nil
}
