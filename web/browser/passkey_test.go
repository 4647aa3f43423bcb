package browser_test

import (
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/webauthn"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"sealpost/account"
	"sealpost/audit"
	"sealpost/store"
	"sealpost/store/storetest"
)

// device gives the window a device that keeps passkeys, by Chromium's virtual authenticator.
func (o *operator) device() webauthn.AuthenticatorID {
	o.t.Helper()
	if _, err := chromedp.Call(o.ctx, webauthn.Enable, webauthn.EnableParams{}); err != nil {
		o.t.Fatal(err)
	}
	added, err := chromedp.Call(o.ctx, webauthn.AddVirtualAuthenticator, webauthn.AddVirtualAuthenticatorParams{
		Options: &webauthn.VirtualAuthenticatorOptions{
			Protocol: webauthn.AuthenticatorProtocolCtap2, Transport: webauthn.AuthenticatorTransportInternal,
			HasResidentKey: true, HasUserVerification: true, IsUserVerified: true, AutomaticPresenceSimulation: true,
			DefaultBackupEligibility: true, DefaultBackupState: true,
		},
	})
	if err != nil {
		o.t.Fatal(err)
	}
	return added.AuthenticatorID
}

// verified has the device say from now on whether it was unlocked.
func (o *operator) verified(device webauthn.AuthenticatorID, is bool) {
	o.t.Helper()
	_, err := chromedp.Call(o.ctx, webauthn.SetUserVerified, webauthn.SetUserVerifiedParams{AuthenticatorID: device, IsUserVerified: is})
	if err != nil {
		o.t.Fatal(err)
	}
}

// addPasskey goes through the pages for a new passkey, to the list.
func (o *operator) addPasskey(name string) {
	o.t.Helper()
	o.visit("/passkeys")
	o.click("#add")
	o.at("/passkeys/new")
	o.until(`document.activeElement.id === "name"`)
	o.press(name, kb.Enter)
	o.until(`document.querySelector("[data-passkey=create]:not([hidden]) button")`)
	o.shot("passkey-create")
	o.click("[data-passkey] button")
	o.sees(".done", "The passkey was added")
}

// TestPasskeyInABrowser registers a passkey on the page, signs out, signs in with it, confirms with it, and
// deletes it, with Chromium's own WebAuthn in between.
func TestPasskeyInABrowser(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		o := begin(t, st)
		o.url = o.server.Config.PublicURL.String() // passkeys belong to a name
		device := o.device()
		o.enroll()
		o.visit("/passkeys")
		o.sees(".empty", "no passkey yet")
		o.addPasskey("Ada's laptop")
		o.sees("tbody tr", "Ada's laptop")
		o.sees("tbody tr", "on several devices")
		o.shot("passkeys")

		o.visit("/passkeys/new") // the device has one for this account
		o.fill("#name", "again")
		o.press(kb.Enter)
		o.click("[data-passkey] button")
		o.sees("[data-passkey] [role=alert]", "has a passkey for your account already")

		o.click(".who button")
		o.at("/login?done=out")
		o.sees("[data-passkey=get] button", "Sign in with a passkey")
		o.shot("login-passkey")
		o.verified(device, false)
		o.click("[data-passkey] button")
		o.sees("[data-passkey] [role=alert]", "cancelled")
		o.verified(device, true)
		o.visit("/login?to=%2Fpasskeys")
		o.tabTo("the passkey", `document.activeElement.closest("[data-passkey]")`)
		o.press(kb.Enter) // by keyboard, and without a word of who one is
		o.at("/passkeys")
		o.sees("tbody tr time", time.Now().UTC().Format("2006-01-02"))

		err := o.server.Store.Write(t.Context(), func(tx *store.Tx) error {
			_, err := tx.Exec(t.Context(), `update session set authenticated_at = $1`, time.Now().Add(-time.Hour).UnixMicro())
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		o.click("tbody .act a")
		o.sees("h1", "Delete Ada's laptop")
		o.expect("403", "401")
		o.click("main form button")
		o.sees("h1", "Confirm that it is you")
		o.shot("reauth-passkey")
		o.click("[data-passkey] button")
		o.sees(".done", "The passkey was deleted")
		o.sees(".empty", "no passkey yet")

		o.click(".who button") // what was deleted is good for nothing
		o.click("[data-passkey] button")
		o.sees("#failed", "This passkey was not accepted")
	})
}

// TestPasskeysSayWhereTheyWork has a page at another address than PUBLIC_URL, and one that no passkey can be for.
func TestPasskeysSayWhereTheyWork(t *testing.T) {
	o := begin(t, storetest.Open(t, storetest.SQLiteURL(t)))
	o.enroll() // at 127.0.0.1
	o.visit("/passkeys/new")
	o.fill("#name", "x")
	o.press(kb.Enter)
	o.sees("[data-passkey] .aside", "Passkeys work at "+o.server.Config.PublicURL.String()+" alone.")
	o.until(`document.querySelector("[data-passkey] button").hidden`)
	if err := o.server.Accounts.LogoutAll(t.Context(), audit.Itself("test"), account.Whose{Everyone: true}); err != nil {
		t.Fatal(err)
	}

	o = begin(t, storetest.Open(t, storetest.SQLiteURL(t)), "PUBLIC_URL=http://127.0.0.1:4000")
	o.visit("/login")
	if strings.Contains(o.value("document.body.innerHTML"), "passkey") {
		t.Error("the sign-in offers what there is not")
	}
	o.enroll()
	o.visit("/passkeys")
	o.sees("main .warn", "never to an IP address")
	o.shot("passkeys-none")
}
