package runbook

import (
	"strings"
	"testing"
	"time"

	"sealpost/account"
	"sealpost/audit"
	"sealpost/config"
	"sealpost/dispatch"
	"sealpost/store"
	"sealpost/store/storetest"
)

func TestDecisions(t *testing.T) {
	auth := func(a config.Auth) *config.Config { return &config.Config{Env: config.Production, Auth: a} }
	byConfig := func(check func(*Checker) Finding) func(*config.Config) Finding {
		return func(c *config.Config) Finding { return check(&Checker{o: Options{Config: c}}) }
	}
	of := func(id string) func(*config.Config) Finding {
		return byConfig(func(c *Checker) Finding {
			for _, control := range Controls() {
				if control.ID == id {
					f, err := control.check(t.Context(), c)
					if err != nil {
						t.Fatal(err)
					}
					return f
				}
			}
			t.Fatal(id)
			return Finding{}
		})
	}
	tokens := []string{"hash", "session_id", "created_at", "spent_at", "successor_key"}
	for _, tt := range []struct {
		name string
		got  Finding
		want Status
		says string
	}{
		{"no dev-login", of("RB-1.1")(auth(config.Auth{})), Pass, "ALLOW_DEV_LOGIN=false"},
		{"dev-login", of("RB-1.1")(auth(config.Auth{AllowDevLogin: true})), Fail, "ALLOW_DEV_LOGIN=true"},
		{"MFA", of("RB-1.2")(auth(config.Auth{MFARequired: true})), Pass, ""},
		{"no MFA", of("RB-1.2")(auth(config.Auth{})), Fail, "MFA_REQUIRED=false"},
		{"production", of("RB-1.3")(auth(config.Auth{})), Pass, ""},
		{"development", of("RB-1.3")(&config.Config{Env: config.Development}), Fail, "NODE_ENV=development"},
		{"12 characters", of("RB-2.1")(auth(config.Auth{PasswordMinLength: 12})), Pass, "PASSWORD_MIN_LENGTH=12"},
		{"11 characters", of("RB-2.1")(auth(config.Auth{PasswordMinLength: 11})), Fail, "PASSWORD_MIN_LENGTH=11"},
		{"shorter ones are taken", decideLength(12, false, true), Fail, "one character fewer is refused: false"},
		{"long enough ones are refused", decideLength(12, true, false), Fail, "as many are taken: false"},
		{"12 hours", of("RB-4.1")(auth(config.Auth{AccessTTL: 12 * time.Hour})), Pass, "SESSION_TTL_HOURS=12"},
		{"13 hours", of("RB-4.1")(auth(config.Auth{AccessTTL: 13 * time.Hour})), Warn, "SESSION_TTL_HOURS=13"},
		{"a week", of("RB-4.2")(auth(config.Auth{SignInTTL: 168 * time.Hour})), Pass, ""},
		{"more than a week", of("RB-4.2")(auth(config.Auth{SignInTTL: 169 * time.Hour})), Warn, "REFRESH_TOKEN_TTL_HOURS=169"},
		{"7 years", of("RB-6.2")(&config.Config{Audit: config.Audit{RetentionDays: 2555}}), Pass, ""},
		{"a day less", of("RB-6.2")(&config.Config{Audit: config.Audit{RetentionDays: 2554}}), Fail, "AUDIT_RETENTION_DAYS=2554"},

		{"bootstrap is open", decideBootstrap(account.Inspection{}), Fail, "whoever comes first"},
		{"bootstrap is spent", decideBootstrap(account.Inspection{Bootstrapped: true}), Pass, ""},
		{"nobody yet", decideFirst(account.Inspection{}), Fail, "no account yet"},
		{"the first account is gone", decideFirst(account.Inspection{Bootstrapped: true}), Fail, "is gone"},
		{"the first account has no MFA", decideFirst(account.Inspection{Bootstrapped: true, FirstID: "u"}), Fail, "has MFA: false"},
		{"the first account has MFA", decideFirst(account.Inspection{Bootstrapped: true, FirstID: "u", FirstHasMFA: true}), Pass, ""},
		{"MFA is not required", decideWithoutMFA(account.Inspection{WithoutMFA: 2}, false), Fail, "2 enabled accounts need no second factor"},
		{"a session without MFA", decideWithoutMFA(account.Inspection{WithoutMFA: 2, SessionsWithout: 1}, true), Fail, "have 1 sessions"},
		{"only half of it is checked", decideWithoutMFA(account.Inspection{WithoutMFA: 2}, true), Fail, "not yet checked"},
		{"hashes", decideTokens(account.Inspection{TokenColumns: tokens}), Pass, ""},
		{"something else", decideTokens(account.Inspection{TokenColumns: tokens, RawRefreshTokens: 1}), Fail, "1 refresh tokens are kept"},
		{"a new column", decideTokens(account.Inspection{TokenColumns: append(tokens, "token")}), Fail, "does not know: token"},
		{"jobs are well", decideFailures(dispatch.Inspection{Waiting: 2, DeadLetters: dispatch.MaxInspected}), Pass, "2 waiting, 10000 or more in DEAD_LETTER"},
		{"retention of a young log", decideEnforced(audit.Enforcement{Now: day(29), FirstEvent: day(0)}), Warn, "younger than 30 days"},
		{"of one that is no longer", decideEnforced(audit.Enforcement{Now: day(30), FirstEvent: day(0)}), Fail, "was never enforced"},
		{"of an empty one", decideEnforced(audit.Enforcement{Now: day(30)}), Fail, "was never enforced"},
		{"enforced", decideEnforced(audit.Enforcement{Now: day(30), FirstEvent: day(0), CompletedAt: day(0), Cutoff: day(0)}), Pass, "was enforced at"},
		{"enforced long ago", decideEnforced(audit.Enforcement{Now: day(31), CompletedAt: day(0)}), Fail, "more than 30 days ago"},
		{"enforced, and not all is gone", decideEnforced(audit.Enforcement{Now: day(1), CompletedAt: day(0), Left: audit.MaxEnforced}), Fail, "100 or more events remain"},
		{"no standby", withStandby(decideFailures(dispatch.Inspection{}), store.Durability{Commit: "on"}), Warn, "no synchronous standby"},
		{"a standby that is not waited for", withStandby(decideFailures(dispatch.Inspection{}), store.Durability{Standbys: "*", Commit: "local"}), Warn, "failover"},
		{"a standby", withStandby(decideFailures(dispatch.Inspection{}), store.Durability{Standbys: "*", Commit: "on"}), Pass, "no job is past"},
		{"a lost job and no standby", withStandby(decideFailures(dispatch.Inspection{Wrong: []string{"j1"}}), store.Durability{}), Fail, "j1"},
		{"a proxy that nobody told of", decideProduction(&config.Config{Env: config.Production}, "10.0.0.7"), Warn, "10.0.0.7, which TRUSTED_PROXIES"},
		{"the same in development", decideProduction(&config.Config{Env: config.Development}, "10.0.0.7"), Fail, "10.0.0.7"},
		{"a job past its attempts", decideFailures(dispatch.Inspection{Wrong: []string{"j1"}}), Fail, "j1"},
		{"a job in flight for ever", decideFailures(dispatch.Inspection{Stuck: []string{"j2"}}), Fail, "stuck in flight: j2"},
		{"found both ways", decideFound("e", true, true), Pass, ""},
		{"not by request", decideFound("e", false, true), Fail, "by its request id: false"},
		{"not by actor", decideFound("e", true, false), Fail, "by its actor: false"},
	} {
		if tt.got.Status != tt.want || !strings.Contains(tt.got.Observed, tt.says) || tt.got.Observed == "" || len(tt.got.Evidence) == 0 {
			t.Errorf("%s: %+v", tt.name, tt.got)
		}
	}
}

// A policy that lets one thing through, or refuses what is good, is seen.
func TestAWrongPasswordPolicyIsSeen(t *testing.T) {
	without := func(code string) func(string, int, ...string) []account.Issue {
		return func(password string, least int, own ...string) (issues []account.Issue) {
			for _, i := range account.CheckPassword(password, least, own...) {
				if i.Code != code {
					issues = append(issues, i)
				}
			}
			return issues
		}
	}
	classes := []sample{{goodPassword, nil, nil, true}, {"quiet-harbour-42-lanterns", nil, []string{account.MissingUppercase}, true}}
	if f := judge(classes, account.CheckPassword); f.Status != Pass {
		t.Errorf("the policy as it is: %+v", f)
	}
	if f := judge(classes, without(account.MissingUppercase)); f.Status != Fail || !strings.Contains(f.Observed, "of 2 sample passwords 1 were answered wrongly") {
		t.Errorf("one that asks for no uppercase letter: %+v", f)
	}
	all := func(string, int, ...string) []account.Issue {
		return []account.Issue{{Code: account.MissingUppercase, Message: "no"}}
	}
	if f := judge(classes, all); f.Status != Fail {
		t.Errorf("one that refuses everything: %+v", f)
	}
	several := account.CheckPassword(passwordSeveral.password, minPasswordLength)
	if f := explicit(several); f.Status != Pass {
		t.Errorf("the issues as they are: %+v", f)
	}
	if f := explicit(several[:1]); f.Status != Fail {
		t.Errorf("one issue at a time: %+v", f)
	}
	several[0].Message = ""
	if f := explicit(several); f.Status != Fail {
		t.Errorf("an issue without a sentence: %+v", f)
	}
}

// of gives the results by id.
func of(t *testing.T, c *Checker) map[string]Result {
	t.Helper()
	results, err := c.Check(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	by := map[string]Result{}
	for _, r := range results {
		by[r.ID] = r
	}
	return by
}

// The checks that read data, on a database in which things go wrong one after another.
func TestDataIsRead(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		c, log := installation(t, st)
		want := func(when string, statuses map[string]Status) map[string]Result {
			t.Helper()
			by := of(t, c)
			for id, status := range statuses {
				if by[id].Status != status {
					t.Errorf("%s, %s: %+v", when, id, by[id])
				}
			}
			return by
		}
		want("at the start", map[string]Status{"RB-1.4": Fail, "RB-1.5": Fail, "RB-3.3": Pass, "RB-4.4": Fail, "RB-5.2": withoutStandby(st)})
		write(t, st, `insert into account (id, email, email_key, name, role, password_by_admin, mfa_enabled, totp_step, disabled, created_at, updated_at)
			values ('u1', 'a@example.org', 'a@example.org', 'A', 'ADMIN', false, false, 0, false, 1, 1)`)
		by := want("with an account", map[string]Status{"RB-1.4": Pass, "RB-1.5": Fail})
		if seen := by["RB-1.8"].Evidence; seen["accountsWithoutMfa"] != 1 || seen["theirSessions"] != 0 {
			t.Errorf("accounts without MFA: %+v", seen)
		}
		write(t, st, `insert into session (id, user_id, created_at, expires_at, authenticated_at) values ('s1', 'u1', 1, $1, 1)`, time.Now().Add(time.Hour).UnixMicro())
		if seen := want("with a session", nil)["RB-1.8"]; !strings.Contains(seen.Observed, "have 1 sessions") {
			t.Errorf("a session without MFA: %+v", seen)
		}
		write(t, st, `update account set mfa_enabled = true`)
		if seen := want("with MFA", map[string]Status{"RB-1.5": Pass})["RB-1.8"]; !strings.Contains(seen.Observed, "by data it holds: 0 accounts") {
			t.Errorf("accounts with MFA: %+v", seen)
		}
		write(t, st, `insert into refresh_token (hash, session_id, created_at) values ($1, 's1', 1)`, make([]byte, 32))
		want("with a hash", map[string]Status{"RB-3.3": Pass})
		write(t, st, `insert into refresh_token (hash, session_id, created_at) values ($1, 's1', 1)`, []byte("spr_a-token-as-it-is"))
		want("with a raw token", map[string]Status{"RB-3.3": Fail})
		write(t, st, `delete from refresh_token`)
		if err := log.Record(t.Context(), admin, audit.Event{Action: "auth.login.succeeded"}); err != nil {
			t.Fatal(err)
		}
		want("with an event", map[string]Status{"RB-3.3": Pass, "RB-4.4": Pass})
		write(t, st, `update "AuditLog" set actor_id = null`)
		want("with search columns that are gone", map[string]Status{"RB-4.4": Fail})
		write(t, st, `insert into dispatch_job (id, endpoint_id, status, attempt_count, attempt_budget, max_attempts, payload_size, created_at, updated_at)
			values ('j1', 'e1', 'PENDING', 0, 12, 12, 1, 1, 1)`)
		want("with a lost job", map[string]Status{"RB-5.2": Fail})
		write(t, st, `drop table dispatch_job`)
		if r := of(t, c)["RB-5.2"]; r.Status != Fail || !strings.HasPrefix(r.Observed, "the check could not be made: ") {
			t.Errorf("without the table: %+v", r)
		}
	})
}

// day is so many days after a time.
func day(n int) time.Time { return time.Date(2026, 3, 1+n, 0, 0, 0, 0, time.UTC) }

// withoutStandby is how RB-5.2 stands where nothing is wrong: the tests' PostgreSQL has no standby.
func withoutStandby(st *store.Store) Status {
	if st.Dialect() == store.SQLite {
		return Pass
	}
	return Warn
}

func write(t *testing.T, st *store.Store, query string, args ...any) {
	t.Helper()
	err := st.Write(t.Context(), func(tx *store.Tx) error {
		_, err := tx.Exec(t.Context(), query, args...)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// None but these pass, with everything else as it should be: the rest has not been checked.
func TestNothingPassesUnchecked(t *testing.T) {
	passes := "RB-1.1 RB-1.2 RB-1.3 RB-1.4 RB-1.5 RB-2.1 RB-2.2 RB-2.3 RB-2.4 RB-2.5 RB-3.1 RB-3.2 RB-3.3 RB-3.6 RB-4.1 RB-4.2 RB-4.4 RB-5.2 RB-6.2"
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		c, log := installation(t, st, "ALLOW_DEV_LOGIN=false")
		c.o.Config.Env = config.Production
		write(t, st, `insert into account (id, email, email_key, name, role, password_by_admin, mfa_enabled, totp_step, disabled, created_at, updated_at)
			values ('u1', 'a@example.org', 'a@example.org', 'A', 'ADMIN', false, true, 0, false, 1, 1)`)
		if err := log.Record(t.Context(), admin, audit.Event{Action: "auth.login.succeeded"}); err != nil {
			t.Fatal(err)
		}
		var passed []string
		results, err := c.Check(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range results {
			if r.Status == Pass {
				passed = append(passed, r.ID)
			} else if r.ID == "RB-5.2" && r.Status == withoutStandby(st) {
				passed = append(passed, r.ID)
			} else if r.ID == "RB-3.5" && r.Status == NotApplicable {
				continue // nothing was rotated
			} else if r.ID == "RB-6.3" && r.Status == Warn {
				continue // the log is young
			} else if r.ID == "RB-6.1" && r.Status == Fail {
				continue // nothing has sealed it
			} else if r.Status != Fail || !strings.Contains(r.Observed, "not yet checked") {
				t.Errorf("%+v", r)
			}
		}
		if got := strings.Join(passed, " "); got != passes {
			t.Errorf("these pass: %s", got)
		}
	})
}
