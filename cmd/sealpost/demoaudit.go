package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note"

	"sealpost/audit"
)

// The steps of the demo that are about proof: of one event, by whoever has nothing but the log's key, and of
// the whole log.

// proveDispatch gets the proof of the event by which the replayed job was dispatched, and verifies it as an
// auditor does, offline: with the proof's text and the key alone.
func (d *demo) proveDispatch(ctx context.Context) error {
	var list struct{ Events []struct{ ID string } }
	path := "/api/admin/audit/events?action=dispatch.job.dispatched&entityId=" + d.failedJob
	if err := d.api.Call(ctx, http.MethodGet, path, nil, &list); err != nil {
		return err
	}
	if len(list.Events) != 1 {
		return fmt.Errorf("the job was dispatched %d times, by the audit log", len(list.Events))
	}
	text, err := d.awaitProof(ctx, list.Events[0].ID)
	if err != nil {
		return err
	}
	var signed struct{ VerifierKey string }
	if err := d.api.Call(ctx, http.MethodGet, "/api/admin/audit/checkpoint", nil, &signed); err != nil {
		return err
	}
	key, err := note.NewVerifier(signed.VerifierKey)
	if err != nil {
		return err
	}
	proof, err := audit.ParseProof(text)
	if err != nil {
		return err
	}
	c, _, err := proof.Verify(key)
	if err != nil {
		return err
	}
	if !strings.Contains(proof.Event.Body, d.failedJob) {
		return errors.New("the proof is of another event")
	}
	forged := proof
	forged.Event.Body = strings.Replace(forged.Event.Body, "SUCCESS", "FAILURE", 1)
	if _, _, err := forged.Verify(key); err == nil {
		return errors.New("a proof whose event was changed holds")
	}
	d.say("the proof that it was dispatched holds offline, with the log's key alone: leaf %d of %d, %d hashes; with one word changed it does not",
		proof.Leaf, c.Size, len(proof.Path))
	return nil
}

// verifyEvidence fetches the evidence of the replayed job, as the one who sent it would, and checks the file with
// `sealpost evidence verify`, which asks nobody.
func (d *demo) verifyEvidence(ctx context.Context) error {
	text, status, err := d.getText(ctx, "/api/dispatch/jobs/"+d.failedJob+"/evidence")
	if err != nil {
		return err
	}
	if status != http.StatusOK {
		return fmt.Errorf("the evidence: %d: %.200s", status, text)
	}
	verify := func(text string) (string, error) {
		path := filepath.Join(d.dir, "evidence.json")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			return "", err
		}
		var out bytes.Buffer
		err := evidenceCommand(ctx, program{stdout: &out, stderr: &out, environ: d.environ}, []string{"verify", path})
		return out.String(), err
	}
	out, err := verify(text)
	if err != nil {
		return fmt.Errorf("%w\n%s", err, out)
	}
	if _, err := verify(strings.Replace(text, `"status":"DISPATCHED"`, `"status":"DEAD_LETTER"`, 1)); err == nil {
		return errors.New("evidence in which the server says something else holds")
	}
	d.say("`sealpost evidence verify` holds the job's evidence offline: each of its events is a leaf; with another status in it, it does not")
	return nil
}

// awaitProof asks for a proof until the event is under a checkpoint, as the answer says it will be.
func (d *demo) awaitProof(ctx context.Context, id string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, stepLimit)
	defer cancel()
	for {
		text, status, err := d.getText(ctx, "/api/admin/audit/events/"+id+"/proof")
		switch {
		case err != nil:
			return "", err
		case status == http.StatusOK:
			return text, nil
		case status != http.StatusServiceUnavailable:
			return "", fmt.Errorf("the proof: %d: %.200s", status, text)
		}
		timer := time.NewTimer(100 * time.Millisecond)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return "", errors.New("the event does not come under a checkpoint")
		}
	}
}

func (d *demo) getText(ctx context.Context, path string) (string, int, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, d.api.URL+path, nil)
	if err != nil {
		return "", 0, err
	}
	req.Header.Set("Authorization", "Bearer "+d.api.Token)
	res, err := d.api.HTTP.Do(req)
	if err != nil {
		return "", 0, err
	}
	b, err := io.ReadAll(res.Body)
	return string(b), res.StatusCode, errors.Join(err, res.Body.Close())
}

// verifyLog runs `sealpost audit verify` on the demo's own database, beside the server.
func (d *demo) verifyLog(ctx context.Context) error {
	var out bytes.Buffer
	if err := auditCommand(ctx, program{stdout: &out, stderr: &out, environ: d.environ}, []string{"verify"}); err != nil {
		return fmt.Errorf("%w\n%s", err, &out)
	}
	for line := range strings.Lines(out.String()) {
		if rest, ok := strings.CutPrefix(line, "leaves "); ok {
			d.say("`sealpost audit verify` beside the running server: leaves %s; the log holds", strings.TrimSpace(rest))
			return nil
		}
	}
	return fmt.Errorf("audit verify says %s", &out)
}
