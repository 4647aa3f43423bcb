package assist

import (
	"errors"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"sealpost/assist/assisttest"
	"sealpost/config"
	"sealpost/fault"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// assistant makes an assistant of a server. Changes to the options come before it is made.
func assistant(t *testing.T, s *assisttest.Server, change ...func(*Options)) *Assistant {
	t.Helper()
	o := Options{APIKey: config.NewSecret([]byte(assisttest.Key)), BaseURL: s.URL, Model: "asked-for", Timeout: 20 * time.Second}
	for _, c := range change {
		c(&o)
	}
	a := New(o)
	t.Cleanup(a.o.HTTPClient.CloseIdleConnections)
	return a
}

var asking = ComposeRequest{Title: "Minutes", Content: "# All agreed\n", Instructions: "Add who was there.", Source: "Ann and Bob were there."}

// wantFault fails the test where an error is not a fault of a kind that says something, or where it
// shows what it must not.
func wantFault(t *testing.T, err error, kind fault.Kind, says string) {
	t.Helper()
	if err == nil || fault.Of(err) != kind || !strings.Contains(err.Error(), says) {
		t.Fatalf("got the error %v, want one of kind %v that says %q", err, kind, says)
	}
	if text := err.Error(); strings.Contains(text, assisttest.Key) || strings.Contains(text, "chatter") || strings.Contains(text, "Ann and Bob") {
		t.Errorf("the error shows what it must not: %s", text)
	}
	if f := asFault(err); !strings.Contains(f.Message, says) {
		t.Fatalf("the fault says %q, want %q", f.Message, says)
	}
}

func asFault(err error) *fault.Error {
	f, _ := errors.AsType[*fault.Error](err)
	return f
}
