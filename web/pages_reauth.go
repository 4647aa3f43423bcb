package web

import (
	"net/http"
	"slices"
	"strings"

	"sealpost/fault"
)

// A guarded action (SPEC §5.6) whose sender has not signed in freshly is answered with a form that
// asks for the password, and sends the action again with it: every field of the first form is a hidden
// one of this form, and its address is the action's own. So nothing is kept meanwhile, there is no
// address to be led astray by, and the action goes on. A guarded form therefore carries no password.

const reauthPrefix = "reauth."

type reauthData struct {
	form
	Action string // where the form goes: the action's own address
	Back   string // where whoever does not want to goes
	Fields []hiddenField
	MFA    bool
	Email  string
	Ask    *passkeyAsk // nil: there is no passkey to confirm with
}

type hiddenField struct{ Name, Value string }

// confirmed makes sure that whoever sent a guarded form is freshly signed in, by what the form carries
// or by asking. done says that the answer is given.
func (p *page) confirmed() (done bool, err error) {
	if p.form.Has(reauthPrefix + "password") {
		cookie, err := p.reauth()
		if err != nil {
			if needsReauth(err) || needsFactor(err) || fault.Is(err, fault.TooMany) || correctable(err) {
				return true, p.askReauth(p.x.problem(err).Status, err, true)
			}
			return false, err
		}
		p.setPageCookie(cookie)
		if err := p.become(cookie); err != nil {
			return false, err
		}
	}
	if err := p.Accounts.Guard(p.by); err != nil {
		return true, p.askReauth(http.StatusForbidden, err, false)
	}
	return false, nil
}

// reauth confirms by what the form carries: a passkey where a script has put one in, else a password.
func (p *page) reauth() (cookie string, err error) {
	if answer := p.form.Get(reauthPrefix + "passkey"); answer != "" {
		return p.Accounts.PageReauthPasskey(p.ctx, p.by, []byte(answer))
	}
	return p.Accounts.PageReauth(p.ctx, p.by, p.form.Get(reauthPrefix+"password"), p.factor(reauthPrefix))
}

// passkeyToConfirm is what the form says to a device. nil where the user has none that could be asked.
func (p *page) passkeyToConfirm() (*passkeyAsk, error) {
	if p.Accounts.PasskeyOrigin() == "" {
		return nil, nil
	}
	options, err := p.Accounts.PasskeyReauthStart(p.ctx, p.by)
	switch {
	case fault.Is(err, fault.Conflict): // there is none
		return nil, nil
	case err != nil:
		return nil, err
	}
	ask, err := p.passkeyAsked(options)
	return &ask, err
}

// askReauth shows the form. tried says that it was filled in, and not rightly.
func (p *page) askReauth(status int, err error, tried bool) error {
	user, e := p.Accounts.User(p.ctx, p.by.UserID)
	if e != nil {
		return e
	}
	data := reauthData{form: form{Errors: map[string]string{}}, Action: p.r.URL.Path, Back: p.back(p.r.URL.Path), MFA: user.MFAEnabled, Email: user.Email}
	if tried {
		data.Error = p.signInError(err)
	}
	if data.Ask, e = p.passkeyToConfirm(); e != nil {
		return e
	}
	for name := range p.form {
		if !strings.HasPrefix(name, reauthPrefix) {
			data.Fields = append(data.Fields, hiddenField{name, p.form.Get(name)})
		}
	}
	slices.SortFunc(data.Fields, func(a, b hiddenField) int { return strings.Compare(a.Name, b.Name) })
	return p.render(status, "reauth", data)
}

// back is the page that an action's form was on: the nearest one above the action's own address.
func (s *Server) back(action string) string {
	for at := action; at != ""; at = at[:strings.LastIndexByte(at, '/')] {
		if s.localPage(at) == at {
			return at
		}
	}
	return startPage
}
