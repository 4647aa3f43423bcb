package audit

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"sealpost/store"
)

// Role is what a person may do (SPEC §1).
type Role string

// The roles.
const (
	Admin   Role = "ADMIN"
	Author  Role = "AUTHOR"
	Auditor Role = "AUDITOR"
)

// Kind tells what sort of actor a principal is.
type Kind string

// The kinds of actors.
const (
	Anonymous Kind = "anonymous" // nobody is signed in
	User      Kind = "user"
	Service   Kind = "service" // an API key
	System    Kind = "system"  // the program itself: the dispatcher, a timer
)

// Principal is who is acting. It is an argument of everything that changes something: no change
// happens without one.
type Principal struct {
	Kind            Kind
	UserID          string // the person's, or the API key's owner
	Email           string
	Role            Role
	SessionID       string
	KeyID           string // a service's API key
	Scopes          []string
	IP              string
	UserAgent       string
	RequestID       string
	AuthenticatedAt time.Time // when a password or a passkey was last shown
}

// Itself is the program acting on its own, under the name of a part of it ("dispatcher").
func Itself(part string) Principal { return Principal{Kind: System, UserID: "system:" + part} }

// The outcomes of an event.
const (
	Success = "SUCCESS"
	Failure = "FAILURE" // tried, and did not work
	Denied  = "DENIED"  // not allowed
)

// Event is one thing that happened, as a domain tells it. Details hold no secret, token, code or text
// of a document (SPEC §5.1).
type Event struct {
	Action   string // "dispatch.job.replayed": noun, noun, past verb
	Entity   string // "DispatchJob"
	EntityID string
	Outcome  string // Success where it is empty
	Details  map[string]any
	By       *Principal // who, where a change is made for several at once; nil: the change's own
}

// Limits of an event. Details are short facts; a larger body is a bug of its writer.
const (
	maxBody = 16 << 10
	maxWord = 256 // bytes of each of the other texts; what is longer is cut
)

// body is the part of an event that retention may remove: who did what to what. Its JSON, made here
// and stored as it is, is what the envelope's hash covers.
type body struct {
	Version   int            `json:"v"`
	ID        string         `json:"id"`
	Time      string         `json:"time"`
	RequestID string         `json:"requestId,omitempty"`
	Actor     Actor          `json:"actor"`
	SessionID string         `json:"sessionId,omitempty"`
	IP        string         `json:"ip,omitempty"`
	Action    string         `json:"action"`
	Entity    string         `json:"entity,omitempty"`
	EntityID  string         `json:"entityId,omitempty"`
	Outcome   string         `json:"outcome"`
	Details   map[string]any `json:"details,omitempty"`
}

// Actor is who an event was done by.
type Actor struct {
	Kind  Kind   `json:"kind"`
	ID    string `json:"id,omitempty"`
	KeyID string `json:"keyId,omitempty"`
	Role  Role   `json:"role,omitempty"`
}

// timeLayout is RFC 3339 in UTC with all six digits of a microsecond, so that it has one form.
const timeLayout = "2006-01-02T15:04:05.000000Z"

// encoded is a body in both its forms. Its id is a UUIDv7 of its time, so that the order of ids is the
// order of time and a span of time is a range of keys.
type encoded struct {
	body
	at   time.Time
	text []byte
}

func (e Event) encode(by Principal) (encoded, error) {
	if e.By != nil {
		by = *e.By
	}
	id, at := store.NewTimedID()
	b := encoded{at: at, body: body{
		Version: 1, ID: id, Time: at.Format(timeLayout), RequestID: word(by.RequestID),
		Actor:     Actor{Kind: by.Kind, ID: word(by.UserID), KeyID: word(by.KeyID), Role: by.Role},
		SessionID: word(by.SessionID), IP: word(by.IP),
		Action: word(e.Action), Entity: word(e.Entity), EntityID: word(e.EntityID), Outcome: e.Outcome, Details: e.Details,
	}}
	if b.Outcome == "" {
		b.Outcome = Success
	}
	switch {
	case e.Action == "":
		return b, fmt.Errorf("an event about %s %s says nothing", b.Entity, b.EntityID)
	case b.Actor.Kind == "":
		return b, fmt.Errorf("event %s: nobody is acting", e.Action)
	case b.Outcome != Success && b.Outcome != Failure && b.Outcome != Denied:
		return b, fmt.Errorf("event %s: %q is no outcome", e.Action, e.Outcome)
	}
	var err error
	if b.text, err = json.Marshal(b.body); err != nil {
		return b, fmt.Errorf("event %s: %w", e.Action, err)
	}
	if len(b.text) > maxBody {
		return b, fmt.Errorf("event %s: its body has %d bytes, at most %d are kept", e.Action, len(b.text), maxBody)
	}
	return b, nil
}

// word makes a text fit for a column with an index, whatever a stranger has put into it: an id that
// somebody asks for may be any bytes of any length, and its refusal is to be recorded all the same.
func word(s string) string {
	if len(s) > maxWord {
		cut := maxWord - len("…")
		for cut > 0 && !utf8.RuneStart(s[cut]) {
			cut--
		}
		s = s[:cut] + "…"
	}
	return strings.ReplaceAll(strings.ToValidUTF8(s, "\uFFFD"), "\x00", "\uFFFD")
}
