package account

import (
	"encoding/base64"
	"strings"
	"testing"
	"time"

	"sealpost/audit"
	"sealpost/fault"
	"sealpost/store"
	"sealpost/store/storetest"
)

func (f *fixture) ticket(email, password string) string {
	f.t.Helper()
	_, err := f.ForPages().Login(f.ctx(), from, Credentials{Email: email, Password: password})
	wantFault(f.t, err, fault.Unauthenticated, "mfaRequired")
	text, _ := detail(err, "ticket").(string)
	if text == "" {
		f.t.Fatal("there is no ticket")
	}
	return text
}

func TestTicketNeedsTheFactor(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		f := newFixture(t, st)
		admin := f.admin()
		pages, text := f.ForPages(), f.ticket(adminEmail, goodPassword)
		if strings.Contains(text, admin.User.ID) {
			t.Error("the ticket tells whose it is")
		}
		_, err := pages.ContinueLogin(f.ctx(), from, text, Factor{})
		wantFault(t, err, fault.Unauthenticated, "mfaRequired")
		_, err = pages.ContinueLogin(f.ctx(), from, text, Factor{MFACode: "000000"})
		wantFault(t, err, fault.Unauthenticated, "mfaRequired")
		_, err = pages.ContinueLogin(f.ctx(), from, text, Factor{MFACode: "000000", BackupCode: "x"})
		wantFault(t, err, fault.Invalid)
		must(pages.ContinueLogin(f.ctx(), from, text, Factor{BackupCode: admin.BackupCodes[0]}))(t)
		_, err = pages.ContinueLogin(f.ctx(), from, text, Factor{BackupCode: admin.BackupCodes[0]})
		wantFault(t, err, fault.Unauthenticated, "mfaRequired")

		// The API, whose answer anybody's script may read, gives none.
		_, err = f.Login(f.ctx(), from, Credentials{Email: adminEmail, Password: goodPassword})
		wantFault(t, err, fault.Unauthenticated, "mfaRequired")
		if detail(err, "ticket") != nil {
			t.Error("the API gives a ticket")
		}
	})
}

func TestTicketEnds(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		f := newFixture(t, st)
		admin := f.admin()
		kim := f.another(admin, "kim@example.com", audit.Author)
		pages := f.ForPages()
		use := func(text string) error {
			_, err := pages.ContinueLogin(f.ctx(), from, text, Factor{MFACode: f.nextCode(kim.secret)})
			return err
		}
		for name, spoil := range map[string]func(text string) string{
			"it is over": func(text string) string { f.clock.add(5*time.Minute - 30*time.Second); return text },
			"another password": func(text string) string {
				f.exec(`update account set password_hash = 'x' where id = $1`, kim.User.ID)
				return text
			},
			"disabled": func(text string) string {
				f.exec(`update account set disabled = true where id = $1`, kim.User.ID)
				return text
			},
			"no longer enrolled": func(text string) string {
				f.exec(`update account set mfa_enabled = false where id = $1`, kim.User.ID)
				return text
			},
			"changed":  func(text string) string { return changedTicket(t, text) },
			"too long": func(text string) string { return text + strings.Repeat("A", maxTicket) },
			"none":     func(string) string { return "" },
			"rotated after a leak": func(text string) string {
				f.keys.JWT.Replace(testKey(), nil)
				return text
			},
		} {
			t.Run(name, func(t *testing.T) {
				var hash string
				err := st.Read(f.ctx(), func(tx *store.Tx) error {
					return tx.QueryRow(f.ctx(), `select password_hash from account where id = $1`, kim.User.ID).Scan(&hash)
				})
				if err != nil {
					t.Fatal(err)
				}
				text := spoil(f.ticket("kim@example.com", otherPassword))
				err = use(text)
				wantFault(t, err, fault.Unauthenticated)
				if detail(err, "mfaRequired") != nil {
					t.Errorf("a ticket that is worth nothing asks for a factor: %v", err)
				}
				f.exec(`update account set disabled = false, mfa_enabled = true, password_hash = $2 where id = $1`, kim.User.ID, hash)
			})
		}
		f.clock.add(time.Minute)
		text := f.ticket("kim@example.com", otherPassword)
		f.clock.add(5*time.Minute - 31*time.Second) // and 30 s for the code: its last second
		if err := use(text); err != nil {
			t.Error(err)
		}
	})
}

func changedTicket(t *testing.T, text string) string {
	t.Helper()
	box, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	box[len(box)-1] ^= 1
	return base64.RawURLEncoding.EncodeToString(box)
}

// Guessing codes with a ticket counts as guessing them with the password does.
func TestTicketIsThrottled(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		f := newFixture(t, st)
		admin := f.admin()
		pages, text := f.ForPages(), f.ticket(adminEmail, goodPassword)
		for range 8 {
			_, err := pages.ContinueLogin(f.ctx(), from, text, Factor{MFACode: "000000"})
			wantFault(t, err, fault.Unauthenticated, "mfaRequired")
		}
		_, err := pages.ContinueLogin(f.ctx(), from, text, Factor{MFACode: f.nextCode(admin.secret)})
		wantFault(t, err, fault.TooMany)
		_, err = pages.Login(f.ctx(), from, Credentials{Email: adminEmail, Password: goodPassword})
		wantFault(t, err, fault.TooMany)
	})
}
