package web

import (
	"context"
	"encoding/json"
	"net/http"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"sealpost/audit"
	"sealpost/dispatch"
	"sealpost/fault"
	"sealpost/runbook"
)

// A stream tells of changes as they happen, as server-sent events (WHATWG HTML §9.2):
//
//	event: job      a job has changed; the data says which, and how it is now
//	event: alert    an alert is up, or no longer, or was sent
//	event: posture  a control of the runbook stands otherwise than before
//	event: resync   changes were left out, or nothing before this is known: read again
//
// It begins with a resync. A comment comes every 15 s, so that neither side nor a proxy takes silence
// for the end. A stream ends when its sign-in does, within a second; when its reader does not keep up;
// and when the server ends. A client then simply opens it again.
const (
	changesCheck = 500 * time.Millisecond // how often the sign-in is looked at; it may take as long again
	changesWrite = time.Second            // a reader that takes nothing for so long is dropped
	maxStreams   = 256                    // at once, of one server
	maxOwn       = 8                      // at once, of one sign-in
	streamAgain  = 15 * time.Second       // when to try again where there are too many
	streamRetry  = "retry: 1000\n\n"      // milliseconds until a client opens it again
	eventsType   = "text/event-stream"
)

// streams are those that are open.
type streams struct {
	mu    sync.Mutex
	open  int
	own   map[string]int // by session
	ended chan struct{}  // closed when the server ends
	once  sync.Once
}

func newStreams() *streams { return &streams{own: map[string]int{}, ended: make(chan struct{})} }

// EndStreams ends every stream, and those that would be opened later, so that a server which is to end
// in order need not wait for them (http.Server.RegisterOnShutdown).
func (s *Server) EndStreams() { s.streams.once.Do(func() { close(s.streams.ended) }) }

// begin counts a stream of a session. fault.TooMany, fault.Unavailable.
func (t *streams) begin(sessionID string) (end func(), err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	select {
	case <-t.ended:
		return nil, fault.New(fault.Unavailable, "the server is ending").After(streamAgain)
	default:
	}
	switch {
	case t.own[sessionID] >= maxOwn:
		return nil, fault.New(fault.TooMany, "a sign-in has at most %d streams at once", maxOwn).After(streamAgain)
	case t.open >= maxStreams:
		return nil, fault.New(fault.Unavailable, "there are too many streams").After(streamAgain)
	}
	t.open++
	t.own[sessionID]++
	return func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		t.open--
		if t.own[sessionID]--; t.own[sessionID] == 0 {
			delete(t.own, sessionID)
		}
	}, nil
}

// streamRoutes are the API's stream, with a token, and the pages' own, with their cookie.
func (s *Server) streamRoutes() {
	s.raw(only(audit.Admin), huma.Operation{
		Method: http.MethodGet, Path: "/api/admin/events/stream", Tags: []string{"observability"}, Summary: "Changes as they happen",
		Description: "Server-sent events: `job`, whose data is the job as it is now; `alert` and `posture`, likewise of an alert " +
			"(as in the summary) and of a control whose status has changed; and `resync`, which says that changes were left out. " +
			"It begins with a resync, and ends within a second when the token's sign-in ends.",
		Responses: map[string]*huma.Response{"200": {
			Description: "Server-sent events",
			Content:     map[string]*huma.MediaType{eventsType: {Schema: &huma.Schema{Type: huma.TypeString}}},
		}},
	}, s.apiStream)
	s.page(signedIn, streamPattern, (*page).stream)
}

// reader is whoever a stream is for.
type reader struct {
	by audit.Principal
	// again tells who holds the stream's credential now. An error says that nobody does.
	again func(context.Context) (audit.Principal, error)
	// job is what they are told of a job; false: it does not concern them.
	job     func(audit.Principal, dispatch.Job) (any, bool)
	alert   func(Alert) any
	control func(runbook.Result) any
}

// sees tells whether somebody may know how the pilot stands.
func sees(by audit.Principal) bool { return by.Role == audit.Admin || by.Role == audit.Auditor }

// apiStream handles GET /api/admin/events/stream.
func (s *Server) apiStream(w http.ResponseWriter, _ *http.Request) {
	x := w.(*exchange)
	err := s.serveStream(x, reader{
		by:      x.principal,
		again:   func(ctx context.Context) (audit.Principal, error) { return x.principal, s.stillAdmits(ctx, x) },
		job:     func(_ audit.Principal, j dispatch.Job) (any, bool) { return jobOf(j), true },
		alert:   func(a Alert) any { return a },
		control: func(r runbook.Result) any { return r },
	})
	if err != nil {
		x.fail(err)
	}
}

// pageChange is all that a page needs to know of a change: it asks for the rest itself.
type pageChange struct {
	ID     string `json:"id"`
	Status string `json:"status"`
}

// stream handles GET /stream, the pages' own. Whoever sees only own jobs hears only of those.
func (p *page) stream() error {
	p.x.asPage = false // no person reads this
	return p.serveStream(p.x, reader{
		by: p.by,
		again: func(ctx context.Context) (audit.Principal, error) {
			by, err := p.signedInBy(p.r.WithContext(ctx), audit.Principal{})
			if err == nil && !p.x.route.access.admits(by) {
				err = fault.New(fault.Forbidden, "your role does not allow this any more")
			}
			return by, err
		},
		job: func(by audit.Principal, j dispatch.Job) (any, bool) {
			return pageChange{j.ID, string(j.Status)}, sees(by) || j.OwnerID == by.UserID
		},
		alert: func(a Alert) any {
			status := "down"
			if a.Up {
				status = "up"
			}
			return pageChange{a.Name, status}
		},
		control: func(r runbook.Result) any { return pageChange{r.ID, string(r.Status)} },
	})
}

// serveStream serves a stream to its end. An error comes before anything is sent.
func (s *Server) serveStream(x *exchange, r reader) error {
	end, err := s.streams.begin(r.by.SessionID)
	if err != nil {
		return err
	}
	defer end()
	changes, stop := s.Dispatch.Watch()
	defer stop()
	var told stand
	var stands <-chan struct{}
	if sees(r.by) {
		leave := s.watchStanding()
		defer leave()
		told, stands = s.standing.read()
	}
	ctx := x.request.Context()
	h := x.Header()
	h["Content-Type"] = []string{eventsType}
	h["X-Accel-Buffering"] = []string{"no"} // nginx would collect it
	out := &eventWriter{x: x, c: http.NewResponseController(x.ResponseWriter)}
	out.raw(streamRetry)
	beat, check := time.NewTicker(streamBeat), time.NewTicker(changesCheck)
	defer beat.Stop()
	defer check.Stop()
	for {
		if out.flush(); out.err != nil {
			return nil // the reader has gone, or does not keep up: there is nobody to tell
		}
		select {
		case <-ctx.Done():
			return nil
		case <-s.streams.ended:
			return nil
		case <-check.C:
			if r.by, err = r.stillThere(ctx); err != nil {
				return nil // the sign-in has ended, or nobody can tell
			}
		case <-beat.C:
			out.raw(":\n\n")
		case <-stands:
			var now stand
			now, stands = s.standing.read()
			if told.known { // before that, the resync has told them to read it
				out.standing(r, told, now)
			}
			told = now
		case c := <-changes:
			out.change(r, c)
			for more := true; more; { // what came at once is sent at once
				select {
				case c := <-changes:
					out.change(r, c)
				default:
					more = false
				}
			}
		}
	}
}

// stillThere asks who holds a stream's credential, for as long as there is time to.
func (r reader) stillThere(ctx context.Context) (audit.Principal, error) {
	ctx, cancel := context.WithTimeout(ctx, changesCheck)
	defer cancel()
	return r.again(ctx)
}

// eventWriter writes events to a stream, until one cannot be written.
type eventWriter struct {
	x   *exchange
	c   *http.ResponseController
	err error
}

// raw writes a piece of a stream. It may wait in a buffer until flush.
func (e *eventWriter) raw(text string) {
	if e.err == nil {
		e.err = e.c.SetWriteDeadline(time.Now().Add(changesWrite))
	}
	if e.err == nil {
		_, e.err = e.x.Write([]byte(text))
	}
}

// flush sends what was written. Between two writes there is no deadline: over HTTP/2 one that passes
// breaks the stream by itself.
func (e *eventWriter) flush() {
	if e.err == nil {
		e.err = e.c.SetWriteDeadline(time.Now().Add(changesWrite))
	}
	if e.err == nil {
		e.err = e.c.Flush()
	}
	if e.err == nil {
		e.err = e.c.SetWriteDeadline(time.Time{})
	}
}

// change writes one change as an event.
func (e *eventWriter) change(r reader, c dispatch.JobChange) {
	if c.Resync {
		e.raw("event: resync\ndata: {}\n\n")
		return
	}
	if data, ok := r.job(r.by, c.Job); ok {
		e.event("job", data)
	}
}

// standing writes what is not as it was, for whoever may know it.
func (e *eventWriter) standing(r reader, was, now stand) {
	if !sees(r.by) {
		return
	}
	for _, a := range now.alertsOtherThan(was) {
		e.event("alert", r.alert(a))
	}
	for _, c := range now.controlsOtherThan(was) {
		e.event("posture", r.control(c))
	}
}

// event writes an event whose data is a value in JSON.
func (e *eventWriter) event(name string, data any) {
	if e.err != nil {
		return
	}
	text, err := json.Marshal(data) // one line, as an event's data has to be
	if err != nil {
		e.err = err
		return
	}
	e.raw("event: " + name + "\ndata: " + string(text) + "\n\n")
}
