package account

import (
	"errors"
	"strings"
	"testing"
	"time"

	"sealpost/audit"
	"sealpost/store"
	"sealpost/store/storetest"
)

func TestActivity(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		f := newFixture(t, st, withoutMFA)
		since := time.Now().Add(-time.Minute) // events have this machine's time, whatever the fixture's clock says
		activity := func() Activity { return must(f.Activity(f.ctx(), since))(t) }
		if got := activity(); got != (Activity{}) {
			t.Errorf("of nothing: %+v", got)
		}
		must(f.RegisterFirst(f.ctx(), from, NewUser{Email: adminEmail, Name: "Ada", Password: goodPassword}, Bootstrap{Direct: true}))(t)
		in := must(f.Login(f.ctx(), from, Credentials{Email: adminEmail, Password: goodPassword}))(t)
		for range 3 { // one event at once, and one with the count of the others when the log is closed
			if _, err := f.Login(f.ctx(), from, Credentials{Email: adminEmail, Password: otherPassword}); err == nil {
				t.Fatal("a wrong password was taken")
			}
		}
		must(f.Refresh(f.ctx(), from, in.RefreshToken))(t)
		f.log.Close(f.ctx())
		n := func(n int) audit.Tally { return audit.Tally{N: n} }
		if got, want := activity(), (Activity{SignIns: n(1), FailedSignIns: n(3), Refreshes: n(1), LiveSessions: n(2)}); got != want {
			t.Errorf("%+v, want %+v", got, want)
		}
		f.clock.add(time.Minute)
		if _, err := f.Refresh(f.ctx(), from, in.RefreshToken); err == nil {
			t.Fatal("a spent token was taken")
		}
		if got := activity(); got.ReusedTokens != n(1) || got.LiveSessions != n(1) {
			t.Errorf("after a spent token came back: %+v", got)
		}
		refused := must(f.log.TallyRefused(f.ctx(), since))(t)
		if refused != n(1) {
			t.Errorf("refused: %+v", refused)
		}
		from := time.Now().UTC().Truncate(time.Minute).Add(-10 * time.Minute)
		trend, atLeast, err := f.Trend(f.ctx(), audit.Buckets{From: from, Each: 5 * time.Minute, N: 4})
		want := Trend{SignIns: 1, FailedSignIns: 3, Refreshes: 1, ReusedTokens: 1, Refused: 1}
		sum := Trend{}
		for _, b := range trend {
			sum = Trend{
				sum.SignIns + b.SignIns, sum.FailedSignIns + b.FailedSignIns, sum.Refreshes + b.Refreshes, sum.ReusedTokens + b.ReusedTokens, sum.Refused + b.Refused,
			}
		}
		if err != nil || atLeast || len(trend) != 4 || sum != want || trend[0] != (Trend{}) {
			t.Errorf("over time: %+v, %v, %v", trend, atLeast, err)
		}
		f.clock.add(8 * 24 * time.Hour)
		if got := activity(); got.LiveSessions != n(0) {
			t.Errorf("after a week: %+v", got)
		}
		if got := must(f.Activity(f.ctx(), time.Now().Add(time.Minute)))(t); got != (Activity{}) {
			t.Errorf("of a window without events: %+v", got)
		}
	})
}

// Whoever has given the right password and is asked for a code, or to enroll, has not failed.
func TestANotYetGivenCodeIsNoFailure(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		f := newFixture(t, st)
		f.admin()
		if _, err := f.Login(f.ctx(), from, Credentials{Email: adminEmail, Password: goodPassword}); err == nil {
			t.Fatal("a password alone was enough")
		}
		admin := from
		admin.Kind, admin.Role, admin.UserID, admin.AuthenticatedAt = audit.User, audit.Admin, "admin", f.clock.now()
		must(f.Register(f.ctx(), admin, NewUser{Email: "bo@example.com", Name: "Bo", Password: otherPassword, Role: "AUTHOR"}))(t)
		if _, err := f.Login(f.ctx(), from, Credentials{Email: "bo@example.com", Password: otherPassword}); err == nil {
			t.Fatal("an account without a second factor came in")
		}
		if got := must(f.Activity(f.ctx(), time.Now().Add(-time.Minute)))(t); got.FailedSignIns.N != 0 || got.SignIns.N != 1 {
			t.Errorf("%+v", got)
		}
	})
}

// What is counted and looked for goes through indexes.
func TestPlansOfCounting(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		write := func(query string) {
			t.Helper()
			err := st.Write(t.Context(), func(tx *store.Tx) error {
				_, err := tx.Exec(t.Context(), query)
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		write(`
			with recursive n (i) as (select 1 union all select i + 1 from n where i < 3000)
			insert into account (id, email, email_key, name, role, password_by_admin, mfa_enabled, totp_step, disabled, created_at, updated_at)
			select 'u' || i, 'u' || i, 'u' || i, 'U', 'AUTHOR', false, i > 20, 0, false, 1, 1 from n`)
		write(`insert into session (id, user_id, created_at, expires_at, authenticated_at) select 's' || id, id, 1, 1, 1 from account`)
		write(`insert into refresh_token (hash, session_id, created_at) select cast(substr(id || '--------------------------------', 1, 32) as blob), id, 1 from session`)
		explain := "explain query plan "
		if st.Dialect() == store.Postgres {
			explain = "explain "
			write(`analyze`)
		}
		for _, p := range []struct {
			query, index string
			args         []any
		}{
			{liveText, "session_end", []any{1000, 10}},
			{withoutMFAText, "account_unenrolled", []any{10}},
			{sessionsWithoutText, "account_unenrolled", []any{0, 10}},
			{rawTokensText, "refresh_token_raw", []any{10}},
		} {
			var plan string
			err := st.Write(t.Context(), func(tx *store.Tx) error {
				plan = ""
				return errors.Join(tx.Each(t.Context(), func(scan func(...any) error) error {
					var line string
					var a, b, c int
					dest := []any{&a, &b, &c, &line}
					if st.Dialect() == store.Postgres {
						dest = dest[3:]
					}
					err := scan(dest...)
					plan += line + "\n"
					return err
				}, explain+p.query, p.args...), errExplained)
			})
			if !errors.Is(err, errExplained) || !strings.Contains(plan, p.index) || strings.Contains(plan, "Seq Scan on refresh_token") {
				t.Errorf("%s: without %s:\n%s%v", p.query, p.index, plan, err)
			}
		}
	})
}

var errExplained = errors.New("explained")
