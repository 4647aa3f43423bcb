package web

import (
	"net/http"
	"strconv"
	"strings"
	"time"

	"sealpost/audit"
	"sealpost/rotation"
)

// secretPages tell how old each secret in use is, and take the record of a rotation (runbook §3).
func (s *Server) secretPages() {
	s.page(only(audit.Admin, audit.Auditor), "GET /secrets", (*page).secrets)
	s.page(only(audit.Admin).guarded(), "POST /secrets", (*page).recordSecrets)
}

type secretsData struct {
	form
	rotation.Status
	Rows   []secretRow
	Limits secretLimits
}

// secretRow is a secret in use, and whether the form names it.
type secretRow struct {
	rotation.Tracked
	Field   string // the form's field for it
	Address string // where it is rotated; "": by command
	Chosen  bool
}

type secretLimits struct{ Ticket, Text int }

// secretField begins the name of a field by which a record names a secret.
const secretField = "secret."

// secrets handles GET /secrets.
func (p *page) secrets() error {
	return p.showSecrets(http.StatusOK, form{Values: map[string]string{"environments": p.Config.Env}, Errors: map[string]string{}})
}

func (p *page) showSecrets(status int, f form) error {
	s, err := p.Rotation.Status(p.ctx)
	if err != nil {
		return err
	}
	data := secretsData{form: f, Status: s, Limits: secretLimits{rotation.MaxTicket, rotation.MaxText}}
	for _, t := range s.SecretsTracked {
		row := secretRow{Tracked: t, Field: secretField + t.Secret, Chosen: p.form.Has(secretField + t.Secret)}
		if id, ok := strings.CutPrefix(t.Secret, rotation.EndpointPrefix); ok {
			row.Address = "/endpoints/" + id
		}
		data.Rows = append(data.Rows, row)
	}
	return p.render(status, "secrets", data)
}

// recordSecrets handles POST /secrets (runbook §3.4, §3.5).
func (p *page) recordSecrets() error {
	n := rotation.NewRotation{
		TicketID: p.field("ticketId"), RollbackPlan: p.field("rollbackPlan"), Notes: p.field("notes"),
	}
	for name := range p.form {
		if secret, ok := strings.CutPrefix(name, secretField); ok {
			n.Secrets = append(n.Secrets, secret)
		}
	}
	for name := range strings.SplitSeq(p.field("environments"), ",") {
		if name = strings.TrimSpace(name); name != "" {
			n.Environments = append(n.Environments, name)
		}
	}
	var err error
	if at := p.field("rotatedAt"); at != "" {
		n.RotatedAt, err = parseUTC("rotatedAt", at)
	}
	if err == nil {
		_, err = p.Rotation.Record(p.ctx, p.by, n)
	}
	switch {
	case err == nil:
		return p.redirect("/secrets?done=recorded")
	case !correctable(err):
		return err
	}
	f := p.newForm("ticketId", "rollbackPlan", "notes", "environments", "rotatedAt")
	f.Values["secrets"] = ""
	f.refused(err)
	return p.showSecrets(p.x.problem(err).Status, f)
}

// Days says an age as people do.
func (r secretRow) Days() string {
	switch {
	case r.AgeDays == 0 && time.Since(r.ChangedAt) < 24*time.Hour:
		return "today"
	case r.AgeDays == 1:
		return "1 day"
	}
	return strconv.Itoa(r.AgeDays) + " days"
}
