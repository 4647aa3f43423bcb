package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"sealpost/audit"
	"sealpost/config"
)

// maxEvidenceFile bounds an evidence file that is read.
const maxEvidenceFile = 256 << 20

// evidenceCommand is `sealpost evidence verify FILE`: it checks offline what GET …/jobs/{id}/evidence gave.
func evidenceCommand(_ context.Context, p program, args []string) error {
	if len(args) == 0 || args[0] != "verify" {
		if len(args) > 0 && (args[0] == "-h" || args[0] == "-help" || args[0] == "--help") {
			_, _ = fmt.Fprint(p.stdout, "sealpost evidence verify FILE: check an evidence file offline\n")
			return errHelp
		}
		return usage("evidence: say `sealpost evidence verify FILE`; with -h it explains itself")
	}
	f := p.flags("evidence verify FILE", "check an evidence file offline: each event's proof, and that what the server says of the thing is what they bear out.\n"+
		"Status: 0 it holds, 1 it does not, 2 it cannot tell.")
	var given texts
	f.Var(&given, "key", "a `key` of the log to believe, as a note verifier (NAME+HASH+KEY) or the file that holds it.\n"+
		"May be given several times. Without one, this installation's own")
	path, err := p.parseDir(f, args[1:])
	if err != nil {
		return err
	}
	if path == "" {
		return usage("evidence: say which FILE")
	}
	cannotTell := func(err error) error { return endsWith{exitCannotTell, fmt.Errorf("cannot tell: %w", err)} }
	e, err := readEvidence(path)
	if err != nil {
		return cannotTell(err)
	}
	v := verifyingLog{p: p}
	if err := v.believe(given); err != nil {
		return cannotTell(err)
	}
	if len(given) == 0 {
		if err := v.ownFor(e); err != nil {
			return cannotTell(err)
		}
	}
	if len(v.o.Keys) == 0 {
		return cannotTell(errors.New("there is no key to believe: give the log's with --key (an auditor asks for it elsewhere than in this file)"))
	}
	list, err := e.Verify(v.o.Keys...)
	if err != nil {
		return fmt.Errorf("it does not hold: %w", err)
	}
	tellEvidence(p.stdout, e, list)
	if err := compareStatement(e, list); err != nil {
		return fmt.Errorf("it does not hold: %w", err)
	}
	_, _ = fmt.Fprintf(p.stdout, "It holds: %d events, each a leaf of the log, and what the server says is what they bear out.\n"+
		"That no other event was left out only an export of the log shows.\n", len(list))
	return nil
}

func readEvidence(path string) (audit.Evidence, error) {
	file, err := os.Open(path) //nolint:gosec // who runs this says which
	if err != nil {
		return audit.Evidence{}, err
	}
	defer file.Close() //nolint:errcheck // it was read
	b, err := io.ReadAll(io.LimitReader(file, maxEvidenceFile+1))
	if err != nil {
		return audit.Evidence{}, err
	}
	if len(b) > maxEvidenceFile {
		return audit.Evidence{}, fmt.Errorf("%s has more than %d bytes", plain(path), maxEvidenceFile)
	}
	return audit.ParseEvidence(b)
}

// ownFor adds this installation's keys, where it has any.
func (v *verifyingLog) ownFor(e audit.Evidence) error {
	c, _, err := config.Parse(v.p.environ)
	if err != nil {
		return fmt.Errorf("no --key is given, and this installation's configuration has problems:\n%w", err)
	}
	first, err := audit.ParseProof(e.Proofs[0])
	if err != nil {
		return err
	}
	return v.own(c, originOf(first.Checkpoint))
}

// originOf is the first line of a note: the log that it is of.
func originOf(signed string) string {
	origin, _, _ := strings.Cut(signed, "\n")
	return origin
}

// tellEvidence prints the story.
func tellEvidence(w io.Writer, e audit.Evidence, list []audit.ProvenRecord) {
	newest := list[0].Checkpoint
	for _, r := range list {
		if r.Checkpoint.Size > newest.Size {
			newest = r.Checkpoint
		}
	}
	_, _ = fmt.Fprintf(w, "%s %s, by the log %s, under a checkpoint of %s over %d events\n\n",
		plain(e.Entity), plain(e.EntityID), plain(newest.Origin), newest.Time.Format(time.RFC3339), newest.Size)
	for _, r := range list {
		_, _ = fmt.Fprintf(w, "  %s  leaf %-8d %-32s %-8s %s\n", r.Time.Format("2006-01-02T15:04:05.000Z"), r.Leaf, plain(r.Action), plain(r.Outcome), told(r))
	}
	_, _ = fmt.Fprintln(w)
}

// told is the rest of an event in few words.
func told(r audit.ProvenRecord) string {
	who := r.Actor.ID
	if who == "" {
		who = string(r.Actor.Kind)
	}
	var text strings.Builder
	text.WriteString("by " + who)
	for _, name := range []string{"attempt", "statusCode", "error", "reason"} {
		if v, ok := r.Details[name]; ok && v != nil && v != "" {
			_, _ = fmt.Fprintf(&text, ", %s %v", name, v)
		}
	}
	return plain(text.String())
}

// statusAfter is what a job is after an event.
var statusAfter = map[string]string{
	"dispatch.job.accepted": "PENDING", "dispatch.attempt.failed": "RETRYING", "dispatch.attempt.interrupted": "RETRYING",
	"dispatch.job.replayed": "PENDING", "dispatch.job.dispatched": "DISPATCHED", "dispatch.job.dead_lettered": "DEAD_LETTER",
}

// compareStatement holds what the server says of a job against what is proven: how it ended, and what was to
// be sent.
func compareStatement(e audit.Evidence, list []audit.ProvenRecord) error {
	if e.Entity != "DispatchJob" {
		return nil
	}
	var s struct {
		Job         struct{ ID, Status string }
		PayloadHash string
	}
	if err := json.Unmarshal(e.Statement, &s); err != nil {
		return fmt.Errorf("what the server says cannot be read: %w", err)
	}
	proven, accepted := "", false
	for _, r := range list {
		if after, ok := statusAfter[r.Action]; ok {
			proven = after
		}
		if r.Action == "dispatch.job.accepted" {
			accepted = true
			if hash, _ := r.Details["payloadHash"].(string); hash != s.PayloadHash {
				return errors.New("the payload's hash is not the one of the event of its acceptance")
			}
		}
	}
	ended := func(status string) bool { return status == "DISPATCHED" || status == "DEAD_LETTER" }
	switch {
	case s.Job.ID != e.EntityID:
		return errors.New("what the server says is about another job")
	case !accepted:
		return errors.New("there is no event of the job's acceptance")
	case (ended(s.Job.Status) || ended(proven)) && s.Job.Status != proven:
		return fmt.Errorf("the server says %s, and by the log the job is %s", plain(s.Job.Status), proven)
	}
	return nil
}
