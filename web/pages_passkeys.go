package web

import (
	"encoding/json"
	"net/http"

	"sealpost/account"
	"sealpost/fault"
)

// Passkeys on pages (runbook §1). Only a script can ask a device (static/passkey.js): it takes the options
// that stand in the page, and sends the device's answer as a field of the form around them. Everything else
// is as on the other pages, and without a script there is still the password.
func (s *Server) passkeyPages() {
	s.page(public, "POST /login/passkey", (*page).loginPasskey)
	s.page(signedIn, "GET /passkeys", (*page).listPasskeys)
	s.page(signedIn, "GET /passkeys/new", (*page).newPasskey)
	s.page(signedIn.guarded(), "POST /passkeys/new", (*page).askForPasskey)
	s.page(signedIn.guarded(), "POST /passkeys", (*page).addPasskey)
	s.page(signedIn, "GET /passkeys/{id}", (*page).onePasskey)
	s.page(signedIn.guarded(), "POST /passkeys/{id}/delete", (*page).dropPasskey)
}

// passkeyAsk is what the script needs to ask a device.
type passkeyAsk struct {
	Origin  string // the one address at which passkeys work; "" where they do not
	Options string // JSON; "": the script gets them when it needs them
}

// passkeyWanted is for a page whose script gets the options when they are wanted: a sign-in may stand open
// for longer than a challenge lives.
func (p *page) passkeyWanted() passkeyAsk { return passkeyAsk{Origin: p.Accounts.PasskeyOrigin()} }

// passkeyAsked is for a page that has the options in it.
func (p *page) passkeyAsked(options any) (passkeyAsk, error) {
	text, err := json.Marshal(options)
	return passkeyAsk{Origin: p.Accounts.PasskeyOrigin(), Options: string(text)}, err
}

// loginPasskey handles POST /login/passkey.
func (p *page) loginPasskey() error {
	in, err := p.pageAccounts.PasskeyLoginFinish(p.ctx, p.by, []byte(p.form.Get("credential")))
	if err != nil {
		return p.loginRefused(err)
	}
	return p.signedIn(in)
}

// passkeysData is the list of somebody's own passkeys.
type passkeysData struct {
	Passkeys    []account.Passkey
	Most        int
	Unavailable string // why there can be none
}

// Full tells whether there may be no more.
func (d passkeysData) Full() bool { return len(d.Passkeys) >= d.Most }

// listPasskeys handles GET /passkeys.
func (p *page) listPasskeys() error {
	list, err := p.Accounts.Passkeys(p.ctx, p.by)
	if err != nil {
		return err
	}
	data := passkeysData{Passkeys: list, Most: account.MaxPasskeys}
	if err := p.Accounts.PasskeysAvailable(); err != nil {
		data.Unavailable = sentenceOf(messageOf(err))
	}
	return p.render(http.StatusOK, "passkeys", data)
}

// newPasskeyData is a new passkey: first its name, then the device.
type newPasskeyData struct {
	form
	Ask passkeyAsk
}

// newPasskey handles GET /passkeys/new.
func (p *page) newPasskey() error {
	if err := p.Accounts.PasskeysAvailable(); err != nil {
		return err
	}
	return p.render(http.StatusOK, "newpasskey", newPasskeyData{form: p.newForm("name")})
}

// askForPasskey handles POST /passkeys/new.
func (p *page) askForPasskey() error {
	options, err := p.Accounts.PasskeyRegisterStart(p.ctx, p.by)
	if err != nil {
		return p.passkeyRefused(err)
	}
	data := newPasskeyData{form: p.newForm("name")}
	if data.Ask, err = p.passkeyAsked(options); err != nil {
		return err
	}
	return p.render(http.StatusOK, "newpasskey", data)
}

// addPasskey handles POST /passkeys.
func (p *page) addPasskey() error {
	_, err := p.Accounts.PasskeyRegisterFinish(p.ctx, p.by, p.form.Get("name"), []byte(p.form.Get("credential")))
	if err != nil {
		return p.passkeyRefused(err)
	}
	return p.redirect("/passkeys?done=passkey")
}

// passkeyRefused shows the form for a new passkey again, with why.
func (p *page) passkeyRefused(err error) error {
	if !correctable(err) {
		return err
	}
	data := newPasskeyData{form: p.newForm("name")}
	data.refused(err)
	return p.render(p.x.problem(err).Status, "newpasskey", data)
}

// ownPasskey finds the passkey that a page is about.
func (p *page) ownPasskey() (account.Passkey, error) {
	list, err := p.Accounts.Passkeys(p.ctx, p.by)
	for _, k := range list {
		if k.ID == p.r.PathValue("id") {
			return k, nil
		}
	}
	if err == nil {
		err = fault.New(fault.NotFound, "you have no such passkey")
	}
	return account.Passkey{}, err
}

type passkeyData struct {
	form
	account.Passkey
}

// onePasskey handles GET /passkeys/{id}.
func (p *page) onePasskey() error {
	k, err := p.ownPasskey()
	if err != nil {
		return err
	}
	return p.render(http.StatusOK, "passkey", passkeyData{Passkey: k})
}

// dropPasskey handles POST /passkeys/{id}/delete.
func (p *page) dropPasskey() error {
	err := p.Accounts.DeletePasskey(p.ctx, p.by, p.r.PathValue("id"))
	if fault.Is(err, fault.Conflict) {
		k, e := p.ownPasskey()
		if e != nil {
			return e
		}
		data := passkeyData{Passkey: k}
		data.refused(err)
		return p.render(http.StatusConflict, "passkey", data)
	}
	if err != nil {
		return err
	}
	return p.redirect("/passkeys?done=nopasskey")
}
