package account

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"sealpost/audit"
	"sealpost/fault"
	"sealpost/store"
	"sealpost/store/storetest"
)

// key makes an API key that lives for 30 days.
func (f *fixture) key(by audit.Principal, owner string, scopes ...string) (APIKey, string) {
	f.t.Helper()
	k, secret, err := f.CreateAPIKey(f.ctx(), by, NewKey{Name: "CI", Scopes: scopes, ExpiresAt: f.clock.now().Add(30 * 24 * time.Hour), OwnerID: owner})
	if err != nil {
		f.t.Fatal(err)
	}
	return k, secret
}

func TestNewKeys(t *testing.T) {
	now := time.Date(2026, 3, 14, 9, 0, 0, 0, time.UTC)
	good := NewKey{Name: "CI", Scopes: []string{DispatchWrite}, ExpiresAt: now.Add(time.Hour)}
	for _, tt := range []struct {
		name   string
		change func(*NewKey)
		ok     bool
	}{
		{"as it should be", func(*NewKey) {}, true},
		{"no name", func(n *NewKey) { n.Name = "  " }, false},
		{"100 letters", func(n *NewKey) { n.Name = strings.Repeat("ä", 100) }, true},
		{"101 letters", func(n *NewKey) { n.Name = strings.Repeat("ä", 101) }, false},
		{"two lines", func(n *NewKey) { n.Name = "a\nb" }, false},
		{"no text", func(n *NewKey) { n.Name = "a\xff" }, false},
		{"no scope", func(n *NewKey) { n.Scopes = nil }, false},
		{"all scopes", func(n *NewKey) { n.Scopes = Scopes }, true},
		{"a scope twice", func(n *NewKey) { n.Scopes = []string{AuditRead, AuditRead} }, false},
		{"another scope", func(n *NewKey) { n.Scopes = []string{"users:write"} }, false},
		{"an empty scope", func(n *NewKey) { n.Scopes = []string{""} }, false},
		{"a scope with more behind", func(n *NewKey) { n.Scopes = []string{"audit:read posture:run"} }, false},
		{"no end", func(n *NewKey) { n.ExpiresAt = time.Time{} }, false},
		{"an end that is now", func(n *NewKey) { n.ExpiresAt = now }, false},
		{"an end in a microsecond", func(n *NewKey) { n.ExpiresAt = now.Add(time.Microsecond) }, true},
		{"365 days", func(n *NewKey) { n.ExpiresAt = now.Add(MaxKeyLife) }, true},
		{"365 days and a microsecond", func(n *NewKey) { n.ExpiresAt = now.Add(MaxKeyLife + time.Microsecond) }, false},
	} {
		n := good
		tt.change(&n)
		if err := n.check(now); (err == nil) != tt.ok || err != nil && !fault.Is(err, fault.Invalid) {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
}

func TestAPIKeyActsForItsOwner(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		f := newFixture(t, st)
		admin := f.admin()
		kim := f.another(admin, "kim@example.com", audit.Author)
		k, secret := f.key(admin.by, kim.User.ID, DispatchWrite, DispatchRead)
		if k.OwnerID != kim.User.ID || k.CreatedBy != admin.User.ID || !strings.HasPrefix(secret, k.Hint) || len(k.Hint) != 7 || k.LastUsedAt != nil {
			t.Fatalf("%+v", k)
		}
		by := must(f.Authenticate(f.ctx(), secret, from))(t)
		if by.Kind != audit.Service || by.UserID != kim.User.ID || by.Email != kim.email || by.Role != audit.Author || by.KeyID != k.ID ||
			!slices.Equal(by.Scopes, []string{DispatchWrite, DispatchRead}) || by.SessionID != "" || !by.AuthenticatedAt.IsZero() ||
			by.IP != from.IP || by.RequestID != from.RequestID {
			t.Errorf("the principal is %+v", by)
		}
		wantFault(t, f.Guard(by), fault.Unauthenticated, "reauthRequired")
		// Its role is its owner's of now.
		auditor := "AUDITOR"
		must(f.ChangeUser(f.ctx(), admin.by, kim.User.ID, UserPatch{Role: &auditor}))(t)
		if by := must(f.Authenticate(f.ctx(), secret, from))(t); by.Role != audit.Auditor {
			t.Errorf("after a new role it is %+v", by)
		}
		e := f.events("auth.api_key.created")[0]
		if e.EntityID != k.ID || e.Actor.ID != admin.User.ID || e.Details["ownerId"] != kim.User.ID || strings.Contains(fmt.Sprint(e), secret) {
			t.Errorf("the event is %+v", e)
		}
		own, _ := f.key(admin.by, "", AuditRead)
		if own.OwnerID != admin.User.ID {
			t.Errorf("without an owner: %+v", own)
		}
	})
}

func TestAPIKeysAreStoredHashed(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		f := newFixture(t, st)
		_, secret := f.key(f.admin().by, "", AuditRead)
		want, _ := hashAPIKey(secret)
		err := st.Read(f.ctx(), func(tx *store.Tx) error {
			var hash []byte
			var rest string
			err := tx.QueryRow(f.ctx(), `select hash, id || owner_id || name || hint || scopes || created_by from api_key`).Scan(&hash, &rest)
			if !bytes.Equal(hash, want) || strings.Contains(rest, secret[keyHint:]) {
				t.Errorf("it is kept as %x beside %s", hash, rest)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	})
}

// What ends a key, each at once and with one answer.
func TestWhatEndsAnAPIKey(t *testing.T) {
	yes, no := true, false
	for name, tt := range map[string]struct {
		end    func(f *fixture, admin, kim signedIn, k APIKey) error
		back   func(f *fixture, admin, kim signedIn)
		reason string
	}{
		"revoked": {end: func(f *fixture, admin, _ signedIn, k APIKey) error {
			return f.RevokeAPIKey(f.ctx(), admin.by, k.ID)
		}, reason: "revoked"},
		"its owner is disabled": {end: func(f *fixture, admin, kim signedIn, _ APIKey) error {
			_, err := f.ChangeUser(f.ctx(), admin.by, kim.User.ID, UserPatch{Disabled: &yes})
			return err
		}, back: func(f *fixture, admin, kim signedIn) {
			must(f.ChangeUser(f.ctx(), admin.by, kim.User.ID, UserPatch{Disabled: &no}))(f.t)
		}, reason: "owner disabled"},
		"its owner has no second factor any more": {end: func(f *fixture, admin, kim signedIn, _ APIKey) error {
			_, err := f.ResetMFA(f.ctx(), admin.by, kim.User.ID, "lost phone")
			return err
		}, reason: "owner not enrolled"},
		"its end has come": {end: func(f *fixture, _, _ signedIn, _ APIKey) error {
			f.clock.add(time.Microsecond)
			return nil
		}, reason: "expired"},
	} {
		t.Run(name, func(t *testing.T) {
			storetest.Each(t, func(t *testing.T, st *store.Store) {
				f := newFixture(t, st)
				admin := f.admin()
				kim := f.another(admin, "kim@example.com", audit.Author)
				k, secret := f.key(admin.by, kim.User.ID, DispatchWrite)
				if tt.reason == "expired" {
					f.clock.add(30*24*time.Hour - time.Microsecond)
				}
				must(f.Authenticate(f.ctx(), secret, from))(t)
				if err := tt.end(f, admin, kim, k); err != nil {
					t.Fatal(err)
				}
				_, err := f.Authenticate(f.ctx(), secret, from)
				wantFault(t, err, fault.Unauthenticated)
				if err.Error() != keyOver().Error() {
					t.Errorf("the answer is %q", err)
				}
				e := f.events("auth.api_key.refused")
				if len(e) != 1 || e[0].EntityID != k.ID || e[0].Details["reason"] != tt.reason || e[0].Actor.Kind != audit.Anonymous {
					t.Errorf("the events are %+v", e)
				}
				if tt.back != nil {
					tt.back(f, admin, kim)
					must(f.Authenticate(f.ctx(), secret, from))(t)
				}
			})
		})
	}
}

func TestUnknownAPIKeys(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		f := newFixture(t, st)
		for range 20 {
			_, err := f.Authenticate(f.ctx(), newAPIKey(), from)
			wantFault(t, err, fault.Unauthenticated)
		}
		if e := f.events("auth.api_key.refused"); len(e) != 1 || e[0].Details["reason"] != "unknown" || e[0].EntityID != "" {
			t.Errorf("20 of them are %d events: %+v", len(e), e)
		}
		// What is no key is refused without the database.
		if err := st.Close(); err != nil {
			t.Fatal(err)
		}
		_, err := f.Authenticate(f.ctx(), newAPIKey()[:keyLength-1]+"-", from)
		wantFault(t, err, fault.Unauthenticated)
		_, err = f.Authenticate(f.ctx(), newAPIKey(), from)
		wantFault(t, err, fault.Unavailable)
	})
}

func TestWhoMayHaveAPIKeys(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		f := newFixture(t, st)
		admin := f.admin()
		kim := f.another(admin, "kim@example.com", audit.Author)
		n := NewKey{Name: "CI", Scopes: []string{DispatchWrite}, ExpiresAt: f.clock.now().Add(time.Hour)}
		create := func(by audit.Principal, owner string) error {
			n.OwnerID = owner
			_, _, err := f.CreateAPIKey(f.ctx(), by, n)
			return err
		}
		wantFault(t, create(kim.by, ""), fault.Forbidden)
		wantFault(t, create(admin.by, store.NewID()), fault.NotFound)
		wantFault(t, f.RevokeAPIKey(f.ctx(), kim.by, store.NewID()), fault.Forbidden)
		wantFault(t, f.RevokeAPIKey(f.ctx(), admin.by, store.NewID()), fault.NotFound)
		_, secret := f.key(admin.by, "", Scopes...)
		key := must(f.Authenticate(f.ctx(), secret, from))(t)
		wantFault(t, create(key, ""), fault.Forbidden) // an ADMIN's key is not an ADMIN
		wantFault(t, f.RevokeAPIKey(f.ctx(), key, key.KeyID), fault.Forbidden)
		stale := admin.by
		stale.AuthenticatedAt = f.clock.now().Add(-15*time.Minute - time.Microsecond)
		wantFault(t, create(stale, ""), fault.Unauthenticated, "reauthRequired")
		wantFault(t, f.RevokeAPIKey(f.ctx(), stale, key.KeyID), fault.Unauthenticated, "reauthRequired")
		if n := len(f.events("auth.api_key.create_refused")); n != 3 {
			t.Errorf("%d refusals are recorded", n)
		}

		// Someone who could not sign in has none either.
		bo := must(f.Register(f.ctx(), admin.by, NewUser{Email: "bo@example.com", Name: "Bo", Password: otherPassword, Role: "AUTHOR"}))(t)
		wantFault(t, create(admin.by, bo.ID), fault.Conflict)
		yes := true
		must(f.ChangeUser(f.ctx(), admin.by, kim.User.ID, UserPatch{Disabled: &yes}))(t)
		wantFault(t, create(admin.by, kim.User.ID), fault.Conflict)
	})
}

// Of 30 that are asked for at once, as many as may be are made; an ended one makes room.
func TestAPIKeyLimit(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		f := newFixture(t, st)
		admin := f.admin()
		ids := make([]string, MaxLiveKeys+5)
		wantTally(t, race(len(ids), func(i int) error {
			k, _, err := f.CreateAPIKey(f.ctx(), admin.by, NewKey{
				Name: fmt.Sprint(i), Scopes: []string{DispatchWrite}, ExpiresAt: f.clock.now().Add(time.Minute),
			})
			ids[i] = k.ID
			return err
		}), MaxLiveKeys, fault.Conflict)
		made := slices.DeleteFunc(ids, func(id string) bool { return id == "" })
		if err := f.RevokeAPIKey(f.ctx(), admin.by, made[0]); err != nil {
			t.Fatal(err)
		}
		wantFault(t, f.RevokeAPIKey(f.ctx(), admin.by, made[0]), fault.NotFound)
		f.key(admin.by, "", DispatchWrite)
		_, _, err := f.CreateAPIKey(f.ctx(), admin.by, NewKey{Name: "one more", Scopes: []string{AuditRead}, ExpiresAt: f.clock.now().Add(time.Hour)})
		wantFault(t, err, fault.Conflict)
		f.clock.add(time.Minute)
		f.key(admin.by, "", DispatchWrite)

		ages := must(f.KeyAges(f.ctx()))(t)
		if len(ages) != 2 || ages[0].Name != "CI" || !ages[1].CreatedAt.Equal(f.clock.now()) {
			t.Errorf("of those that count the ages are %+v", ages)
		}
		first := must(f.APIKeys(f.ctx(), store.Page{Limit: 20}))(t)
		second := must(f.APIKeys(f.ctx(), store.Page{Limit: 20, After: first.Next}))(t)
		if len(first.Items) != 20 || len(second.Items) != 7 || second.Next != "" {
			t.Errorf("pages of %d and %d", len(first.Items), len(second.Items))
		}
		if n := slices.IndexFunc(append(first.Items, second.Items...), func(k APIKey) bool { return k.ID == made[0] && k.RevokedAt != nil }); n < 0 {
			t.Error("the revoked one is not in the list")
		}
	})
}

func TestLastUses(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		f := newFixture(t, st)
		admin := f.admin()
		k, secret := f.key(admin.by, "", AuditRead)
		if err := f.uses.flush(f.ctx()); err != nil {
			t.Fatal(err)
		}
		writes := func() (n int64) {
			err := st.Read(f.ctx(), func(tx *store.Tx) error {
				return tx.QueryRow(f.ctx(), `select (select count(*) from api_key_use) + (select count(*) from session_use)`).Scan(&n)
			})
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
		before := writes()
		used := f.clock.now().Add(time.Hour)
		f.clock.add(time.Hour)
		for range 10 { // nothing is written with a request
			must(f.Authenticate(f.ctx(), secret, audit.Principal{IP: "203.0.113.5"}))(t)
			must(f.Authenticate(f.ctx(), admin.Token, audit.Principal{IP: "203.0.113.6"}))(t)
		}
		if n := writes(); n != before {
			t.Errorf("%d rows are written, want %d", n, before)
		}
		f.clock.add(time.Minute)
		key := must(f.APIKeys(f.ctx(), store.Page{Limit: 1}))(t).Items[0]
		if key.ID != k.ID || key.LastUsedAt == nil || !key.LastUsedAt.Equal(used) || key.LastUsedIP != "203.0.113.5" {
			t.Errorf("the key is %+v", key)
		}
		s := must(f.Sessions(f.ctx(), admin.by))(t)[0]
		if !s.LastSeenAt.Equal(used) || s.LastSeenIP != "203.0.113.6" || s.IP != from.IP {
			t.Errorf("the session is %+v", s)
		}
		// Another server that knows of an earlier use does not turn it back.
		other := &uses{log: f.log}
		other.key(k.ID, "203.0.113.9", used.Add(-time.Minute))
		other.session(s.ID, "203.0.113.9", used.Add(-time.Minute))
		other.session(store.NewID(), "203.0.113.9", used) // a session that is gone
		if err := other.flush(f.ctx()); err != nil {
			t.Fatal(err)
		}
		if key := must(f.APIKeys(f.ctx(), store.Page{Limit: 1}))(t).Items[0]; key.LastUsedIP != "203.0.113.5" {
			t.Errorf("the key is %+v", key)
		}
		if s := must(f.Sessions(f.ctx(), admin.by))(t)[0]; s.LastSeenIP != "203.0.113.6" {
			t.Errorf("the session is %+v", s)
		}
		// A session that nobody has used was last seen when it was begun.
		second := must(f.Login(f.ctx(), from, Credentials{Email: admin.email, Password: goodPassword, Factor: Factor{MFACode: f.nextCode(admin.secret)}}))(t)
		if s := must(f.Sessions(f.ctx(), admin.by))(t)[0]; s.ID != second.SessionID || !s.LastSeenAt.Equal(s.CreatedAt) || s.LastSeenIP != from.IP {
			t.Errorf("the new session is %+v", s)
		}
	})
}

// However many there are, memory is not.
func TestLastUsesAreBounded(t *testing.T) {
	u := &uses{}
	now := time.Now()
	for i := range maxUses + 10 {
		u.session(fmt.Sprint(i), "", now)
	}
	u.session("0", "", now.Add(time.Second)) // one that is there goes on
	if len(u.sessions) != maxUses || !u.sessions["0"].at.Equal(now.Add(time.Second)) {
		t.Errorf("%d are remembered", len(u.sessions))
	}
	u.timer.Stop()
}

func TestCloseWritesLastUses(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		f := newFixture(t, st)
		admin := f.admin()
		if err := f.Close(f.ctx()); err != nil {
			t.Fatal(err)
		}
		var n int
		err := st.Read(f.ctx(), func(tx *store.Tx) error {
			return tx.QueryRow(f.ctx(), `select count(*) from session_use where session_id = $1`, admin.SessionID).Scan(&n)
		})
		if err != nil || n != 1 {
			t.Errorf("%d rows, %v", n, err)
		}
		f.auth(admin.SignIn)
		if len(f.uses.sessions) != 0 {
			t.Error("it is noted after the end")
		}
	})
}
