package account

import (
	"strings"
	"testing"

	"sealpost/audit"
	"sealpost/fault"
	"sealpost/store"
	"sealpost/store/storetest"
)

func TestUsersPage(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		f := newFixture(t, st, withoutMFA)
		admin := f.admin()
		kim := f.another(admin, "kim@example.com", audit.Author)
		lee := f.another(admin, "lee@example.com", audit.Author)
		first := must(f.Users(f.ctx(), store.Page{Limit: 2}))(t)
		second := must(f.Users(f.ctx(), store.Page{Limit: 2, After: first.Next}))(t)
		if len(first.Items) != 2 || first.Items[0].ID != admin.User.ID || first.Items[1].ID != kim.User.ID || first.Next == "" ||
			len(second.Items) != 1 || second.Items[0].ID != lee.User.ID || second.Next != "" {
			t.Errorf("pages %+v and %+v", first, second)
		}
	})
}

func TestChangeUser(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		f := newFixture(t, st)
		admin := f.admin()
		kim := f.another(admin, "kim@example.com", audit.Author)
		name, role, wrong, long := "Kim Lee", "ADMIN", "ROOT", strings.Repeat("x", 201)
		yes, no := true, false
		for what, patch := range map[string]UserPatch{"nothing": {}, "unknown role": {Role: &wrong}, "long name": {Name: &long}} {
			if _, err := f.ChangeUser(f.ctx(), admin.by, kim.User.ID, patch); !fault.Is(err, fault.Invalid) {
				t.Errorf("%s: %v", what, err)
			}
		}
		_, err := f.ChangeUser(f.ctx(), admin.by, store.NewID(), UserPatch{Name: &name})
		wantFault(t, err, fault.NotFound)
		_, err = f.ChangeUser(f.ctx(), kim.by, kim.User.ID, UserPatch{Role: &role})
		wantFault(t, err, fault.Forbidden)
		_, err = f.ResetMFA(f.ctx(), kim.by, admin.User.ID, "because")
		wantFault(t, err, fault.Forbidden)

		u := must(f.ChangeUser(f.ctx(), admin.by, kim.User.ID, UserPatch{Name: &name, Role: &role, Disabled: &no}))(t)
		if u.Name != name || u.Role != audit.Admin || u.Disabled || must(f.User(f.ctx(), u.ID))(t) != u {
			t.Errorf("changed to %+v", u)
		}
		e := f.events("auth.user.changed")[0]
		if _, said := e.Details["disabled"]; said || e.Details["name"] != true || e.EntityID != u.ID || e.Actor.ID != admin.User.ID {
			t.Errorf("the event is %+v", e)
		}
		if same := must(f.ChangeUser(f.ctx(), admin.by, kim.User.ID, UserPatch{Name: &name}))(t); same != u || len(f.events("auth.user.changed")) != 1 {
			t.Errorf("a change to the same: %+v", same)
		}
		must(f.ChangeUser(f.ctx(), admin.by, kim.User.ID, UserPatch{Disabled: &yes}))(t)
		f.wantEnded(kim.SignIn)
		must(f.ChangeUser(f.ctx(), admin.by, kim.User.ID, UserPatch{Disabled: &no}))(t)
		f.wantEnded(kim.SignIn) // it was ended, not suspended
	})
}

func TestTheLastAdminStays(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		f := newFixture(t, st, withoutMFA)
		admin := f.admin()
		yes, author, adminRole := true, "AUTHOR", "ADMIN"
		for _, patch := range []UserPatch{{Disabled: &yes}, {Role: &author}} {
			_, err := f.ChangeUser(f.ctx(), admin.by, admin.User.ID, patch)
			wantFault(t, err, fault.Conflict)
		}
		if len(f.events("auth.user.change_refused")) == 0 {
			t.Error("the refusal is not recorded")
		}
		kim := f.another(admin, "kim@example.com", audit.Admin)
		no := false
		patches := []UserPatch{{Role: &author}, {Disabled: &yes}}
		for round := range 40 {
			// Two demote or disable each other at once.
			ids := []string{admin.User.ID, kim.User.ID}
			by := []audit.Principal{admin.by, kim.by}
			wantTally(t, race(2, func(i int) error {
				_, err := f.ChangeUser(f.ctx(), by[i], ids[1-i], patches[(i*round+round/2)%2])
				return err
			}), 1, fault.Conflict)
			for i, id := range ids {
				if u := must(f.User(f.ctx(), id))(t); !administers(u) {
					must(f.ChangeUser(f.ctx(), by[1-i], id, UserPatch{Role: &adminRole, Disabled: &no}))(t)
				}
			}
		}
	})
}

func TestResetMFA(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		f := newFixture(t, st)
		admin := f.admin()
		kim := f.another(admin, "kim@example.com", audit.Author)
		_, err := f.ResetMFA(f.ctx(), admin.by, store.NewID(), "lost phone")
		wantFault(t, err, fault.NotFound)
		_, err = f.ResetMFA(f.ctx(), admin.by, kim.User.ID, strings.Repeat("x", maxReason+1))
		wantFault(t, err, fault.Invalid)
		u := must(f.ResetMFA(f.ctx(), admin.by, kim.User.ID, strings.Repeat("x", maxReason)))(t)
		if u.MFAEnabled || must(f.User(f.ctx(), u.ID))(t) != u {
			t.Errorf("reset to %+v", u)
		}
		f.wantEnded(kim.SignIn)
		if e := f.events("auth.mfa.reset")[0]; e.Actor.ID != admin.User.ID || e.EntityID != u.ID || e.Details["reason"] == "" {
			t.Errorf("the event is %+v", e)
		}
		token := f.loginToEnroll(kim.email, otherPassword)
		s, secret := f.enroll(token, "")
		f.auth(s)
		for _, factor := range []Factor{{BackupCode: kim.BackupCodes[0]}, {MFACode: f.nextCode(kim.secret)}} {
			_, err = f.Login(f.ctx(), from, Credentials{Email: kim.email, Password: otherPassword, Factor: factor})
			wantFault(t, err, fault.Unauthenticated, "mfaRequired")
		}
		must(f.Login(f.ctx(), from, Credentials{Email: kim.email, Password: otherPassword, Factor: Factor{MFACode: f.code(secret)}}))(t)
	})
}
