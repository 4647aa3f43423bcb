package web

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"sealpost/audit"
)

// The times of a stream of events.
const (
	streamCheck = time.Second      // how often it is asked whether its reader is still signed in (SPEC §3)
	streamBeat  = 15 * time.Second // how often a comment shows proxies that the stream is alive
	streamWrite = 30 * time.Second // how long one event may take to be taken
)

// eventStream answers a request with server-sent events (WHATWG HTML §9.2). It begins with the first
// event, so that what fails before it is answered with a status of its own.
type eventStream struct {
	x *exchange

	mu     sync.Mutex // between whoever sends events and the beat
	begun  bool
	broken bool // nobody reads it any more
}

// send sends an event whose data is a value in JSON. An error says that nobody reads it.
func (e *eventStream) send(name string, value any) error {
	data, err := json.Marshal(value)
	if err != nil {
		return fmt.Errorf("write the event %s: %w", name, err)
	}
	return e.write("event: " + name + "\ndata: " + string(data) + "\n\n")
}

func (e *eventStream) write(text string) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	out := http.NewResponseController(e.x)
	_ = out.SetWriteDeadline(time.Now().Add(streamWrite))
	if !e.begun {
		e.begun = true
		h := e.x.Header()
		h["Content-Type"] = []string{"text/event-stream"}
		h["X-Accel-Buffering"] = []string{"no"} // nginx would keep events back
		e.x.WriteHeader(http.StatusOK)
	}
	_, err := io.WriteString(e.x, text)
	if err == nil {
		err = out.Flush()
	}
	if err != nil {
		e.broken = true
		return fmt.Errorf("write to the stream: %w", err)
	}
	return nil
}

// fail ends the stream with an error: as an event, or as the answer itself where nothing was sent yet.
// The beat is over by then.
func (e *eventStream) fail(err error) {
	switch {
	case e.broken: // that is the error, and there is nobody to tell
	case e.begun:
		_ = e.send("error", e.x.problem(err))
	default:
		e.x.fail(err)
	}
}

// attend keeps a stream alive while something is being waited for, and calls end with the reason when
// its reader's session ends or the reader is gone. The function that it returns ends that.
func (s *Server) attend(ctx context.Context, e *eventStream, end func(error)) (leave func()) {
	ctx, cancel := context.WithCancel(ctx)
	var attending sync.WaitGroup
	attending.Go(func() {
		check := time.NewTicker(streamCheck)
		defer check.Stop()
		for beat := time.Now().Add(streamBeat); ; {
			select {
			case <-ctx.Done():
				return
			case now := <-check.C:
				if err := s.stillAdmits(ctx, e.x); err != nil {
					end(err)
					return
				}
				if now.Before(beat) {
					continue
				}
				beat = now.Add(streamBeat)
				if err := e.write(": wait\n\n"); err != nil {
					end(err)
					return
				}
			}
		}
	})
	return func() {
		cancel()
		attending.Wait()
	}
}

// stillAdmits tells whether the request would still be let in.
func (s *Server) stillAdmits(ctx context.Context, x *exchange) error {
	again := &exchange{ResponseWriter: x.ResponseWriter, server: s, request: x.request, route: x.route, direct: x.direct}
	again.principal = audit.Principal{
		Kind: audit.Anonymous, IP: x.principal.IP, UserAgent: x.principal.UserAgent, RequestID: x.principal.RequestID,
	}
	return s.admit(ctx, again, x.request)
}

// wantsEvents tells whether a request's Accept names text/event-stream (RFC 9110 §12.5.1).
func wantsEvents(accept []string) bool {
	for _, header := range accept {
		for part := range strings.SplitSeq(header, ",") {
			mediaType, params, err := mime.ParseMediaType(strings.TrimSpace(part))
			if err != nil || mediaType != "text/event-stream" {
				continue
			}
			q, err := strconv.ParseFloat(params["q"], 64)
			return params["q"] == "" || err == nil && q > 0
		}
	}
	return false
}
