package web

import (
	"net/http"

	"sealpost/account"
	"sealpost/fault"
)

// firstPages make the first account (runbook §1), once ever, where nobody can sign in yet. It is
// POST /api/auth/register-first with a form: the same rules, the same refusals.
func (s *Server) firstPages() {
	s.page(public, "GET /first", (*page).firstForm)
	s.page(public, "POST /first", (*page).first)
}

type firstData struct {
	form
	AsksToken bool // whoever is not on the server's own machine shows its token
	Insecure  bool // over a network, without TLS
	Rules     string
	Issues    []account.Issue
}

// firstForm handles GET /first.
func (p *page) firstForm() error {
	has, err := p.Accounts.HasUsers(p.ctx)
	switch {
	case err != nil:
		return err
	case has:
		return p.redirect("/login")
	}
	return p.showFirst(http.StatusOK, form{})
}

func (p *page) showFirst(status int, f form, issues ...account.Issue) error {
	return p.render(status, "first", firstData{
		form: f, AsksToken: p.Config.Production() && !p.x.direct, Insecure: p.insecure(), Rules: p.passwordRules(), Issues: issues,
	})
}

// first handles POST /first. What follows is enrollment, or a sign-in where no second factor is needed.
func (p *page) first() error {
	made, err := p.pageAccounts.RegisterFirst(p.ctx, p.by,
		account.NewUser{Email: p.field("email"), Name: p.field("name"), Password: p.form.Get("password")},
		account.Bootstrap{Token: p.field("bootstrapToken"), Direct: p.x.direct})
	switch {
	case err == nil && made.EnrollmentToken != "":
		return p.showEnrollment(made.EnrollmentToken)
	case err == nil:
		return p.signedIn(made.SignIn)
	case fault.Is(err, fault.Conflict):
		return p.loginRefused(err)
	case !correctable(err) && !fault.Is(err, fault.Forbidden):
		return err
	}
	f, issues := p.newForm("email", "name"), passwordIssues(err)
	switch {
	case issues != nil:
		f.Errors["password"] = sentenceOf(messageOf(err))
	case fault.Is(err, fault.Forbidden):
		f.Errors["bootstrapToken"] = sentenceOf(messageOf(err))
	default:
		f.refused(err)
	}
	return p.showFirst(p.x.problem(err).Status, f, issues...)
}
