// Package assist asks a language model for help with a document, in a way that can be checked (SPEC
// §1, DESIGN §6). It speaks to any server with OpenAI's chat completions, knows no database, and
// decides nothing: what comes back is a proposal, and its caller keeps it or does not.
//
// Three things make the help checkable. A suggestion is taken only with the exact quote that it is
// about and, where it adds a fact, the exact quote of the source that supports it; verify.go holds
// both against the texts, and drops and counts what does not match. What is sent as a document or a
// source is data: it stands between marks that nobody can guess, under a fixed prompt that has a
// version (prompt.go), and nothing that comes back is ever executed. And each call leaves a trace
// that says what was asked of which model, and what it cost, by salted hashes and without a word of
// the texts (trace.go).
//
// The way of a call: Compose or Suggest makes the prompt, call.go streams the answer within limits
// of time and size, failure.go says what went wrong in words that show neither the key (runbook §3)
// nor what the server said.
package assist

import (
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"sealpost/config"
	"sealpost/fault"
)

// The limits of a call. A text of exactly the limit is taken.
const (
	MaxInput        = 256 << 10 // bytes of title, content, instructions and source together: about 64,000 tokens of English
	MaxInstructions = 4000      // code points
	MaxAnswer       = 512 << 10 // bytes of text that a model may answer with
	maxWire         = 64 << 20  // bytes of the stream that carries it: some 100 of envelope for each byte of text
)

// The limits that hold where Options names none.
const (
	DefaultTimeout     = 3 * time.Minute  // from the call to the end of the answer
	DefaultSilence     = time.Minute      // without a byte from the server; a local model reads a long text first
	DefaultConcurrency = 16               // calls at once
	afterwards         = 5 * time.Second  // for the count of tokens, once the answer is whole
	connecting         = 10 * time.Second // for the connection, and as long again for TLS
)

// Options are an assistant's settings, from SPEC §2's OPENAI_ variables. Zero limits are the defaults.
type Options struct {
	APIKey      config.Secret // unset: AI is off
	BaseURL     string        // the path before /chat/completions, as https://api.openai.com/v1
	Model       string
	Timeout     time.Duration
	Silence     time.Duration
	Concurrency int
	HTTPClient  *http.Client // nil: one without redirects, and without a proxy from the environment
}

// Assistant asks a model. Any number of goroutines may use it.
type Assistant struct {
	o       Options
	key     atomic.Pointer[config.Secret]
	slots   chan struct{}
	grace   time.Duration // afterwards, or what a test says
	dialect atomic.Int32  // the last one that the server has taken
}

// New makes an assistant. It connects to nothing.
func New(o Options) *Assistant {
	if o.Timeout == 0 {
		o.Timeout = DefaultTimeout
	}
	if o.Silence == 0 {
		o.Silence = DefaultSilence
	}
	if o.Concurrency == 0 {
		o.Concurrency = DefaultConcurrency
	}
	if o.HTTPClient == nil {
		o.HTTPClient = newHTTPClient()
	}
	a := &Assistant{o: o, slots: make(chan struct{}, o.Concurrency), grace: afterwards}
	a.UseKey(o.APIKey)
	return a
}

// UseKey changes the key from the next call on, for a rotation without a restart (runbook §3). An
// unset one switches AI off.
func (a *Assistant) UseKey(key config.Secret) { a.key.Store(&key) }

// Enabled tells whether there is a key.
func (a *Assistant) Enabled() bool { return a.key.Load().IsSet() }

// Timeout is how long a call may take in all.
func (a *Assistant) Timeout() time.Duration { return a.o.Timeout }

// Check refuses where AI is off. fault.Unavailable.
func (a *Assistant) Check() error {
	if a.Enabled() {
		return nil
	}
	return fault.New(fault.Unavailable, "AI is not enabled")
}

// newHTTPClient makes the client for one server. As for dispatch, no proxy is taken from the
// environment and no redirect is followed: the key goes where the configuration says, or nowhere. A
// call takes seconds, so each has a connection of its own: a handshake is nothing beside it, and a
// connection that was kept may be dead, which is seen when it is too late to try again.
func newHTTPClient() *http.Client {
	return &http.Client{
		Transport: &http.Transport{
			DialContext:         (&net.Dialer{Timeout: connecting}).DialContext,
			TLSHandshakeTimeout: connecting,
			ForceAttemptHTTP2:   true,
			DisableKeepAlives:   true,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}
