package verify

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestJudgeMissingNumbers(t *testing.T) {
	for _, tt := range []struct {
		name    string
		a       account
		missing []span
		want    []judged
	}{
		{"settled and not told of", account{settled: 9}, []span{{4, 5}}, []judged{{span{4, 5}, takenAway}}},
		{"did not commit", account{settled: 9, undone: []span{{4, 5}}}, []span{{4, 5}}, nil},
		{"a part did not commit", account{settled: 9, undone: []span{{5, 5}}}, []span{{4, 6}}, []judged{{span{4, 4}, takenAway}, {span{6, 6}, takenAway}}},
		{"not yet accounted for", account{settled: 9}, []span{{10, 10}}, []judged{{span{10, 10}, unsaid}}},
		{"over the edge of the account", account{settled: 9}, []span{{9, 10}}, []judged{{span{9, 9}, takenAway}, {span{10, 10}, unsaid}}},
		{"no account at all", account{}, []span{{1, 1}}, []judged{{span{1, 1}, unsaid}}},
		{"a crash", account{settled: 3, highest: 8, missing: []span{{4, 5}}}, []span{{4, 5}}, []judged{{span{4, 5}, inACrash}}},
		{"taken away after a crash was looked into", account{settled: 3, highest: 8, missing: []span{{4, 5}}}, []span{{6, 6}}, []judged{{span{6, 6}, takenAway}}},
		{"a crash's account reaches behind the heartbeats", account{settled: 6, highest: 8, missing: []span{{5, 5}}}, []span{{5, 5}}, []judged{{span{5, 5}, takenAway}}},
		{"it was given up and lives", account{settled: 3, highest: 8, missing: []span{{4, 4}}}, []span{{9, 9}}, []judged{{span{9, 9}, unsaid}}},
		{"behind its last account", account{settled: 9, final: true}, []span{{10, 10}}, []judged{{span{10, 10}, afterTheEnd}}},
		{"more than it could tell one by one", account{settled: 9, lost: 2}, []span{{4, 5}}, []judged{{span{4, 5}, forgotten}}},
	} {
		if got := tt.a.judge(tt.missing); !reflect.DeepEqual(got, tt.want) {
			t.Errorf("%s: %+v, want %+v", tt.name, got, tt.want)
		}
	}
}

func TestWithout(t *testing.T) {
	for _, tt := range []struct{ list, away, want []span }{
		{[]span{{1, 9}}, nil, []span{{1, 9}}},
		{[]span{{1, 9}}, []span{{1, 9}}, nil},
		{[]span{{1, 9}}, []span{{0, 20}}, nil},
		{[]span{{1, 9}}, []span{{3, 4}}, []span{{1, 2}, {5, 9}}},
		{[]span{{1, 9}}, []span{{6, 7}, {3, 4}}, []span{{1, 2}, {5, 5}, {8, 9}}},
		{[]span{{1, 3}, {7, 9}}, []span{{3, 7}}, []span{{1, 2}, {8, 9}}},
		{[]span{{5, 5}}, []span{{4, 4}, {6, 6}}, []span{{5, 5}}},
	} {
		if got := without(tt.list, tt.away); !reflect.DeepEqual(got, tt.want) {
			t.Errorf("%v without %v is %v, want %v", tt.list, tt.away, got, tt.want)
		}
	}
}

func TestRuleOfMissingBodies(t *testing.T) {
	now := time.Date(2036, 1, 1, 0, 0, 0, 0, time.UTC)
	cutoff := now.AddDate(0, 0, -2555)
	sound := intent{
		leaf: 900, at: now, ranges: [][2]int64{{10, 20}, {30, 40}}, days: 2555, cutoff: cutoff, checkpointSize: 100, checkpointTime: cutoff, holds: []string{},
	}
	with := func(change func(*intent)) []intent {
		in := sound
		change(&in)
		return []intent{in}
	}
	base := law{signed: 1000, checkpoints: []signedAt{{100, cutoff}, {1000, now}}}
	hold := holdEvent{leaf: 800, id: "h", actorID: "a"}
	for _, tt := range []struct {
		name        string
		change      func(*law)
		first, last int64
		want        string // the rulings: first-last:kind, with "ok" for what is lawful
	}{
		{"in the range", func(l *law) { l.intents = with(func(*intent) {}) }, 10, 19, "10-19:ok"},
		{"over the ranges", func(l *law) { l.intents = with(func(*intent) {}) }, 9, 40, "9-9:deleted-without-intent 10-19:ok 20-29:deleted-without-intent 30-39:ok 40-40:deleted-without-intent"},
		{"no intent", func(*law) {}, 3, 5, "3-5:deleted-without-intent"},
		{"not sealed", func(l *law) { l.intents, l.signed = with(func(*intent) {}), 900 }, 10, 10, "10-10:deleted-without-intent"},
		{"the cutoff is a second late", func(l *law) { l.intents = with(func(in *intent) { in.cutoff = cutoff.Add(time.Second) }) }, 10, 10, "10-10:too-young"},
		{"no such checkpoint", func(l *law) { l.intents, l.checkpoints = with(func(*intent) {}), []signedAt{{99, cutoff}} }, 10, 10, "10-10:too-young"},
		{"the checkpoint is a second late", func(l *law) {
			l.intents, l.checkpoints = with(func(*intent) {}), []signedAt{{100, cutoff.Add(time.Second)}}
		}, 10, 10, "10-10:too-young"},
		{"more than the checkpoint covers", func(l *law) { l.intents = with(func(in *intent) { in.ranges = [][2]int64{{10, 101}} }) }, 10, 10, "10-10:too-young"},
		{"a hold stood that it does not know", func(l *law) { l.intents, l.holds = with(func(*intent) {}), []holdEvent{hold} }, 10, 10, "10-10:hold-ignored"},
		{"a hold stood that it knows", func(l *law) {
			l.intents, l.holds = with(func(in *intent) { in.holds = []string{"h"} }), []holdEvent{hold}
		}, 10, 10, "10-10:ok"},
		{"a hold was released before", func(l *law) {
			l.intents, l.holds = with(func(*intent) {}), []holdEvent{hold, {leaf: 850, id: "h", released: true}}
		}, 10, 10, "10-10:ok"},
		{"a hold came later", func(l *law) {
			l.intents, l.holds = with(func(*intent) {}), []holdEvent{{leaf: 901, id: "h", actorID: "a"}}
		}, 10, 10, "10-10:ok"},
		{"a hold on a time, of which leaf 12 is", func(l *law) {
			l.intents = with(func(in *intent) { in.holds = []string{"h"} })
			l.holds = []holdEvent{{leaf: 800, id: "h", from: time.Unix(12, 0), to: time.Unix(13, 0)}}
		}, 10, 14, "10-11:ok 12-12:hold-ignored 13-14:ok"},
		{"redacted", func(l *law) { l.intents = []intent{{leaf: 900, redaction: true, ranges: [][2]int64{{7, 8}}}} }, 6, 8, "6-6:deleted-without-intent 7-7:ok 8-8:deleted-without-intent"},
		{"a deletion names more than its intent", func(l *law) {
			l.intents, l.removed = with(func(*intent) {}), []removal{{901, [][2]int64{{10, 22}}}}
		}, 19, 22, "19-19:ok 20-21:range-widened 22-22:deleted-without-intent"},
		{"an intent that was edited", func(l *law) { l.edited = []intent{{leaf: 900, ranges: [][2]int64{{5, 6}}}} }, 5, 6, "5-5:range-widened 6-6:deleted-without-intent"},
	} {
		l := base
		tt.change(&l)
		var got []string
		for _, r := range l.rule(tt.first, tt.last, func(leaf int64) (time.Time, bool) { return time.Unix(leaf, 0), true }) {
			kind := string(r.kind)
			if r.lawful {
				kind = "ok"
			}
			got = append(got, fmt.Sprintf("%d-%d:%s", r.first, r.last, kind))
		}
		if strings.Join(got, " ") != tt.want {
			t.Errorf("%s: %v, want %s", tt.name, got, tt.want)
		}
	}
}

const head = `{"v":1,"id":"i","time":"t","actor":{"kind":"user","id":"u"},"action":"a.b","outcome":"SUCCESS"`

func TestCanonical(t *testing.T) {
	for _, good := range []string{
		head + `}`,
		`{"v":1,"id":"i","time":"t","requestId":"r","actor":{"kind":"service","id":"u","keyId":"k","role":"ADMIN"},"sessionId":"s","ip":"x","action":"a","entity":"e","entityId":"f","outcome":"DENIED","details":{"a":1}}`,
		head + `,"details":{"a":"\u003c\u003e\u0026\u2028\n\t\\\"\u0001\ufffd","b":[1,-2.5e+21,true,false,null,{"z":1,"a":[]}],"é":{}}}`,
	} {
		if _, err := canonical([]byte(good)); err != nil {
			t.Errorf("%s: %v", good, err)
		}
	}
	for _, bad := range []string{
		"", "{}", "null", head, head + `} `, " " + head + `}`, head + `,"details":{}}`, head + `,"details":null}`, head + `,"details":{"b":1,"a":1}}`,
		head + `,"details":{"a":1,"a":1}}`, head + `,"details":{"a": 1}}`, head + `,"details":{"a":01}}`, head + `,"details":{"a":+1}}`, head + `,"more":1}`,
		head + `,"details":{"a":"<"}}`, head + `,"details":{"a":"\u003C"}}`, head + `,"details":{"a":"\/"}}`, head + `,"details":{"a":"\u0041"}}`,
		head + `,"details":{"a":"\u000a"}}`, head + ",\"details\":{\"a\":\"\xff\"}}", head + ",\"details\":{\"a\":\"\u2028\"}}", head + ",\"details\":{\"a\":\"\x01\"}}",
		strings.Replace(head, `"v":1`, `"v":2`, 1) + `}`, strings.Replace(head, `"time"`, `"Time"`, 1) + `}`, strings.Replace(head, `,"id":"u"`, `,"id":""`, 1) + `}`,
		head + `,"details":{"a":` + strings.Repeat("[", 100) + strings.Repeat("]", 100) + `}}`,
	} {
		if _, err := canonical([]byte(bad)); err == nil {
			t.Errorf("%q passes", bad)
		}
	}
}

// What encoding/json writes passes; and what passes is JSON, and is written the same again.
func FuzzCanonical(f *testing.F) {
	f.Add(head+`,"details":{"a":"<b>"}}`, "text \u2028 <&>\x00")
	f.Fuzz(func(t *testing.T, body, text string) {
		if s, err := canonical([]byte(body)); err == nil {
			var v map[string]any
			if err := json.Unmarshal([]byte(body), &v); err != nil {
				t.Errorf("%q passes and is no JSON: %v", body, err)
			}
			if !says(s.id, v["id"].(string)) || !says(s.action, v["action"].(string)) || !says(s.outcome, v["outcome"].(string)) {
				t.Errorf("%q is read as %+v", body, s)
			}
		}
		b, err := json.Marshal(map[string]any{text: text, "n": []any{len(text), text}})
		if err != nil {
			return
		}
		if _, err := canonical([]byte(head + `,"details":` + string(b) + `}`)); err != nil {
			t.Errorf("%s does not pass", b)
		}
	})
}

func FuzzExportedLine(f *testing.F) {
	f.Add([]byte(`{"leaf":5,"id":"i","salt":"00ff","body":"{\"v\":1}"}` + "\n"))
	f.Fuzz(func(t *testing.T, line []byte) {
		var r Row
		there, err := r.read(line)
		if err == nil && there && r.Leaf < 0 {
			t.Errorf("%q is leaf %d", line, r.Leaf)
		}
	})
}

func TestFindingsAreBounded(t *testing.T) {
	var f findings
	for i := range MaxFindings + 2 {
		f.add(BodyEdited, int64(MaxFindings-i), "", "x")
	}
	if len(f.list) != MaxFindings || f.more != 2 {
		t.Errorf("%d are kept and %d more counted", len(f.list), f.more)
	}
	if list := f.sorted(); list[0].Leaf > list[1].Leaf {
		t.Error("they are not in the order of leaves")
	}
}

func TestDepthOfDetails(t *testing.T) {
	for n, want := range map[int]bool{maxDepth: true, maxDepth + 1: false} {
		body := head + `,"details":{"a":` + strings.Repeat("[", n) + strings.Repeat("]", n) + `}}`
		if _, err := canonical([]byte(body)); (err == nil) != want {
			t.Errorf("%d deep: %v", n, err)
		}
	}
}
