package web

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"sealpost/account"
	"sealpost/audit"
	"sealpost/dispatch"
)

// observabilityRoutes tell those who operate the pilot how it goes, in numbers.
func (s *Server) observabilityRoutes() {
	route(s, only(audit.Admin, audit.Auditor).scoped(account.PostureRead), huma.Operation{
		Method: http.MethodGet, Path: "/api/admin/observability/summary", Tags: []string{"observability"},
		Summary: "What has happened within a window, what is going on now, and which alerts are up",
		Description: "The window begins with a whole minute. What is younger than 15 s is counted event by event, at most 100,000 of a " +
			"kind, and of failures and refusals 10,000; and of jobs as they are now at most 100,000: what was cut short is named in atLeast.",
	}, s.summary)
	s.trendRoute()
}

type summaryInput struct {
	Caller
	WindowMinutes int `query:"windowMinutes" minimum:"1" maximum:"10080" default:"60" doc:"How far back to count: at most a week"`
}

type summaryOutput struct {
	Body Summary
}

// Summary is how the pilot goes.
type Summary struct {
	WindowMinutes int             `json:"windowMinutes"`
	From          time.Time       `json:"from" doc:"Events from this time on are counted"`
	To            time.Time       `json:"to"`
	Dispatch      DispatchSummary `json:"dispatch"`
	Auth          AuthSummary     `json:"auth"`
	AI            AISummary       `json:"ai"`
	Alerts        []Alert         `json:"alerts"`
	AtLeast       []string        `json:"atLeast" doc:"The numbers, by name (dispatch.accepted), at which counting stopped"`
}

// DispatchSummary is about jobs: within the window, and now.
type DispatchSummary struct {
	Accepted            int            `json:"accepted"`
	Dispatched          int            `json:"dispatched"`
	RetriedAttempts     int            `json:"retriedAttempts" doc:"Attempts that failed and are made again"`
	InterruptedAttempts int            `json:"interruptedAttempts" doc:"Attempts whose server ended; they cost no budget"`
	Replayed            int            `json:"replayed"`
	DeadLettered        int            `json:"deadLettered"`
	DeadLetterReasons   map[string]int `json:"deadLetterReasons" doc:"Of deadLettered: EXHAUSTED, PERMANENT, BLOCKED, EXPIRED, OPERATOR"`

	InFlight             int      `json:"inFlight" doc:"Now, as what follows"`
	Waiting              int      `json:"waiting" doc:"PENDING or RETRYING"`
	DeadLetters          int      `json:"deadLetters"`
	OldestWaitingSeconds *float64 `json:"oldestWaitingSeconds" doc:"How long ago the oldest waiting job was accepted; null where none waits"`
	OldestWaitingID      *string  `json:"oldestWaitingId"`
}

// AuthSummary is about sign-ins: within the window, and now.
type AuthSummary struct {
	SignIns             int `json:"signIns"`
	FailedSignIns       int `json:"failedSignIns" doc:"A right password with which one is on the way, to a code or to enrollment, is none"`
	Refreshes           int `json:"refreshes"`
	ReusedRefreshTokens int `json:"reusedRefreshTokens" doc:"Each has ended its session"`
	Refused             int `json:"refused" doc:"Everything that was not allowed, on whatever route"`
	LiveSessions        int `json:"liveSessions" doc:"Now"`
}

// AISummary is about calls to the model within the window.
type AISummary struct {
	Enabled            bool `json:"enabled"`
	Calls              int  `json:"calls"`
	FailedCalls        int  `json:"failedCalls"`
	DroppedSuggestions int  `json:"droppedSuggestions" doc:"Suggestions whose quotes did not match the texts"`
}

// Alert is how a kind of alert stands.
type Alert struct {
	Name          string     `json:"name" enum:"dispatch.dead_letter,dispatch.endpoint_failing,dispatch.queue_late"`
	Up            bool       `json:"up" doc:"Whether there is reason for it just now"`
	Text          *string    `json:"text" doc:"What there is, in words; null where it is not up"`
	Path          string     `json:"path" doc:"Of the dashboard's page that shows more"`
	Count         int        `json:"count" doc:"Dead letters within the window; endpoints that have failed for so long; jobs that have been due for longer. Counting stops at 10,000, or at a threshold above that"`
	Threshold     int        `json:"threshold" doc:"The count at which it is up"`
	WindowMinutes int        `json:"windowMinutes"`
	RaisedAt      *time.Time `json:"raisedAt" doc:"When it was raised last"`
	Delivery      *string    `json:"delivery" doc:"Of that: NOT_CONFIGURED, WAITING, SENT or FAILED"`
	SentAt        *time.Time `json:"sentAt"`
	LastError     *string    `json:"lastError"`
}

// summary handles GET /api/admin/observability/summary.
func (s *Server) summary(ctx context.Context, in *summaryInput) (*summaryOutput, error) {
	now := time.Now().UTC()
	out := &Summary{
		WindowMinutes: in.WindowMinutes, From: now.Add(-time.Duration(in.WindowMinutes) * time.Minute).Truncate(time.Minute),
		To: now, AtLeast: []string{},
	}
	for _, part := range []func(context.Context, *Summary) error{s.sumDispatch, s.sumAuth, s.sumAI, s.sumAlerts} {
		if err := part(ctx, out); err != nil {
			return nil, err
		}
	}
	return &summaryOutput{Body: *out}, nil
}

// number gives a tally's number, and notes its name where counting stopped there.
func (out *Summary) number(name string, t audit.Tally) int {
	if t.AtLeast {
		out.AtLeast = append(out.AtLeast, name)
	}
	return t.N
}

func (s *Server) sumDispatch(ctx context.Context, out *Summary) error {
	d, err := s.Dispatch.Summary(ctx, out.From)
	if err != nil {
		return err
	}
	out.Dispatch = DispatchSummary{
		Accepted:            out.number("dispatch.accepted", d.Accepted),
		Dispatched:          out.number("dispatch.dispatched", d.Dispatched),
		RetriedAttempts:     out.number("dispatch.retriedAttempts", d.Retried),
		InterruptedAttempts: out.number("dispatch.interruptedAttempts", d.Interrupted),
		Replayed:            out.number("dispatch.replayed", d.Replayed),
		DeadLettered:        out.number("dispatch.deadLettered", d.DeadLettered),
		DeadLetterReasons:   map[string]int{},
		InFlight:            out.number("dispatch.inFlight", d.InFlight),
		Waiting:             out.number("dispatch.waiting", d.Waiting),
		DeadLetters:         out.number("dispatch.deadLetters", d.DeadLetters),
		OldestWaitingID:     optional(d.OldestWaitingID),
	}
	for reason, n := range d.ByReason {
		out.Dispatch.DeadLetterReasons[string(reason)] = n
	}
	if !d.OldestAccepted.IsZero() {
		age := max(0, out.To.Sub(d.OldestAccepted)).Round(time.Millisecond).Seconds()
		out.Dispatch.OldestWaitingSeconds = &age
	}
	return nil
}

func (s *Server) sumAuth(ctx context.Context, out *Summary) error {
	a, err := s.Accounts.Activity(ctx, out.From)
	if err != nil {
		return err
	}
	refused, err := s.Log.TallyRefused(ctx, out.From)
	if err != nil {
		return err
	}
	out.Auth = AuthSummary{
		SignIns:             out.number("auth.signIns", a.SignIns),
		FailedSignIns:       out.number("auth.failedSignIns", a.FailedSignIns),
		Refreshes:           out.number("auth.refreshes", a.Refreshes),
		ReusedRefreshTokens: out.number("auth.reusedRefreshTokens", a.ReusedTokens),
		Refused:             out.number("auth.refused", refused),
		LiveSessions:        out.number("auth.liveSessions", a.LiveSessions),
	}
	return nil
}

func (s *Server) sumAI(ctx context.Context, out *Summary) error {
	a, err := s.Documents.AIActivity(ctx, out.From)
	if err != nil {
		return err
	}
	out.AI = AISummary{
		Enabled: a.Enabled, Calls: out.number("ai.calls", a.Calls), FailedCalls: a.Failed, DroppedSuggestions: a.Dropped,
	}
	return nil
}

func (s *Server) sumAlerts(ctx context.Context, out *Summary) error {
	states, err := s.Alerts.States(ctx)
	if err != nil {
		return err
	}
	out.Alerts = make([]Alert, len(states))
	for i, state := range states {
		out.Alerts[i] = alertOut(state)
	}
	return nil
}

func alertOut(a dispatch.AlertState) Alert {
	return Alert{
		Name: a.Name, Up: a.Up, Text: optional(a.Sentence), Path: a.Path,
		Count: a.Count, Threshold: a.Threshold, WindowMinutes: int(a.Window.Minutes()),
		RaisedAt: optional(a.RaisedAt), Delivery: optional(a.Delivery), SentAt: optional(a.SentAt), LastError: optional(a.LastError),
	}
}
