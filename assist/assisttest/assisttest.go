// Package assisttest is an AI server for tests: it speaks OpenAI's wire format and says what a script
// says, also what no server should.
package assisttest

import (
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"sealpost/assist/fakeprovider"
)

// Key is what tests use as the API key, which must not be seen anywhere else.
const Key = "sk-test-4f1c9a7e20b84d5c"

// Model is the name under which the server answers.
const Model = "test-model-2026-11"

// Request is a request as the server saw it.
type Request = fakeprovider.Request

// Turn answers one request.
type Turn func(w http.ResponseWriter, r *http.Request)

// Server is a running server.
type Server struct {
	URL string // the base URL, for assist.Options

	mu       sync.Mutex
	turns    []Turn
	requests []Request
	left     chan struct{} // one for each request that its client has left before its end
}

// Start starts a server until the test ends. Each request gets the next turn of the script; one for
// which there is none, and one that is no chat completion, fail the test.
func Start(t testing.TB, script ...Turn) *Server {
	t.Helper()
	s := &Server{turns: script, left: make(chan struct{}, 64)}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/chat/completions", func(w http.ResponseWriter, r *http.Request) {
		in, err := fakeprovider.ReadRequest(r)
		if err != nil {
			t.Errorf("the AI server: %v", err)
		}
		turn := s.next(in)
		if turn == nil {
			t.Error("the AI server was asked once more than the script says")
			w.WriteHeader(http.StatusInternalServerError)
			return
		}
		turn(w, r)
		if r.Context().Err() != nil {
			s.left <- struct{}{}
		}
	})
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		t.Errorf("the AI server was asked for %s %s", r.Method, r.URL)
		w.WriteHeader(http.StatusNotFound)
	})
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	s.URL = server.URL + "/v1"
	return s
}

func (s *Server) next(in Request) Turn {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests = append(s.requests, in)
	if len(s.turns) == 0 {
		return nil
	}
	turn := s.turns[0]
	s.turns = s.turns[1:]
	return turn
}

// Then adds to the script.
func (s *Server) Then(turns ...Turn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.turns = append(s.turns, turns...)
}

// Requests gives what has been asked so far.
func (s *Server) Requests() []Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Request(nil), s.requests...)
}

// Left waits until a client has gone away before its answer's end, and fails the test where none does
// within 5 s. A turn sees it only when it returns, as Hangs does.
func (s *Server) Left(t testing.TB) {
	t.Helper()
	select {
	case <-s.left:
	case <-time.After(5 * time.Second):
		t.Error("the call at the AI server was not ended")
	}
}

// Streams answers with a stream that a function writes.
func Streams(write func(s *fakeprovider.Stream)) Turn {
	return func(w http.ResponseWriter, _ *http.Request) { write(fakeprovider.NewStream(w, Model)) }
}

// Says answers whole, in pieces, with 100 tokens read and 50 written.
func Says(pieces ...string) Turn {
	return Streams(func(s *fakeprovider.Stream) {
		for _, piece := range pieces {
			_ = s.Delta(piece)
		}
		_ = s.Finish("stop")
		_ = s.Usage(100, 50)
		_ = s.Done()
	})
}

// Refuses answers with an error. Headers come in pairs of name and value.
func Refuses(status int, code string, headers ...string) Turn {
	return func(w http.ResponseWriter, _ *http.Request) {
		for i := 0; i+1 < len(headers); i += 2 {
			w.Header().Set(headers[i], headers[i+1])
		}
		fakeprovider.Refuse(w, status, code, Chatter)
	}
}

// Chatter is what the server says in its errors. None of it may be seen anywhere.
const Chatter = "chatter of the upstream about " + Key

// Hangs writes a part of an answer and then nothing, until its client goes away.
func Hangs(pieces ...string) Turn {
	return func(w http.ResponseWriter, r *http.Request) {
		s := fakeprovider.NewStream(w, Model)
		_ = s.Raw(": here\n\n")
		for _, piece := range pieces {
			_ = s.Delta(piece)
		}
		<-r.Context().Done()
	}
}

// Breaks writes a part of an answer and breaks the connection off.
func Breaks(pieces ...string) Turn {
	return Streams(func(s *fakeprovider.Stream) {
		for _, piece := range pieces {
			_ = s.Delta(piece)
		}
		panic(http.ErrAbortHandler)
	})
}
