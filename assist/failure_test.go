package assist

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"sealpost/assist/assisttest"
	"sealpost/assist/fakeprovider"
	"sealpost/fault"
)

// writes is a stream of what comes in a test's table.
func writes(write func(s *fakeprovider.Stream)) assisttest.Turn { return assisttest.Streams(write) }

func ends(reason string) assisttest.Turn {
	return writes(func(s *fakeprovider.Stream) {
		_ = s.Delta("Some text")
		_ = s.Finish(reason)
		_ = s.Usage(7, 3)
		_ = s.Done()
	})
}

func raw(text string) assisttest.Turn {
	return writes(func(s *fakeprovider.Stream) {
		_ = s.Delta("Some")
		_ = s.Raw(text)
	})
}

func says(contentType, body string) assisttest.Turn {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", contentType)
		_, _ = w.Write([]byte(body))
	}
}

const chatter = assisttest.Chatter

func TestFailures(t *testing.T) {
	for _, tt := range []struct {
		name    string
		turn    assisttest.Turn
		kind    fault.Kind
		says    string
		outcome Outcome
		after   time.Duration
	}{
		{"a wrong key", assisttest.Refuses(401, "invalid_api_key"), fault.Unavailable, "does not accept our key", Refused, 0},
		{"a key without rights", assisttest.Refuses(403, ""), fault.Unavailable, "does not accept our key", Refused, 0},
		{"no money", assisttest.Refuses(402, ""), fault.Unavailable, "no credit left", Refused, 0},
		{"no such model", assisttest.Refuses(404, "model_not_found"), fault.Unavailable, "does not know our model", Refused, 0},
		{"a text too long", assisttest.Refuses(400, "context_length_exceeded"), fault.Invalid, "too long for the model", Refused, 0},
		{"a request too large", assisttest.Refuses(413, ""), fault.Invalid, "too long for the model", Refused, 0},
		{"a text that is not wanted", assisttest.Refuses(400, "content_policy_violation"), fault.Invalid, "declined", Refused, 0},
		{"too many", assisttest.Refuses(429, "rate_limit_exceeded", "Retry-After", "17"), fault.Unavailable, "too much to do", Refused, 17 * time.Second},
		{"no credit", assisttest.Refuses(429, "insufficient_quota"), fault.Unavailable, "no credit left", Refused, 0},
		{"a fault", assisttest.Refuses(500, ""), fault.Unavailable, "a fault of its own", Refused, 0},
		{"away", assisttest.Refuses(503, "", "Retry-After", "3"), fault.Unavailable, "a fault of its own", Refused, 3 * time.Second},
		{"conflict", assisttest.Refuses(409, ""), fault.Unavailable, "does not take our request", Refused, 0},
		{"a redirect", assisttest.Refuses(307, "", "Location", "/elsewhere"), fault.Unavailable, "does not take our request", Refused, 0},
		{"a refusal without an end", func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(500)
			_, _ = w.Write([]byte(`{"error":{"code":"` + strings.Repeat("x", 1<<20)))
		}, fault.Unavailable, "a fault of its own", Refused, 0},
		{"no stream", says("application/json", `{"choices":[{"message":{"content":"x"}}]}`), fault.Unavailable, "cannot be used", Unusable, 0},
		{"a page", says("text/html", "<html>"+chatter), fault.Unavailable, "cannot be used", Unusable, 0},
		{"nothing", says("text/event-stream", ""), fault.Unavailable, "broke off", Unreachable, 0},
		{"no end", writes(func(s *fakeprovider.Stream) { _ = s.Delta("Some") }), fault.Unavailable, "broke off", Unreachable, 0},
		{"an end too early", writes(func(s *fakeprovider.Stream) { _ = s.Delta("Some"); _ = s.Done() }), fault.Unavailable, "broke off", Unreachable, 0},
		{"a connection that breaks", assisttest.Breaks("Some"), fault.Unavailable, "cannot be reached, or broke off", Unreachable, 0},
		{"an error in the middle", raw("data: {\"error\":{\"message\":\"" + chatter + "\",\"code\":\"server_error\"}}\n\n"), fault.Unavailable, "a fault of its own", Refused, 0},
		{"an error by number", raw("data: {\"error\":{\"message\":\"" + chatter + "\",\"code\":502}}\n\n"), fault.Unavailable, "gave up in the middle", Refused, 0},
		{"no JSON", raw("data: " + chatter + "\n\n"), fault.Unavailable, "cannot be used", Unusable, 0},
		{"other JSON", raw("data: [" + `"` + chatter + `"` + "]\n\ndata: [DONE]\n\n"), fault.Unavailable, "cannot be used", Unusable, 0},
		{"a limit", ends("length"), fault.Unavailable, "limit of length", Cut, 0},
		{"a filter", ends("content_filter"), fault.Invalid, "declined", Declined, 0},
		{"a tool", ends("tool_calls"), fault.Unavailable, "cannot be used", Unusable, 0},
		{"a refusal", writes(func(s *fakeprovider.Stream) { _ = s.Refusal(chatter); _ = s.Finish("stop"); _ = s.Done() }), fault.Invalid, "declined", Declined, 0},
		{"white space", assisttest.Says(" \n"), fault.Unavailable, "cannot be used", Unusable, 0},
		{"a NUL", assisttest.Says("a\x00b"), fault.Unavailable, "cannot be used", Unusable, 0},
		{"text behind the end", writes(func(s *fakeprovider.Stream) { _ = s.Delta("a"); _ = s.Finish("stop"); _ = s.Delta("b") }), fault.Unavailable, "cannot be used", Unusable, 0},
		{"a huge answer", assisttest.Says(strings.Repeat("x", MaxAnswer), "x"), fault.Unavailable, "larger than 524288 bytes", Unusable, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := assisttest.Start(t, tt.turn)
			got, err := assistant(t, s).Compose(t.Context(), asking, nil)
			wantFault(t, err, tt.kind, tt.says)
			if after := asFault(err).RetryAfter; after != tt.after || got.Text != "" {
				t.Errorf("got %q; try again after %v, want %v", got.Text, after, tt.after)
			}
			if got.Trace.ID == "" || got.Trace.Outcome != tt.outcome || got.Trace.Latency <= 0 {
				t.Errorf("the trace is %+v, want the outcome %s", got.Trace, tt.outcome)
			}
			if n := len(s.Requests()); n != 1 {
				t.Errorf("the server was asked %d times", n)
			}
		})
	}
}

func TestLargestAnswer(t *testing.T) {
	s := assisttest.Start(t, assisttest.Says(strings.Repeat("x", MaxAnswer-1), "x"))
	got, err := assistant(t, s).Compose(t.Context(), asking, nil)
	if err != nil || len(got.Text) != MaxAnswer {
		t.Errorf("got %d bytes and the error %v", len(got.Text), err)
	}
}

func TestUnreachable(t *testing.T) {
	s := assisttest.Start(t)
	a := assistant(t, s, func(o *Options) { o.BaseURL = "http://127.0.0.1:1/v1" })
	got, err := a.Compose(t.Context(), asking, nil)
	wantFault(t, err, fault.Unavailable, "cannot be reached")
	if got.Trace.Outcome != Unreachable || got.Trace.Model != "asked-for" {
		t.Errorf("the trace is %+v", got.Trace)
	}
}

// TestTime has servers that are too slow in every way there is. The other limit is far away each time.
func TestTime(t *testing.T) {
	silence := func(o *Options) { o.Silence = 60 * time.Millisecond }
	timeout := func(o *Options) { o.Timeout = 150 * time.Millisecond }
	chatting := writes(func(s *fakeprovider.Stream) {
		for s.Raw(": working\n\n") == nil {
			time.Sleep(10 * time.Millisecond)
		}
	})
	waiting := func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }
	for _, tt := range []struct {
		name  string
		turn  assisttest.Turn
		limit func(*Options)
		says  string
	}{
		{"nothing at all", waiting, silence, "sent nothing for 60ms"},
		{"silence in the middle", assisttest.Hangs("Some"), silence, "sent nothing for 60ms"},
		{"nothing in time", waiting, timeout, "within 150ms"},
		{"a start and no end", assisttest.Hangs("Some"), timeout, "within 150ms"},
		{"signs of life alone", chatting, timeout, "within 150ms"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := assisttest.Start(t, tt.turn)
			got, err := assistant(t, s, tt.limit).Compose(t.Context(), asking, nil)
			wantFault(t, err, fault.Unavailable, tt.says)
			if got.Trace.Outcome != TimedOut {
				t.Errorf("the trace is %+v", got.Trace)
			}
			s.Left(t)
		})
	}
	t.Run("signs of life are no silence", func(t *testing.T) {
		s := assisttest.Start(t, writes(func(s *fakeprovider.Stream) {
			for range 20 {
				_ = s.Raw(": working\n\n")
				time.Sleep(10 * time.Millisecond)
			}
			_ = s.Delta("Done.")
			_ = s.Finish("stop")
			_ = s.Done()
		}))
		a := assistant(t, s, func(o *Options) { o.Silence = 150 * time.Millisecond })
		if got, err := a.Compose(t.Context(), asking, nil); err != nil || got.Text != "Done." {
			t.Errorf("got %q and the error %v", got.Text, err)
		}
	})
}

// TestWholeWithoutACount has answers that are whole, and go wrong behind that: nobody should lose a
// text that is there, for the sake of what it cost.
func TestWholeWithoutACount(t *testing.T) {
	for _, tt := range []struct {
		name string
		then func(s *fakeprovider.Stream, r *http.Request)
	}{
		{"silence", func(_ *fakeprovider.Stream, r *http.Request) { <-r.Context().Done() }},
		{"the connection breaks", func(*fakeprovider.Stream, *http.Request) { panic(http.ErrAbortHandler) }},
		{"an error", func(s *fakeprovider.Stream, _ *http.Request) { _ = s.Raw("data: {\"error\":{}}\n\n") }},
		{"no [DONE]", func(*fakeprovider.Stream, *http.Request) {}},
		{"a count that is none", func(s *fakeprovider.Stream, _ *http.Request) { _ = s.Usage(-5, 3); _ = s.Done() }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := assisttest.Start(t, func(w http.ResponseWriter, r *http.Request) {
				stream := fakeprovider.NewStream(w, assisttest.Model)
				_ = stream.Delta("Done.")
				_ = stream.Finish("stop")
				tt.then(stream, r)
			})
			a := assistant(t, s)
			a.grace = 60 * time.Millisecond
			got, err := a.Compose(t.Context(), asking, nil)
			if err != nil || got.Text != "Done." || got.Trace.Outcome != Complete || got.Trace.InputTokens != 0 || got.Trace.Latency > 5*time.Second {
				t.Errorf("got %+v and the error %v", got, err)
			}
		})
	}
	t.Run("but not for a caller that has gone", func(t *testing.T) {
		ctx, cancel := context.WithCancelCause(t.Context())
		s := assisttest.Start(t, func(w http.ResponseWriter, r *http.Request) {
			stream := fakeprovider.NewStream(w, assisttest.Model)
			_ = stream.Delta("Done.")
			_ = stream.Finish("stop")
			cancel(fault.New(fault.Unauthenticated, "signed out"))
			<-r.Context().Done()
		})
		if got, err := assistant(t, s).Compose(ctx, asking, nil); err == nil || got.Trace.Outcome != Withdrawn {
			t.Errorf("got %+v", got)
		}
	})
}

// TestDialects has servers that take less than OpenAI's does.
func TestDialects(t *testing.T) {
	empty := assisttest.Says(`{"suggestions":[]}`)
	refuses := assisttest.Refuses(400, "unsupported_value")
	suggest := func(t *testing.T, a *Assistant) (Suggested, error) {
		t.Helper()
		return a.Suggest(t.Context(), SuggestRequest{Title: "a", Content: "b"})
	}
	formats := func(s *assisttest.Server) (got []string) {
		for _, r := range s.Requests() {
			f := r.Format
			if r.Usage {
				f += "+usage"
			}
			got = append(got, f)
		}
		return got
	}
	want := func(t *testing.T, s *assisttest.Server, all ...string) {
		t.Helper()
		if got := formats(s); !slices.Equal(got, all) {
			t.Errorf("asked for %q, want %q", got, all)
		}
	}

	t.Run("all of it", func(t *testing.T) {
		s := assisttest.Start(t, empty)
		if _, err := suggest(t, assistant(t, s)); err != nil {
			t.Error(err)
		}
		want(t, s, "json_schema+usage")
		if body := string(s.Requests()[0].Body); !strings.Contains(body, `"strict":true`) || !strings.Contains(body, `"additionalProperties":false`) {
			t.Errorf("sent %s", body)
		}
	})
	t.Run("JSON, and then it is known", func(t *testing.T) {
		s := assisttest.Start(t, refuses, empty, empty)
		a := assistant(t, s)
		got, err := suggest(t, a)
		if err != nil || got.Trace.Retried != 1 {
			t.Errorf("got %+v and the error %v", got, err)
		}
		if _, err := suggest(t, a); err != nil {
			t.Error(err)
		}
		want(t, s, "json_schema+usage", "json_object+usage", "json_object+usage")
	})
	t.Run("neither", func(t *testing.T) {
		s := assisttest.Start(t, refuses, assisttest.Refuses(422, ""), empty)
		if _, err := suggest(t, assistant(t, s)); err != nil {
			t.Error(err)
		}
		want(t, s, "json_schema+usage", "json_object+usage", "")
	})
	t.Run("none at all", func(t *testing.T) {
		s := assisttest.Start(t, refuses, refuses, refuses, empty)
		a := assistant(t, s)
		_, err := suggest(t, a)
		wantFault(t, err, fault.Unavailable, "does not take our request")
		if _, err := suggest(t, a); err != nil {
			t.Error(err)
		}
		want(t, s, "json_schema+usage", "json_object+usage", "", "json_schema+usage")
	})
	t.Run("no count of tokens", func(t *testing.T) {
		s := assisttest.Start(t, refuses, assisttest.Says("x"))
		if _, err := assistant(t, s).Compose(t.Context(), asking, nil); err != nil {
			t.Error(err)
		}
		want(t, s, "+usage", "")
	})
	t.Run("what a plainer request does not mend", func(t *testing.T) {
		s := assisttest.Start(t, assisttest.Refuses(400, "context_length_exceeded"))
		_, err := suggest(t, assistant(t, s))
		wantFault(t, err, fault.Invalid, "too long for the model")
		want(t, s, "json_schema+usage")
	})
}

func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	for _, tt := range []struct {
		value string
		want  time.Duration
	}{
		{"", 0},
		{"0", 0},
		{"20", 20 * time.Second},
		{"3600", time.Hour},
		{"3601", time.Hour},
		{"9223372036854775807", time.Hour},
		{"-5", 0},
		{"1.5", 0},
		{"soon", 0},
		{"Tue, 24 Nov 2026 12:00:30 GMT", 30 * time.Second},
		{"Tue, 24 Nov 2026 11:00:00 GMT", 0},
		{"Wed, 24 Nov 2027 12:00:00 GMT", time.Hour},
	} {
		if got := retryAfter(tt.value, now); got != tt.want {
			t.Errorf("%q: %v, want %v", tt.value, got, tt.want)
		}
	}
}
