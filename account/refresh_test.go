package account

import (
	"sync"
	"testing"
	"time"

	"sealpost/audit"
	"sealpost/fault"
	"sealpost/store"
	"sealpost/store/storetest"
)

func TestJudgeRefresh(t *testing.T) {
	now := time.Date(2026, 3, 14, 9, 26, 5, 0, time.UTC)
	for _, tt := range []struct {
		name  string
		state refreshState
		want  refreshVerdict
	}{
		{"the chain's end", refreshState{usable: true}, refreshRotate},
		{"just spent", refreshState{spentAt: now, usable: true}, refreshRepeat},
		{"within the grace", refreshState{spentAt: now.Add(-10*time.Second + time.Microsecond), usable: true}, refreshRepeat},
		{"after the grace", refreshState{spentAt: now.Add(-10 * time.Second), usable: true}, refreshReuse},
		{"its session is over", refreshState{}, refreshEnded},
		{"spent, and its session is over", refreshState{spentAt: now.Add(-time.Hour)}, refreshEnded},
	} {
		if got := tt.state.judge(now); got != tt.want {
			t.Errorf("%s: %d, want %d", tt.name, got, tt.want)
		}
	}
}

func TestRefresh(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		f := newFixture(t, st)
		admin := f.admin()
		end := admin.RefreshExpiresAt
		f.clock.add(time.Hour)
		s := must(f.Refresh(f.ctx(), from, admin.RefreshToken))(t)
		if s.RefreshToken == admin.RefreshToken || s.SessionID != admin.SessionID || !s.RefreshExpiresAt.Equal(end) ||
			!s.ExpiresAt.Equal(f.clock.now().Add(12*time.Hour)) || s.User != admin.User {
			t.Errorf("got %+v", s)
		}
		if by := f.auth(s); by.UserID != admin.User.ID || by.AuthenticatedAt.Equal(f.clock.now()) {
			t.Errorf("refreshing is no fresh sign-in: %+v", by)
		}
		f.auth(admin.SignIn) // the access token before has not ended

		f.clock.add(9 * time.Second)
		if again := must(f.Refresh(f.ctx(), from, admin.RefreshToken))(t); again.RefreshToken != s.RefreshToken {
			t.Error("within the grace there is another successor")
		}
		if e := f.events("auth.refresh.succeeded"); len(e) != 1 || e[0].Actor.ID != admin.User.ID || e[0].SessionID != s.SessionID {
			t.Errorf("the events are %+v", e)
		}
		if list := must(f.Sessions(f.ctx(), f.auth(s)))(t); list[0].RefreshedAt == nil {
			t.Error("the list does not say when")
		}
		third := must(f.Refresh(f.ctx(), from, s.RefreshToken))(t)

		f.clock.add(time.Second) // ten since the first was spent
		_, err := f.Refresh(f.ctx(), from, admin.RefreshToken)
		wantFault(t, err, fault.Unauthenticated)
		f.wantEnded(third)
		_, err = f.Refresh(f.ctx(), from, third.RefreshToken)
		wantFault(t, err, fault.Unauthenticated)
		e := f.events("auth.refresh.reused")
		if len(e) != 1 || e[0].Outcome != audit.Denied || e[0].EntityID != admin.User.ID || e[0].Details["session"] != s.SessionID {
			t.Errorf("the events are %+v", e)
		}
	})
}

func TestRefreshTokensAreStoredHashed(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		f := newFixture(t, st)
		admin := f.admin()
		s := must(f.Refresh(f.ctx(), from, admin.RefreshToken))(t)
		for _, token := range []string{admin.RefreshToken, s.RefreshToken} {
			hash, _ := hashOpaque(refreshPrefix, token)
			var n int
			err := st.Read(f.ctx(), func(tx *store.Tx) error {
				return tx.QueryRow(f.ctx(), `select count(*) from refresh_token where hash = $1`, hash).Scan(&n)
			})
			if err != nil || n != 1 {
				t.Errorf("%d rows have the hash (%v)", n, err)
			}
		}
	})
}

func TestRefreshRefusals(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		f := newFixture(t, st)
		admin := f.admin()
		for _, token := range []string{"", "x", admin.Token, newOpaque(refreshPrefix), newOpaque(enrollmentPrefix), admin.RefreshToken + " "} {
			_, err := f.Refresh(f.ctx(), from, token)
			wantFault(t, err, fault.Unauthenticated)
		}
		kim := f.another(admin, "kim@example.com", audit.Author)
		yes := true
		f.clock.add(time.Second)
		must(f.ChangeUser(f.ctx(), admin.by, kim.User.ID, UserPatch{Disabled: &yes}))(t)
		_, err := f.Refresh(f.ctx(), from, kim.RefreshToken)
		wantFault(t, err, fault.Unauthenticated)

		f.clock.add(168*time.Hour - 2*time.Second)
		s := must(f.Refresh(f.ctx(), from, admin.RefreshToken))(t)
		if s.ExpiresAt.After(s.RefreshExpiresAt) {
			t.Errorf("the access token outlives the sign-in: %s", s.ExpiresAt)
		}
		f.clock.add(time.Second)
		_, err = f.Refresh(f.ctx(), from, s.RefreshToken)
		wantFault(t, err, fault.Unauthenticated)
	})
}

func TestTenRefreshesAtOnceHaveOneSuccessor(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		f := newFixture(t, st)
		admin := f.admin()
		var mu sync.Mutex
		successors := map[string]bool{}
		wantTally(t, race(10, func(int) error {
			s, err := f.Refresh(f.ctx(), from, admin.RefreshToken)
			mu.Lock()
			defer mu.Unlock()
			successors[s.RefreshToken] = true
			return err
		}), 10, fault.Internal)
		if len(successors) != 1 {
			t.Fatalf("%d successors", len(successors))
		}
		for token := range successors {
			f.auth(must(f.Refresh(f.ctx(), from, token))(t))
		}
	})
}

func TestRefreshRacingLogoutAll(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		f := newFixture(t, st, withoutMFA)
		admin := f.admin()
		var mu sync.Mutex
		var got []SignIn
		race(11, func(i int) error {
			if i == 5 {
				return f.LogoutAll(f.ctx(), admin.by, Whose{})
			}
			s, err := f.Refresh(f.ctx(), from, admin.RefreshToken)
			if err == nil {
				mu.Lock()
				defer mu.Unlock()
				got = append(got, s)
			}
			return err
		})
		for _, s := range append(got, admin.SignIn) {
			f.wantEnded(s)
			_, err := f.Refresh(f.ctx(), from, s.RefreshToken)
			wantFault(t, err, fault.Unauthenticated)
		}
	})
}

// A key that has left the ring after a leak derives nothing any more.
func TestGraceEndsWithTheKey(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		f := newFixture(t, st)
		admin := f.admin()
		s := must(f.Refresh(f.ctx(), from, admin.RefreshToken))(t)
		old := f.keys.JWT.Current()
		f.keys.JWT.Replace(testKey(), old)
		if again := must(f.Refresh(f.ctx(), from, admin.RefreshToken))(t); again.RefreshToken != s.RefreshToken {
			t.Error("the previous key derives another successor")
		}
		f.keys.JWT.Replace(testKey(), nil)
		_, err := f.Refresh(f.ctx(), from, admin.RefreshToken)
		wantFault(t, err, fault.Unauthenticated)
		must(f.Refresh(f.ctx(), from, s.RefreshToken))(t) // the family lives
	})
}

func TestRefreshIsThrottled(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		f := newFixture(t, st, func(o *Options) { o.Refresh.MaxAttempts = 3 })
		s := f.admin().SignIn
		for range 3 {
			s = must(f.Refresh(f.ctx(), from, s.RefreshToken))(t)
		}
		_, err := f.Refresh(f.ctx(), from, s.RefreshToken)
		wantFault(t, err, fault.TooMany)
		f.clock.add(5 * time.Minute)
		must(f.Refresh(f.ctx(), from, s.RefreshToken))(t)

		for range 30 - 5 {
			_, err := f.Refresh(f.ctx(), from, newOpaque(refreshPrefix))
			wantFault(t, err, fault.Unauthenticated)
		}
	})
}
