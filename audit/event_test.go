package audit_test

import (
	"encoding/json"
	"math"
	"strings"
	"testing"
	"unicode/utf8"

	"sealpost/audit"
	"sealpost/store"
	"sealpost/store/storetest"
)

func TestWord(t *testing.T) {
	long := strings.Repeat("a", audit.MaxWord)
	for _, tt := range []struct{ in, want string }{
		{"", ""},
		{"0190163d-8694-739b-aea5-966c26f8ad91", "0190163d-8694-739b-aea5-966c26f8ad91"},
		{"Ünïcödé ☂", "Ünïcödé ☂"},
		{"a\x00b", "a\uFFFDb"},
		{"a\xffb\xe2\x98", "a\uFFFDb\uFFFD"},
		{long, long},
		{long + "b", long[:audit.MaxWord-3] + "…"},
		{strings.Repeat("☂", 100), strings.Repeat("☂", 84) + "…"},
		{strings.Repeat("\x80", 1000), "…"},
	} {
		got := audit.Word(tt.in)
		if got != tt.want || len(got) > audit.MaxWord || !utf8.ValidString(got) {
			t.Errorf("word(%.20q…, %d bytes) = %q, want %q", tt.in, len(tt.in), got, tt.want)
		}
	}
}

// What an event says is what the body has, and the columns that it is searched by.
func TestEventIsWrittenAsItIsTold(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		log, key := newLog(t, st)
		service := audit.Principal{Kind: audit.Service, UserID: "owner", KeyID: "key-1", Scopes: []string{"dispatch:write"}, IP: "2001:db8::1", RequestID: "r2"}
		err := log.Change(t.Context(), admin, one(
			audit.Event{Action: "thing.made", Entity: "Thing", EntityID: "t1", Details: map[string]any{"size": 3, "name": "<a & b>", "of": nil}},
			audit.Event{Action: "thing.sold", Outcome: audit.Failure, By: &service},
			audit.Event{Action: "thing.kept", Outcome: audit.Denied, By: &audit.Principal{Kind: audit.Anonymous}},
		))
		if err != nil {
			t.Fatal(err)
		}
		list := verify(t, st, log, key)
		if len(list) != 3 {
			t.Fatalf("%d events", len(list))
		}
		for i, want := range []string{
			`{"v":1,"id":"ID","time":"TIME","requestId":"request-1","actor":{"kind":"user","id":"user-1","role":"ADMIN"},"sessionId":"session-1","ip":"192.0.2.7",` +
				`"action":"thing.made","entity":"Thing","entityId":"t1","outcome":"SUCCESS","details":{"name":"\u003ca \u0026 b\u003e","of":null,"size":3}}`,
			`{"v":1,"id":"ID","time":"TIME","requestId":"r2","actor":{"kind":"service","id":"owner","keyId":"key-1"},"ip":"2001:db8::1","action":"thing.sold","outcome":"FAILURE"}`,
			`{"v":1,"id":"ID","time":"TIME","actor":{"kind":"anonymous"},"action":"thing.kept","outcome":"DENIED"}`,
		} {
			got := strings.NewReplacer(list[i].id, "ID", list[i].at.Format("2006-01-02T15:04:05.000000Z"), "TIME").Replace(list[i].body)
			if got != want {
				t.Errorf("event %d\n got %s\nwant %s", i, got, want)
			}
		}
		if r := list[0]; r.requestID != "request-1" || r.actor != "user-1" || r.action != "thing.made" || r.entity != "Thing" || r.object != "t1" || r.outcome != "SUCCESS" {
			t.Errorf("the columns are %+v", r)
		}
		if r := list[1]; r.requestID != "r2" || r.actor != "owner" || r.entity != "" || r.object != "" {
			t.Errorf("the columns are %+v", r)
		}
		got, err := log.Event(t.Context(), list[0].id)
		if err != nil || got.Actor != (audit.Actor{Kind: audit.User, ID: "user-1", Role: audit.Admin}) || !got.Time.Equal(list[0].at) || got.Details["size"] != 3.0 {
			t.Errorf("read back as %+v (%v)", got, err)
		}
	})
}

// A stranger's bytes in an id, or in an address, neither stop an event nor a list.
func TestEventOfAnyBytes(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		log, key := newLog(t, st)
		by := admin
		wild := "\x00\xff'\"" + strings.Repeat("☂", 3000)
		by.RequestID, by.UserID, by.SessionID, by.IP, by.KeyID = wild, wild, wild, wild, wild
		e := audit.Event{Action: wild, Entity: wild, EntityID: wild, Details: map[string]any{wild[:10]: wild[:100]}}
		if err := log.Record(t.Context(), by, e); err != nil {
			t.Fatal(err)
		}
		list := verify(t, st, log, key)
		if len(list) != 1 || list[0].object != audit.Word(wild) || list[0].actor != audit.Word(wild) {
			t.Fatalf("%+v", list)
		}
		for _, f := range []audit.Filter{{RequestID: wild}, {ActorID: wild}, {Action: wild}, {Entity: wild}, {EntityID: wild}} {
			if found, err := log.Events(t.Context(), f, store.Page{Limit: 5}); err != nil || len(found.Items) != 1 {
				t.Errorf("%.30v finds %d (%v)", f, len(found.Items), err)
			}
		}
		if found, err := log.Events(t.Context(), audit.Filter{Outcome: "\x00"}, store.Page{Limit: 5}); err != nil || len(found.Items) != 0 {
			t.Errorf("an outcome that none has finds %d (%v)", len(found.Items), err)
		}
	})
}

// An event that cannot be written stops its change, and costs no number.
func TestEventsThatCannotBeWritten(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		log, key := newLog(t, st)
		// The edge: a body of exactly the limit.
		fits := audit.Event{Action: "a", Details: map[string]any{"x": ""}}
		if err := log.Record(t.Context(), admin, fits); err != nil {
			t.Fatal(err)
		}
		room := audit.MaxBody - len(rows(t, st)[0].body)
		fits.Details["x"] = strings.Repeat("x", room)
		if err := log.Record(t.Context(), admin, fits); err != nil {
			t.Errorf("a body of %d bytes: %v", audit.MaxBody, err)
		}
		for what, e := range map[string]audit.Event{
			"one byte too many": {Action: "a", Details: map[string]any{"x": strings.Repeat("x", room+1)}},
			"no action":         {Entity: "Thing"},
			"no outcome":        {Action: "a", Outcome: "PERHAPS"},
			"nobody":            {Action: "a", By: &audit.Principal{UserID: "u"}},
			"no JSON":           {Action: "a", Details: map[string]any{"x": math.NaN()}},
			"a function":        {Action: "a", Details: map[string]any{"x": func() {}}},
		} {
			if err := log.Change(t.Context(), admin, one(audit.Event{Action: "good"}, e)); err == nil {
				t.Errorf("%s: it was written", what)
			}
		}
		if list := verify(t, st, log, key); len(list) != 2 || len(list[1].body) != audit.MaxBody {
			t.Errorf("%d events are there", len(list))
		}
		if undone, _ := log.Undone(); log.Counted() != 2 || len(undone) != 0 {
			t.Errorf("%d numbers were given out, %v undone", log.Counted(), undone)
		}
	})
}

// The record that the API gives has the names that clients know.
func TestRecordJSON(t *testing.T) {
	b, err := json.Marshal(audit.Record{ID: "1", Action: "a", Outcome: "SUCCESS", Actor: audit.Actor{Kind: audit.System}})
	if want := `{"id":"1","time":"0001-01-01T00:00:00Z","actor":{"kind":"system"},"action":"a","outcome":"SUCCESS"}`; err != nil || string(b) != want {
		t.Errorf("got %s (%v), want %s", b, err, want)
	}
	if p := audit.Itself("dispatcher"); p.Kind != audit.System || p.UserID != "system:dispatcher" {
		t.Errorf("the program itself is %+v", p)
	}
}
