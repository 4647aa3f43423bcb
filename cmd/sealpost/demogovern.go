package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"sealpost/assist/fakeprovider"
	"sealpost/runbook"
)

// The steps of the demo that are about the runbook: help by AI that can be checked, a rotation, a dry
// run of retention, and the table of controls.

// demoSource is what the fake provider may take a fact from.
const demoSource = "Logger 4 showed no value above 5 °C."

// askForHelp has AI help with the document. The provider is a fake one that says so; the calls, the
// checks and the traces are those of any other.
func (d *demo) askForHelp(ctx context.Context) error {
	path := "/api/documents/" + d.documentID
	var composed struct {
		Revision                 struct{ Content string }
		TraceID, PromptVersionID string
	}
	if err := d.api.Call(ctx, http.MethodPost, path+"/compose", map[string]string{"instructions": "Add what is missing."}, &composed); err != nil {
		return err
	}
	if !strings.Contains(composed.Revision.Content, fakeprovider.Paragraph) || composed.TraceID == "" {
		return fmt.Errorf("compose answered %+v", composed)
	}
	d.say("AI, here a built-in fake one that says so, writes a revision; its call leaves a trace (prompt %s), and no text in any log",
		composed.PromptVersionID)
	var list struct {
		Suggestions []struct{ ID, Kind, Quote, Source, Status string }
		Dropped     int
	}
	err := d.api.Call(ctx, http.MethodPost, path+"/suggestions/refresh", map[string]string{"source": demoSource}, &list)
	if err != nil {
		return err
	}
	if len(list.Suggestions) < 2 || list.Dropped != 1 || list.Suggestions[0].Source != demoSource {
		return fmt.Errorf("suggestions/refresh answered %+v", list)
	}
	var accepted struct{ Document struct{ Content string } }
	if err := d.api.Call(ctx, http.MethodPost, path+"/suggestions/"+list.Suggestions[0].ID+"/accept", nil, &accepted); err != nil {
		return err
	}
	if !strings.Contains(accepted.Document.Content, demoSource) {
		return errors.New("the suggestion that was accepted is not in the document")
	}
	body := map[string]string{"reason": "not needed"}
	if err := d.api.Call(ctx, http.MethodPost, path+"/suggestions/"+list.Suggestions[1].ID+"/dismiss", body, nil); err != nil {
		return err
	}
	d.say("%d suggestions quote the text word for word; %d more quoted what stands nowhere and was dropped; one is accepted, one dismissed",
		len(list.Suggestions), list.Dropped)
	return nil
}

// rotate runs `sealpost rotate JWT_SECRET` beside the running server, as an operator does.
func (d *demo) rotate(ctx context.Context) error {
	var out bytes.Buffer
	p := program{stdout: &out, stderr: &out, environ: d.environ}
	err := rotateCommand(ctx, p, []string{"JWT_SECRET", "--ticket", "DEMO-1", "--rollback-plan", "put the previous value back"})
	if err != nil {
		return fmt.Errorf("%w\n%s", err, &out)
	}
	if err := d.api.Call(ctx, http.MethodGet, "/api/auth/me", nil, nil); err != nil {
		return fmt.Errorf("a token of the previous secret is not taken: %w", err)
	}
	var answer struct {
		Status struct {
			PolicyDays     int
			LatestRotation struct{ TicketID string }
			SecretsTracked []struct {
				Secret                      string
				WithinPolicy, RecordMatches bool
			}
			StaleSecrets []string
		}
	}
	if err := d.api.Call(ctx, http.MethodGet, "/api/admin/security/secret-rotation/status", nil, &answer); err != nil {
		return err
	}
	s := answer.Status
	matches := false
	for _, t := range s.SecretsTracked {
		matches = matches || t.Secret == "JWT_SECRET" && t.RecordMatches && t.WithinPolicy
	}
	if s.LatestRotation.TicketID != "DEMO-1" || !matches || len(s.StaleSecrets) > 0 {
		return fmt.Errorf("the status says %+v", s)
	}
	d.say("`sealpost rotate JWT_SECRET` makes a new secret while the server runs: tokens of the old one are taken until they expire")
	d.say("the rotation is recorded under %s and matches a real change; all %d secrets are younger than %d days",
		s.LatestRotation.TicketID, len(s.SecretsTracked), s.PolicyDays)
	return nil
}

// planRetention makes a dry run, which deletes nothing.
func (d *demo) planRetention(ctx context.Context) error {
	var answer struct {
		Report struct {
			DryRun                                 bool
			Cutoff                                 time.Time
			EligibleCount, DeletedCount, HeldCount int
			PlanHash                               string
		}
	}
	err := d.api.Call(ctx, http.MethodPost, "/api/admin/audit-retention/enforce", map[string]bool{"dryRun": true}, &answer)
	if err != nil {
		return err
	}
	r := answer.Report
	if !r.DryRun || r.DeletedCount != 0 || r.PlanHash == "" || r.EligibleCount != 0 {
		return fmt.Errorf("retention's dry run reports %+v", r)
	}
	d.say("retention's dry run: %d events are older than %s and may go; a plan is applied by its hash alone (%s…)",
		r.EligibleCount, r.Cutoff.Format(time.DateOnly), r.PlanHash[:min(len(r.PlanHash), 19)])
	return nil
}

// demoHolds are controls that do not fail once everything above has been done, in whatever environment.
var demoHolds = []string{"RB-1.1", "RB-1.2", "RB-1.4", "RB-1.5", "RB-2.4", "RB-3.1", "RB-3.2", "RB-3.5", "RB-4.4", "RB-5.2"}

// showRunbook prints the table of controls, of which a server in development cannot hold all.
func (d *demo) showRunbook(ctx context.Context) error {
	var answer struct{ Controls []runbook.Result }
	if err := d.api.Call(ctx, http.MethodPost, "/api/admin/security/posture/run", nil, &answer); err != nil {
		return err
	}
	counts, standing := map[runbook.Status]int{}, map[string]runbook.Result{}
	for _, r := range answer.Controls {
		counts[r.Status]++
		standing[r.ID] = r
	}
	for _, id := range demoHolds {
		if r := standing[id]; r.Status != runbook.Pass && r.Status != runbook.Warn {
			return fmt.Errorf("%s is %s: %s", id, r.Status, r.Observed)
		}
	}
	d.say("the runbook as a table: %d controls PASS, %d FAIL: this is no production, and what nothing has checked has not passed", counts[runbook.Pass], counts[runbook.Fail])
	_, _ = fmt.Fprintf(d.out, "\n%s\n", indented(postureTable(answer.Controls)))
	return nil
}

func indented(text string) string {
	return "    " + strings.ReplaceAll(strings.TrimRight(text, "\n"), "\n", "\n    ")
}
