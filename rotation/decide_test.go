package rotation

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"sealpost/fault"
)

var noon = time.Date(2026, 3, 14, 12, 0, 0, 0, time.UTC)

func TestDecide(t *testing.T) {
	const window = 12 * time.Hour
	row := func(version, previous string, since time.Duration, settled bool) *inUse {
		return &inUse{version, previous, noon.Add(-since), settled}
	}
	end := func(since time.Duration) time.Time { return noon.Add(-since).Add(window + windowGrace) }
	for _, tt := range []struct {
		name string
		s    situation
		want use
	}{
		{"the first secret", situation{name: JWTSecret, current: "new", elsewhere: true}, use{}},
		{"no rotation", situation{name: JWTSecret, current: "new", row: row("new", "", time.Hour, false), elsewhere: true}, use{}},
		{"planned, everywhere", situation{name: JWTSecret, current: "new", previous: "old", row: row("old", "", time.Hour, false), elsewhere: true}, use{until: end(0)}},
		{"planned, not everywhere", situation{name: JWTSecret, current: "new", previous: "old", row: row("old", "", time.Hour, false)}, use{waits: true}},
		{"in use, its window open", situation{name: JWTSecret, current: "new", previous: "old", row: row("new", "old", time.Hour, false), elsewhere: true}, use{until: end(time.Hour)}},
		{
			"a moment before the window's end",
			situation{name: JWTSecret, current: "new", previous: "old", row: row("new", "old", window+windowGrace-1, false), elsewhere: true},
			use{until: end(window + windowGrace - 1)},
		},
		{
			"at the window's end",
			situation{name: JWTSecret, current: "new", previous: "old", row: row("new", "old", window+windowGrace, false), elsewhere: true},
			use{until: noon, drop: true},
		},
		{"in use, and a server comes without it", situation{name: JWTSecret, current: "new", previous: "old", row: row("new", "old", time.Hour, false)}, use{until: end(time.Hour)}},
		{"after a leak it is used at once", situation{name: JWTSecret, current: "new", row: row("old", "", time.Hour, false)}, use{}},
		{"an audit key has no window", situation{name: AuditSigningKey, current: "new", previous: "old", row: row("new", "old", 9000*time.Hour, false), elsewhere: true}, use{}},
		{"an audit key waits too", situation{name: AuditSigningKey, current: "new", previous: "old", row: row("old", "", time.Hour, false)}, use{waits: true}},
		{"a data key, planned", situation{name: DataEncryptionKey, current: "new", previous: "old", row: row("old", "", time.Hour, true), elsewhere: true}, use{}},
		{"a data key waits too", situation{name: DataEncryptionKey, current: "new", previous: "old", row: row("old", "", time.Hour, true)}, use{waits: true}},
		{"a data key without the one before, settled", situation{name: DataEncryptionKey, current: "new", row: row("new", "old", time.Hour, true)}, use{}},
		{"back to the data key before", situation{name: DataEncryptionKey, current: "old", previous: "new", row: row("new", "old", time.Hour, false), elsewhere: true}, use{}},
	} {
		tt.s.now, tt.s.window = noon, window
		if got := decide(tt.s); got != tt.want {
			t.Errorf("%s: %+v, want %+v", tt.name, got, tt.want)
		}
	}
	for name, s := range map[string]situation{
		"another data key, without the one in use":           {current: "new", row: row("old", "", time.Hour, true)},
		"with a wrong one as previous":                       {current: "new", previous: "wrong", row: row("old", "", time.Hour, true)},
		"the one before taken away too early":                {current: "new", row: row("new", "old", time.Hour, false)},
		"rotated again while the one before is still needed": {current: "newer", previous: "new", row: row("new", "old", time.Hour, false)},
	} {
		s.name, s.now, s.elsewhere = DataEncryptionKey, noon, true
		if u := decide(s); !errors.Is(u.refused, ErrWrongDataKey) || !strings.Contains(u.refused.Error(), "key old") || u.waits || u.drop {
			t.Errorf("%s: %+v", name, u)
		}
	}
	// A program that was not told how long its tokens live does not end the window by itself.
	if u := decide(situation{name: JWTSecret, current: "new", previous: "old", row: row("new", "old", 9000*time.Hour, false), now: noon}); u != (use{}) {
		t.Errorf("without a window: %+v", u)
	}
}

func TestTrack(t *testing.T) {
	const day = 24 * time.Hour
	for _, tt := range []struct {
		name          string
		age           time.Duration
		recorded      time.Duration // before now; 0: no record
		days          int
		within, match bool
	}{
		{"new", time.Second, 0, 0, true, false},
		{"a clock that was set back", -time.Hour, 0, 0, true, false},
		{"the last moment within", 91*day - 1, 0, 90, true, false},
		{"one day over", 91 * day, 0, 91, false, false},
		{"recorded at once", 30 * day, 30*day - time.Minute, 30, true, true},
		{"recorded a week late", 30 * day, 23 * day, 30, true, true},
		{"recorded later than a week", 30 * day, 23*day - time.Microsecond, 30, true, false},
		{"recorded a week before", 30 * day, 37 * day, 30, true, true},
		{"recorded longer before", 30 * day, 37*day + time.Microsecond, 30, true, false},
		{"recorded without a change", 200 * day, time.Hour, 200, false, false},
	} {
		var recorded time.Time
		if tt.recorded != 0 {
			recorded = noon.Add(-tt.recorded)
		}
		got := track("S", "n", noon.Add(-tt.age), recorded, noon, 90)
		if got.AgeDays != tt.days || got.WithinPolicy != tt.within || got.RecordMatches != tt.match || (got.RotatedAt == nil) != (tt.recorded == 0) {
			t.Errorf("%s: %+v", tt.name, got)
		}
	}
}

// whole is a record with nothing wrong.
func whole() NewRotation {
	return NewRotation{TicketID: "SEC-1", Secrets: []string{JWTSecret}, Environments: []string{"pilot"}, RollbackPlan: "put it back"}
}

func TestWhatARecordMustHave(t *testing.T) {
	const endpoint = EndpointPrefix + "01890a5d-ac96-774b-bcce-b302099a8057"
	const apiKey = APIKeyPrefix + "01890a5d-ac96-774b-bcce-b302099a8058"
	many := func(n int, each func(i int) string) (list []string) {
		for i := range n {
			list = append(list, each(i))
		}
		return list
	}
	numbered := func(i int) string { return "e" + strings.Repeat("i", i) }
	for name, change := range map[string]func(*NewRotation){
		"nothing more":              func(*NewRotation) {},
		"a ticket at its limit":     func(n *NewRotation) { n.TicketID = strings.Repeat("ä", MaxTicket) },
		"every secret":              func(n *NewRotation) { n.Secrets = append(slices.Clone(trackedNames), endpoint, apiKey) },
		"environments at the limit": func(n *NewRotation) { n.Environments = many(MaxEnvironments, numbered) },
		"an environment's limit":    func(n *NewRotation) { n.Environments = []string{strings.Repeat("ä", MaxEnvironment)} },
		"a plan at its limit":       func(n *NewRotation) { n.RollbackPlan = strings.Repeat("ä", MaxText) },
		"notes of several lines":    func(n *NewRotation) { n.Notes = "one\ntwo" },
		"a minute ahead":            func(n *NewRotation) { n.RotatedAt = noon.Add(aheadOfUs) },
		"long ago":                  func(n *NewRotation) { n.RotatedAt = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC) },
	} {
		n := whole()
		change(&n)
		got, named, err := n.check(noon)
		if err != nil || got.RotatedAt.IsZero() || len(named) > 0 && !slices.Equal(named, []string{endpoint, apiKey}) {
			t.Errorf("%s: %+v, %v, %v", name, got, named, err)
		}
	}
	for name, change := range map[string]func(*NewRotation){
		"ticketId: none":             func(n *NewRotation) { n.TicketID = "" },
		"ticketId: blank":            func(n *NewRotation) { n.TicketID = " " },
		"ticketId: two lines":        func(n *NewRotation) { n.TicketID = "a\nb" },
		"ticketId: over its limit":   func(n *NewRotation) { n.TicketID = strings.Repeat("ä", MaxTicket+1) },
		"secrets: none":              func(n *NewRotation) { n.Secrets = nil },
		"secrets: too many":          func(n *NewRotation) { n.Secrets = many(MaxSecrets+1, func(int) string { return JWTSecret }) },
		"secrets: unknown":           func(n *NewRotation) { n.Secrets = []string{"HOME"} },
		"secrets: lower case":        func(n *NewRotation) { n.Secrets = []string{"jwt_secret"} },
		"secrets: twice":             func(n *NewRotation) { n.Secrets = []string{JWTSecret, JWTSecret} },
		"secrets: a bad endpoint":    func(n *NewRotation) { n.Secrets = []string{EndpointPrefix + "x"} },
		"environments: none":         func(n *NewRotation) { n.Environments = nil },
		"environments: too many":     func(n *NewRotation) { n.Environments = many(MaxEnvironments+1, numbered) },
		"environments: blank":        func(n *NewRotation) { n.Environments = []string{" "} },
		"environments: too long":     func(n *NewRotation) { n.Environments = []string{strings.Repeat("ä", MaxEnvironment+1)} },
		"environments: twice":        func(n *NewRotation) { n.Environments = []string{"dr", "dr"} },
		"rollbackPlan: none":         func(n *NewRotation) { n.RollbackPlan = "" },
		"rollbackPlan: blank":        func(n *NewRotation) { n.RollbackPlan = " \n" },
		"rollbackPlan: too long":     func(n *NewRotation) { n.RollbackPlan = strings.Repeat("ä", MaxText+1) },
		"rollbackPlan: not text":     func(n *NewRotation) { n.RollbackPlan = "\xff" },
		"notes: too long":            func(n *NewRotation) { n.Notes = strings.Repeat("ä", MaxText+1) },
		"notes: a NUL":               func(n *NewRotation) { n.Notes = "\x00" },
		"rotatedAt: in the future":   func(n *NewRotation) { n.RotatedAt = noon.Add(aheadOfUs + time.Microsecond) },
		"rotatedAt: before the time": func(n *NewRotation) { n.RotatedAt = time.Date(1999, 12, 31, 23, 59, 59, 0, time.UTC) },
	} {
		n := whole()
		change(&n)
		_, _, err := n.check(noon)
		field, _, _ := strings.Cut(name, ":")
		if !fault.Is(err, fault.Invalid) || !strings.HasPrefix(err.Error(), field) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestPeers(t *testing.T) {
	peers := []peer{
		{"a", map[string][]string{JWTSecret: {"new", "old"}}},
		{"b", map[string][]string{JWTSecret: {"old", "new"}}},
		{"c", map[string][]string{JWTSecret: {"old"}}},
		{"d", nil}, // it has not told yet
	}
	if got := lacking(peers, JWTSecret, "new"); !slices.Equal(got, []string{"c", "d"}) {
		t.Errorf("these lack it: %v", got)
	}
	if !peers[0].signsWith(JWTSecret, "new") || peers[1].signsWith(JWTSecret, "new") || peers[3].signsWith(JWTSecret, "new") {
		t.Error("who signs with it is told wrongly")
	}
}
