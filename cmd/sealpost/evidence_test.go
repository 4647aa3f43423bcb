package main

import (
	"encoding/json"
	"strings"
	"testing"

	"sealpost/audit"
)

// What the server says of a job has to be what the events bear out.
func TestCompareStatement(t *testing.T) {
	event := func(action string) audit.ProvenRecord {
		return audit.ProvenRecord{Record: audit.Record{Action: action, Details: map[string]any{"payloadHash": "aa"}}}
	}
	accepted, failed, dead := event("dispatch.job.accepted"), event("dispatch.attempt.failed"), event("dispatch.job.dead_lettered")
	replayed, sent, read := event("dispatch.job.replayed"), event("dispatch.job.dispatched"), event("dispatch.payload.read")
	for _, tt := range []struct {
		name, statement string
		list            []audit.ProvenRecord
		wrong           string
	}{
		{"dispatched", `{"job":{"id":"j1","status":"DISPATCHED"},"payloadHash":"aa"}`, []audit.ProvenRecord{accepted, failed, sent, read}, ""},
		{"replayed", `{"job":{"id":"j1","status":"DISPATCHED"},"payloadHash":"aa"}`, []audit.ProvenRecord{accepted, dead, replayed, sent}, ""},
		{"under way", `{"job":{"id":"j1","status":"IN_FLIGHT"},"payloadHash":"aa"}`, []audit.ProvenRecord{accepted, failed}, ""},
		{"dead", `{"job":{"id":"j1","status":"DEAD_LETTER"},"payloadHash":"aa"}`, []audit.ProvenRecord{accepted, dead}, ""},
		{"said to be dispatched", `{"job":{"id":"j1","status":"DISPATCHED"},"payloadHash":"aa"}`, []audit.ProvenRecord{accepted, dead}, "by the log the job is DEAD_LETTER"},
		{"said to wait", `{"job":{"id":"j1","status":"PENDING"},"payloadHash":"aa"}`, []audit.ProvenRecord{accepted, sent}, "by the log the job is DISPATCHED"},
		{"another payload", `{"job":{"id":"j1","status":"DISPATCHED"},"payloadHash":"bb"}`, []audit.ProvenRecord{accepted, sent}, "payload's hash"},
		{"another job", `{"job":{"id":"j2","status":"DISPATCHED"},"payloadHash":"aa"}`, []audit.ProvenRecord{accepted, sent}, "another job"},
		{"without its beginning", `{"job":{"id":"j1","status":"DISPATCHED"},"payloadHash":"aa"}`, []audit.ProvenRecord{sent}, "no event of the job's acceptance"},
		{"nothing said", ``, []audit.ProvenRecord{accepted, sent}, "cannot be read"},
	} {
		err := compareStatement(audit.Evidence{Entity: "DispatchJob", EntityID: "j1", Statement: json.RawMessage(tt.statement)}, tt.list)
		if tt.wrong == "" && err != nil || tt.wrong != "" && (err == nil || !strings.Contains(err.Error(), tt.wrong)) {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.wrong)
		}
	}
}
