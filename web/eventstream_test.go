package web

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	"sealpost/fault"
)

// brokenWriter is a connection that nobody reads any more.
type brokenWriter struct{ *httptest.ResponseRecorder }

func (brokenWriter) Write([]byte) (int, error) { return 0, errors.New("broken pipe") }

func waiting(t *testing.T, w http.ResponseWriter) (*Server, *eventStream) {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", nil)
	s := &Server{}
	return s, &eventStream{x: &exchange{ResponseWriter: w, server: s, request: r, route: &routeInfo{access: public}}}
}

// TestBeat waits for something that takes long: every 15 s the stream shows that it is alive.
func TestBeat(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := httptest.NewRecorder()
		s, e := waiting(t, w)
		leave := s.attend(t.Context(), e, func(err error) { t.Errorf("it ended: %v", err) })
		time.Sleep(14500 * time.Millisecond)
		synctest.Wait()
		e.mu.Lock()
		if e.begun {
			t.Error("the stream has begun already")
		}
		e.mu.Unlock()
		time.Sleep(16 * time.Second)
		leave()
		if got := w.Body.String(); got != ": wait\n\n: wait\n\n" || w.Header().Get("Content-Type") != "text/event-stream" || w.Code != 200 {
			t.Errorf("in 30 s it sent %q", got)
		}
		if err := e.send("done", 1); err != nil || w.Body.String() != ": wait\n\n: wait\n\nevent: done\ndata: 1\n\n" {
			t.Errorf("it sent %q, %v", w.Body.String(), err)
		}
	})
}

func TestBeatFindsThatNobodyReads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, e := waiting(t, brokenWriter{httptest.NewRecorder()})
		ended := make(chan error, 1)
		leave := s.attend(t.Context(), e, func(err error) { ended <- err })
		began := time.Now()
		if err := <-ended; err == nil || fault.Of(err) != fault.Internal {
			t.Errorf("it ended with %v", err)
		}
		if took := time.Since(began); took != 15*time.Second {
			t.Errorf("it took %v", took)
		}
		leave()
		e.fail(errors.New("not intended")) // says nothing, and logs nothing: there is no logger
	})
}
