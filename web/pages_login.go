package web

import (
	"fmt"
	"net/http"
	"time"

	"sealpost/account"
	"sealpost/fault"
)

// signInPages are the ways in and out (runbook §1): the password, then a code; enrollment for whoever
// has no second factor yet. What one step hands to the next (a ticket, an enrollment token) is a hidden
// field, and so is in no address, no history and no log.
func (s *Server) signInPages() {
	s.page(public, "GET /login", (*page).loginForm)
	s.page(public, "POST /login", (*page).login)
	s.page(public, "POST /login/code", (*page).loginCode)
	s.page(public, "POST /enroll/start", (*page).enrollAgain)
	s.page(public, "POST /enroll", (*page).enroll)
	s.page(signedIn, "POST /logout", (*page).logout)
}

// loginData is the sign-in, of which each step is a page.
type loginData struct {
	form
	To       string // where to go then
	Ticket   string // the second step's
	NoUsers  bool   // there is nobody yet who could sign in
	Insecure bool   // over a network, without TLS
	Ask      passkeyAsk
}

// loginForm handles GET /login.
func (p *page) loginForm() error {
	if _, err := p.signedInBy(p.r, p.by); err == nil {
		return p.redirect(p.localPage(p.query("to")))
	}
	has, err := p.Accounts.HasUsers(p.ctx)
	if err != nil {
		return err
	}
	return p.render(http.StatusOK, "login", loginData{
		To: p.localPage(p.query("to")), NoUsers: !has, Insecure: p.insecure(), Ask: p.passkeyWanted(),
	})
}

// insecure tells whether what is typed goes over a network as it is.
func (p *page) insecure() bool { return !p.secure(p.r) && !localName(p.r.Host) }

// login handles POST /login.
func (p *page) login() error {
	email := p.field("email")
	in, err := p.pageAccounts.Login(p.ctx, p.by, account.Credentials{Email: email, Password: p.form.Get("password"), Device: p.deviceOf(p.r)})
	token, _ := detailOf(err, "enrollmentToken").(string)
	ticket, _ := detailOf(err, "ticket").(string)
	switch {
	case err == nil:
		return p.signedIn(in)
	case ticket != "":
		return p.render(http.StatusOK, "code", loginData{To: p.localPage(p.form.Get("to")), Ticket: ticket})
	case token != "":
		return p.showEnrollment(token)
	}
	return p.loginRefused(err)
}

// loginRefused shows the sign-in again, with why.
func (p *page) loginRefused(err error) error {
	if !fault.Is(err, fault.Unauthenticated) && !fault.Is(err, fault.Forbidden) && !fault.Is(err, fault.TooMany) && !correctable(err) {
		return err
	}
	data := loginData{form: p.newForm("email"), To: p.localPage(p.form.Get("to")), Ask: p.passkeyWanted()}
	data.Error = p.signInError(err)
	return p.render(p.x.problem(err).Status, "login", data)
}

// signInError is why a sign-in was refused, with the time to wait where that is known.
func (p *page) signInError(err error) string {
	if f, ok := asFault(err); ok && f.Kind == fault.TooMany {
		return fmt.Sprintf("Too many attempts. Try again in %s.", inWords(f.RetryAfter))
	}
	return sentenceOf(messageOf(err))
}

// inWords is a time to wait, never shorter than it is.
func inWords(d time.Duration) string {
	if minutes := int((d + time.Minute - 1) / time.Minute); minutes > 1 {
		return fmt.Sprintf("%d minutes", minutes)
	}
	return "a minute"
}

// factor is the second factor that a form carries.
func (p *page) factor(prefix string) account.Factor {
	return account.Factor{MFACode: p.field(prefix + "code"), BackupCode: p.field(prefix + "backupCode")}
}

// loginCode handles POST /login/code.
func (p *page) loginCode() error {
	ticket := p.form.Get("ticket")
	in, err := p.pageAccounts.ContinueLogin(p.ctx, p.by, ticket, p.factor(""))
	switch {
	case err == nil:
		return p.signedIn(in)
	case needsFactor(err), fault.Is(err, fault.TooMany), correctable(err):
		data := loginData{form: p.newForm(), To: p.localPage(p.form.Get("to")), Ticket: ticket}
		data.Error = p.signInError(err)
		return p.render(p.x.problem(err).Status, "code", data)
	}
	return p.loginRefused(err)
}

// signedIn is the end of a sign-in.
func (p *page) signedIn(in account.SignIn) error {
	p.begin(in)
	return p.redirect(p.localPage(p.form.Get("to")))
}

// enrollData is an enrollment. There is a picture only when the secret is given, which is once.
type enrollData struct {
	form
	Token       string
	Setup       *account.Setup
	NewPassword bool
	Rules       string // what a new password must be
	Issues      []account.Issue
}

// showEnrollment gives whoever holds an enrollment token a new secret for their app.
func (p *page) showEnrollment(token string) error {
	setup, err := p.pageAccounts.EnrollStart(p.ctx, token)
	if err == nil {
		var asks bool
		if asks, err = p.pageAccounts.EnrollmentAsksPassword(p.ctx, token); err == nil {
			return p.render(http.StatusOK, "enroll", enrollData{Token: token, Setup: &setup, NewPassword: asks, Rules: p.passwordRules()})
		}
	}
	return p.loginRefused(err)
}

// passwordRules are what a new password must be, in words (runbook §2).
func (s *Server) passwordRules() string {
	return fmt.Sprintf("At least %d characters, with an uppercase and a lowercase letter, a number and a symbol, without spaces. "+
		"Not a common word with numbers around it, a row of keys, or your own name.", s.Config.Auth.PasswordMinLength)
}

// enrollAgain handles POST /enroll/start: a new secret, in place of the one that was shown.
func (p *page) enrollAgain() error { return p.showEnrollment(p.form.Get("token")) }

// enroll handles POST /enroll. The backup codes are in its answer and never again.
func (p *page) enroll() error {
	token := p.form.Get("token")
	in, err := p.pageAccounts.EnrollComplete(p.ctx, p.by, token, p.field("code"), p.form.Get("newPassword"))
	if err == nil {
		p.begin(in)
		if err := p.become(in.PageCookie); err != nil {
			return err
		}
		return p.render(http.StatusOK, "codes", in.BackupCodes)
	}
	if !needsFactor(err) && !correctable(err) {
		return p.loginRefused(err)
	}
	asks, e := p.pageAccounts.EnrollmentAsksPassword(p.ctx, token)
	if e != nil {
		return p.loginRefused(e)
	}
	data := enrollData{form: p.newForm(), Token: token, NewPassword: asks, Rules: p.passwordRules(), Issues: passwordIssues(err)}
	switch {
	case needsFactor(err):
		data.Errors["code"] = sentenceOf(messageOf(err))
	case data.Issues != nil, detailOf(err, "newPasswordRequired") == true:
		data.Values["code"] = p.form.Get("code") // it was right, and is not used up
		data.Errors["newPassword"] = sentenceOf(messageOf(err))
	default:
		data.Error = sentenceOf(messageOf(err))
	}
	return p.render(p.x.problem(err).Status, "enroll", data)
}

// logout handles POST /logout.
func (p *page) logout() error {
	if err := p.Accounts.Logout(p.ctx, p.by); err != nil {
		return err
	}
	p.setPageCookie("")
	return p.redirect("/login?done=out")
}
