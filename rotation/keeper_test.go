package rotation

import (
	"context"
	"encoding/base64"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"sealpost/audit"
	"sealpost/config"
	"sealpost/fault"
	"sealpost/keys"
	"sealpost/store"
	"sealpost/store/storetest"
)

// installation is a server's secret files, and a keeper of them.
type installation struct {
	t      *testing.T
	dir    string
	st     *store.Store
	log    *audit.Log
	config *config.Config
	logged *logBuffer
	*Keeper
}

type logBuffer struct {
	mu sync.Mutex
	b  strings.Builder
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

const tokenLife = 12 * time.Hour

// install starts a keeper on the secrets of a folder, which are made where there are none.
func install(t *testing.T, st *store.Store, dir string, change ...func(*Options)) *installation {
	t.Helper()
	i := &installation{t: t, dir: dir, st: st, log: audit.New(st, slog.New(slog.DiscardHandler)), logged: &logBuffer{}}
	t.Cleanup(func() { i.log.Close(context.Background()) })
	if err := i.open(change...); err != nil {
		t.Fatal(err)
	}
	return i
}

func (i *installation) open(change ...func(*Options)) (err error) {
	environ := []string{"NODE_ENV=test", "DATA_DIR=" + i.dir}
	if _, err := os.Stat(i.path(OpenAIKey)); err == nil {
		environ = append(environ, "OPENAI_API_KEY_FILE="+i.path(OpenAIKey))
	}
	if i.config, _, err = config.Load(environ); err != nil {
		return err
	}
	o := Options{TokenLife: tokenLife, MaxAgeDays: 90, Logger: slog.New(slog.NewTextHandler(i.logged, nil))}
	for _, c := range change {
		c(&o)
	}
	i.Keeper, err = Open(i.t.Context(), i.log, Sources{Secrets: i.config.Secrets}, o)
	return err
}

func (i *installation) path(name string) string { return filepath.Join(i.dir, "secrets", name) }

func (i *installation) read(name string) string {
	i.t.Helper()
	b, err := os.ReadFile(i.path(name))
	if err != nil {
		i.t.Fatal(err)
	}
	return strings.TrimSpace(string(b))
}

func (i *installation) write(name, text string) {
	i.t.Helper()
	if err := os.WriteFile(i.path(name), []byte(text+"\n"), 0o600); err != nil {
		i.t.Fatal(err)
	}
}

// rotate replaces a secret in its files, as the command does.
func (i *installation) rotate(name string, leaked bool) (undo func() error) {
	i.t.Helper()
	c, _, err := config.Parse([]string{"NODE_ENV=test", "DATA_DIR=" + i.dir})
	if err != nil {
		i.t.Fatal(err)
	}
	f, err := FilesOf(c.Secrets, name)
	if err == nil {
		undo, err = f.Replace(leaked)
	}
	if err != nil {
		i.t.Fatal(err)
	}
	return undo
}

// state has the files read again, and tells how a secret then stands.
func (i *installation) state(name string) State {
	i.t.Helper()
	states, err := i.Reload(i.t.Context())
	if err != nil {
		i.t.Fatal(err)
	}
	for _, s := range states {
		if s.Secret == name {
			return s
		}
	}
	i.t.Fatalf("nothing is told of %s", name)
	return State{}
}

// events tells how often an action was recorded of a secret.
func (i *installation) events(action, name string) []audit.Record {
	i.t.Helper()
	list, err := i.log.Events(i.t.Context(), audit.Filter{Action: action, EntityID: name}, store.Page{Limit: 1000})
	if err != nil {
		i.t.Fatal(err)
	}
	return list.Items
}

// exec changes the database behind the program's back.
func (i *installation) exec(query string, args ...any) {
	i.t.Helper()
	err := i.st.Write(i.t.Context(), func(tx *store.Tx) error { _, err := tx.Exec(i.t.Context(), query, args...); return err })
	if err != nil {
		i.t.Fatal(err)
	}
}

// later makes everything that was dated older.
func (i *installation) later(by time.Duration) {
	i.t.Helper()
	i.exec(`update secret_version set first_seen = first_seen - $1`, by.Microseconds())
	i.exec(`update secret_in_use set since = since - $1`, by.Microseconds())
}

// A planned rotation of JWT_SECRET: the files are read again, both keys verify, the old one until its
// tokens have expired; then it is gone, also for a server that starts later.
func TestPlannedRotationWhileTheServerRuns(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		i := install(t, st, t.TempDir())
		ring, old := i.Keys().JWT, i.Keys().JWT.Current()
		i.rotate(JWTSecret, false)
		s := i.state(JWTSecret)
		if s.KeyID == old.ID || s.PreviousKeyID != old.ID || s.NextKeyID != "" || s.Problem != "" || s.PreviousUntil == nil {
			t.Fatalf("after it: %+v", s)
		}
		if ring.Current().ID != s.KeyID || ring.Find(old.ID) != old {
			t.Error("the ring has not been replaced in place")
		}
		if want := s.Since.Add(tokenLife + windowGrace); !s.PreviousUntil.Equal(want) {
			t.Errorf("the window ends at %s, want %s", s.PreviousUntil, want)
		}
		if ring.FindAt(old.ID, s.PreviousUntil.Add(-1)) == nil || ring.FindAt(old.ID, *s.PreviousUntil) != nil {
			t.Error("the ring's window is another")
		}
		changed := i.events("secret.changed", JWTSecret)
		if len(changed) != 1 || changed[0].Details["keyId"] != s.KeyID || changed[0].Details["previousKeyId"] != old.ID || changed[0].Details["overlap"] != true {
			t.Errorf("the change was recorded as %+v", changed)
		}
		for range 3 { // looking again changes nothing
			if again := i.state(JWTSecret); again.KeyID != s.KeyID || !again.Since.Equal(s.Since) {
				t.Errorf("a second look changed %+v to %+v", s, again)
			}
		}
		if again := install(t, st, i.dir); again.Keys().JWT.FindAt(old.ID, s.PreviousUntil.Add(-1)) == nil || again.Keys().JWT.FindAt(old.ID, *s.PreviousUntil) != nil {
			t.Error("a server that starts within the window has another one")
		}
		i.later(tokenLife + windowGrace)
		if s := i.state(JWTSecret); s.PreviousKeyID != "" || ring.Find(old.ID) != nil {
			t.Errorf("after the window: %+v", s)
		}
		if again := install(t, st, i.dir); again.Keys().JWT.Previous() != nil {
			t.Error("a server that starts after the window opens it again")
		}
		if n := len(i.events("secret.changed", "")); n != 1 {
			t.Errorf("%d changes were recorded", n)
		}
	})
}

func TestAfterALeakThereIsNoWindow(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		i := install(t, st, t.TempDir())
		i.rotate(JWTSecret, false)
		i.state(JWTSecret)
		old := i.Keys().JWT.Current()
		i.rotate(JWTSecret, true)
		s := i.state(JWTSecret)
		if s.KeyID == old.ID || s.PreviousKeyID != "" || i.Keys().JWT.Find(old.ID) != nil {
			t.Errorf("after it: %+v", s)
		}
		if changed := i.events("secret.changed", JWTSecret); len(changed) != 2 || changed[0].Details["overlap"] != false {
			t.Errorf("the change was recorded as %+v", changed)
		}
	})
}

// Going back to an old secret is a change, and no rotation: it is as old as it really is.
func TestGoingBackKeepsTheAge(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		i := install(t, st, t.TempDir())
		age := func() Tracked {
			t.Helper()
			s, err := i.Status(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			return s.SecretsTracked[0]
		}
		old := i.Keys().JWT.Current().ID
		i.later(100 * 24 * time.Hour)
		i = install(t, st, i.dir)
		if got := age(); got.AgeDays != 100 || got.WithinPolicy {
			t.Errorf("before: %+v", got)
		}
		undo := i.rotate(JWTSecret, false)
		if s := i.state(JWTSecret); s.KeyID == old {
			t.Fatalf("%+v", s)
		}
		if got := age(); got.AgeDays != 0 || !got.WithinPolicy {
			t.Errorf("rotated: %+v", got)
		}
		if err := undo(); err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat(i.path("JWT_SECRET_PREVIOUS")); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("a previous secret is left: %v", err)
		}
		if s := i.state(JWTSecret); s.KeyID != old || s.PreviousKeyID != "" {
			t.Errorf("gone back: %+v", s)
		}
		if got := age(); got.AgeDays != 100 || got.WithinPolicy {
			t.Errorf("gone back: %+v", got)
		}
		if n := len(i.events("secret.changed", JWTSecret)); n != 2 {
			t.Errorf("%d changes were recorded, want there and back", n)
		}
	})
}

// A value that cannot be used changes nothing, is logged and recorded once, and shows no secret.
func TestABadValueIsRefused(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		dir := t.TempDir()
		i := install(t, st, dir)
		before := [3]string{i.Keys().JWT.Current().ID, i.Keys().Data.Current().ID, i.Keys().Audit.Current().ID}
		good := map[string]string{JWTSecret: i.read(JWTSecret), DataEncryptionKey: i.read(DataEncryptionKey), AuditSigningKey: i.read(AuditSigningKey)}
		other := base64.StdEncoding.EncodeToString([]byte("another key, of 32 bytes exactly"))
		refusals := map[string]int{}
		for _, tt := range []struct{ name, text, want string }{
			{JWTSecret, "short", "5 bytes"},
			{JWTSecret, "", "nothing"},
			{JWTSecret, good[AuditSigningKey], "value of"},
			{AuditSigningKey, "not base64 but long enough for it", "base64"},
			{AuditSigningKey, good[DataEncryptionKey], "value of"},
			{DataEncryptionKey, other, "still encrypted"},
		} {
			i.write(tt.name, tt.text)
			for range 2 {
				if s := i.state(tt.name); !strings.Contains(s.Problem, tt.want) || strings.Contains(s.Problem, good[tt.name]) {
					t.Errorf("%s = %q: %+v", tt.name, tt.text, s)
				}
			}
			refusals[tt.name]++
			now := [3]string{i.Keys().JWT.Current().ID, i.Keys().Data.Current().ID, i.Keys().Audit.Current().ID}
			if now != before {
				t.Errorf("%s = %q changed the keys: %v, were %v", tt.name, tt.text, now, before)
			}
			i.write(tt.name, good[tt.name])
			if s := i.state(tt.name); s.Problem != "" {
				t.Errorf("%s, mended: %+v", tt.name, s)
			}
		}
		for name, n := range refusals {
			events := i.events("secret.change_refused", name)
			if len(events) != n || events[0].Outcome != audit.Failure {
				t.Errorf("%s: %d refusals were recorded, want %d", name, len(events), n)
			}
		}
		if n := len(i.events("secret.changed", "")); n != 0 {
			t.Errorf("%d changes were recorded", n)
		}
		if text := i.logged.String(); strings.Count(text, "the old one stays") != 6 || strings.Contains(text, other) {
			t.Errorf("the log says:\n%s", text)
		}
		// A file that is gone changes nothing either.
		if err := os.Remove(i.path(JWTSecret)); err != nil {
			t.Fatal(err)
		}
		if s := i.state(JWTSecret); !strings.Contains(s.Problem, "no such file") || s.KeyID != before[0] {
			t.Errorf("without its file: %+v", s)
		}
	})
}

// sealed is a table of the program's that the tests put boxes into.
var sealed = keys.Sealed{Table: "dispatch_attempt", Place: "job_id", Column: "answer", Purpose: keys.AttemptAnswer}

// box puts an encrypted value into the table.
func (i *installation) box(job string, number int, value string) {
	i.t.Helper()
	box, err := i.Keys().Data.Encrypt(sealed.Purpose, job, []byte(value))
	if err != nil {
		i.t.Fatal(err)
	}
	i.exec(`insert into dispatch_attempt (job_id, number, outcome, started_at, ended_at, node, answer) values ($1, $2, 'FAILED', 0, 0, 'n', $3)`, job, number, box)
}

// boxes counts the values under a key, and opens them all.
func (i *installation) boxes(keyID string) (n int) {
	i.t.Helper()
	err := i.st.Read(i.t.Context(), func(tx *store.Tx) error {
		return tx.Each(i.t.Context(), func(scan func(...any) error) error {
			var job, value string
			var box []byte
			if err := scan(&job, &box); err != nil {
				return err
			}
			if plain, err := i.Keys().Data.Decrypt(sealed.Purpose, job, box); err != nil || !strings.HasPrefix(string(plain), "of "+job) {
				i.t.Errorf("%s of %s: %q, %v", value, job, plain, err)
			}
			if keys.KeyIDOf(box) == keyID {
				n++
			}
			return nil
		}, `select job_id, answer from dispatch_attempt where answer is not null`)
	})
	if err != nil {
		i.t.Fatal(err)
	}
	return n
}

// A data key goes only when nothing is encrypted with it any more.
func TestDataKeyRotation(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		withTable := func(o *Options) { o.Sealed = []keys.Sealed{sealed} }
		i := install(t, st, t.TempDir(), withTable)
		const jobs = 401 // more than two pieces, some of several rows
		for n := range jobs {
			job := store.NewID()
			i.box(job, 1, "of "+job)
			if n%100 == 0 {
				i.box(job, 2, "of "+job+" again")
			}
		}
		const rows = jobs + 5
		first, previous := i.Keys().Data.Current().ID, i.path("DATA_ENCRYPTION_KEY_PREVIOUS")
		if s := i.state(DataEncryptionKey); !s.Settled {
			t.Fatalf("a first key has nothing before it: %+v", s)
		}
		i.rotate(DataEncryptionKey, false)
		s := i.state(DataEncryptionKey)
		if s.KeyID == first || s.PreviousKeyID != first || s.Settled || s.PreviousUntil != nil {
			t.Fatalf("rotated: %+v", s)
		}
		if n := i.boxes(first); n != rows {
			t.Fatalf("%d values are still under the first key", n)
		}

		// Until they are not, it can neither be taken away nor rotated further; a server without it does not start.
		old := i.read("DATA_ENCRYPTION_KEY_PREVIOUS")
		if err := os.Remove(previous); err != nil {
			t.Fatal(err)
		}
		if s := i.state(DataEncryptionKey); !strings.Contains(s.Problem, "key "+first) || i.Keys().Data.Find(first) == nil {
			t.Errorf("taken away too early: %+v", s)
		}
		without := &installation{t: t, dir: i.dir, st: st, log: audit.New(st, slog.New(slog.DiscardHandler)), logged: i.logged}
		if err := without.open(); !errors.Is(err, ErrWrongDataKey) {
			t.Errorf("a server without it starts: %v", err)
		}
		i.write("DATA_ENCRYPTION_KEY_PREVIOUS", old)
		undo := i.rotate(DataEncryptionKey, false)
		if s := i.state(DataEncryptionKey); !strings.Contains(s.Problem, "key "+first) {
			t.Errorf("rotated once more: %+v", s)
		}
		if err := undo(); err != nil {
			t.Fatal(err)
		}
		if s := i.state(DataEncryptionKey); s.Problem != "" || s.PreviousKeyID != first {
			t.Errorf("put back: %+v", s)
		}

		// A look that comes too early encrypts anew, and is not believed to be the last.
		for range 2 {
			if err := i.Reencrypt(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if n := i.boxes(s.KeyID); n != rows {
			t.Errorf("%d of %d values are under the new key", n, rows)
		}
		told := 0
		for _, e := range i.events("secret.values_reencrypted", DataEncryptionKey) {
			told += int(e.Details["count"].(float64))
		}
		if told != rows {
			t.Errorf("the events tell of %d values, there were %d", told, rows)
		}
		if s := i.state(DataEncryptionKey); s.Settled {
			t.Error("it is settled too early")
		}
		i.later(settleAfter)
		i.state(DataEncryptionKey)
		if err := i.Reencrypt(t.Context()); err != nil {
			t.Fatal(err)
		}
		if s := i.state(DataEncryptionKey); !s.Settled || len(i.events("secret.settled", DataEncryptionKey)) != 1 {
			t.Errorf("it is not settled: %+v", s)
		}
		if !strings.Contains(i.logged.String(), "DATA_ENCRYPTION_KEY_PREVIOUS may go") {
			t.Error("the log does not say so")
		}
		if err := os.Remove(previous); err != nil {
			t.Fatal(err)
		}
		if s := i.state(DataEncryptionKey); s.Problem != "" || s.PreviousKeyID != "" || i.Keys().Data.Find(first) != nil {
			t.Errorf("taken away: %+v", s)
		}
		if again := install(t, st, i.dir); again.boxes(s.KeyID) != rows {
			t.Error("a server with the new key alone cannot read")
		}
	})
}

// A value that neither key opens is left as it is, and keeps the key before from going.
func TestAValueThatNoKeyOpens(t *testing.T) {
	st := storetest.Open(t, storetest.SQLiteURL(t))
	i := install(t, st, t.TempDir(), func(o *Options) { o.Sealed = []keys.Sealed{sealed} })
	job := store.NewID()
	i.box(job, 1, "of "+job)
	i.exec(`update dispatch_attempt set job_id = 'moved'`)
	i.rotate(DataEncryptionKey, false)
	i.state(DataEncryptionKey)
	i.later(settleAfter)
	i.state(DataEncryptionKey)
	if err := i.Reencrypt(t.Context()); err == nil || !strings.Contains(err.Error(), "1 values") {
		t.Errorf("it says %v", err)
	}
	if s := i.state(DataEncryptionKey); s.Settled {
		t.Error("it is settled")
	}
}

// The key of help by AI is handed on, and dated; without one it is not tracked.
func TestOpenAIKeyIsReadAgain(t *testing.T) {
	st := storetest.Open(t, storetest.SQLiteURL(t))
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "secrets"), 0o700); err != nil {
		t.Fatal(err)
	}
	var got []string
	hand := func(o *Options) {
		o.OpenAIChanged = func(key config.Secret) { got = append(got, string(key.Reveal())) }
	}
	tracked := func(i *installation) bool {
		s, err := i.Status(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, x := range s.SecretsTracked {
			if x.Secret == OpenAIKey {
				return true
			}
		}
		return false
	}
	if tracked(install(t, st, dir, hand)) {
		t.Error("a key that is not set is tracked")
	}
	(&installation{t: t, dir: dir}).write(OpenAIKey, "sk-first")
	i := install(t, st, dir, hand)
	if !tracked(i) {
		t.Error("it is not tracked")
	}
	i.state(JWTSecret)
	i.write(OpenAIKey, "sk-second")
	i.state(JWTSecret)
	i.state(JWTSecret)
	if len(got) != 1 || got[0] != "sk-second" {
		t.Errorf("handed on were %q", got)
	}
	if n := len(i.events("secret.changed", OpenAIKey)); n != 1 {
		t.Errorf("%d changes were recorded", n)
	}
}

func TestRunReadsChangedFiles(t *testing.T) {
	st := storetest.Open(t, storetest.SQLiteURL(t))
	i := install(t, st, t.TempDir())
	old := i.Keys().JWT.Current().ID
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { i.Run(ctx) })
	i.rotate(JWTSecret, false)
	for end := time.Now().Add(10 * time.Second); i.Keys().JWT.Current().ID == old; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the changed file is not read")
		}
	}
	cancel()
	running.Wait()
}

// Records and status, with endpoints that somebody else knows of.
func TestRecordsAndStatus(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		endpoint := NamedSecret{ID: store.NewID(), Name: "Ledger", ChangedAt: time.Now().Add(-91 * 24 * time.Hour)}
		failing := errors.New("the endpoints cannot be read")
		var fails error
		i := install(t, st, t.TempDir(), func(o *Options) {
			o.Endpoints = func(context.Context) ([]NamedSecret, error) { return []NamedSecret{endpoint}, fails }
		})
		by := audit.Principal{Kind: audit.User, UserID: "user-1", Email: "ada@example.org", Role: audit.Admin}
		s, err := i.Status(t.Context())
		if err != nil || s.HasRecordedRotation || s.LatestRotation != nil || s.PolicyDays != 90 || len(s.SecretsTracked) != 4 ||
			len(s.StaleSecrets) != 1 || s.StaleSecrets[0] != EndpointPrefix+endpoint.ID || s.SecretsTracked[3].Name != "Ledger" {
			t.Fatalf("at first: %+v, %v", s, err)
		}
		n := whole()
		n.Secrets = []string{JWTSecret, EndpointPrefix + endpoint.ID}
		n.RotatedAt = time.Now().Add(-time.Hour)
		n.Notes = "by night"
		r, err := i.Record(t.Context(), by, n)
		if err != nil || r.Operator != by.Email || r.OperatorID != by.UserID || r.RecordedAt.Before(r.RotatedAt) {
			t.Fatalf("%+v, %v", r, err)
		}
		late := whole()
		late.TicketID, late.RotatedAt = "SEC-0", time.Now().Add(-2*time.Hour)
		if _, err := i.Record(t.Context(), audit.Itself("operator"), late); err != nil {
			t.Fatal(err)
		}
		s, err = i.Status(t.Context())
		if err != nil || !s.HasRecordedRotation || s.LatestRotation.ID != r.ID || s.LatestRotation.Notes != "by night" || len(s.LatestRotation.Secrets) != 2 {
			t.Fatalf("recorded: %+v, %v", s, err)
		}
		for _, x := range s.SecretsTracked {
			switch x.Secret {
			case JWTSecret: // the later of its two
				if x.RotatedAt == nil || !x.RotatedAt.Equal(r.RotatedAt) || !x.RecordMatches {
					t.Errorf("%+v", x)
				}
			case EndpointPrefix + endpoint.ID: // recorded, and not done
				if x.RotatedAt == nil || x.RecordMatches || x.AgeDays != 91 || x.WithinPolicy {
					t.Errorf("%+v", x)
				}
			default:
				if x.RotatedAt != nil || x.RecordMatches || !x.WithinPolicy {
					t.Errorf("%+v", x)
				}
			}
		}
		list, err := i.log.Events(t.Context(), audit.Filter{Action: "security.rotation.recorded", EntityID: r.ID}, store.Page{Limit: 2})
		if err != nil || len(list.Items) != 1 || list.Items[0].Details["ticketId"] != "SEC-1" || list.Items[0].Actor.ID != by.UserID {
			t.Errorf("the event is %+v, %v", list.Items, err)
		}
		n.Secrets = []string{EndpointPrefix + store.NewID()}
		if _, err := i.Record(t.Context(), by, n); !fault.Is(err, fault.Invalid) {
			t.Errorf("an endpoint that there is not: %v", err)
		}
		// The largest record there can be fits into its event.
		n.Secrets = []string{EndpointPrefix + endpoint.ID}
		n.TicketID, n.RollbackPlan, n.Environments = strings.Repeat("<", MaxTicket), strings.Repeat("<", MaxText), nil
		for e := range MaxEnvironments {
			n.Environments = append(n.Environments, strings.Repeat("<", MaxEnvironment-1)+string(rune('a'+e)))
		}
		if _, err := i.Record(t.Context(), by, n); err != nil {
			t.Errorf("the largest record: %v", err)
		}
		fails = failing
		if _, err := i.Status(t.Context()); !errors.Is(err, failing) {
			t.Errorf("a status without the endpoints: %v", err)
		}
	})
}
