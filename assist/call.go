package assist

import (
	"context"
	"errors"
	"io"
	"strings"
	"time"

	"github.com/openai/openai-go/v3/packages/ssestream"

	"sealpost/config"
	"sealpost/fault"
)

// ask makes one call. It gives the answer only where it came whole; the trace tells of what came.
//
// A call is made once. A request that failed may have been worked on and billed, and its author is
// there and can decide to ask again, also after 429, whose time to wait is told. The one exception is a request whose form the server refuses with 400 or 422, for which
// nothing was made: then a plainer form is tried (see dialect).
func (a *Assistant) ask(ctx context.Context, p prompt, texts []section, onDelta func(string) error) (string, Trace, error) {
	if err := a.Check(); err != nil {
		return "", Trace{}, err
	}
	select {
	case a.slots <- struct{}{}:
		defer func() { <-a.slots }()
	default:
		return "", Trace{}, fault.New(fault.Unavailable, "AI is busy: %d others are being helped", a.o.Concurrency).After(afterwards)
	}
	trace := newTrace(p, word(a.o.Model))
	c := &call{
		a: a, prompt: p, key: *a.key.Load(), onDelta: onDelta,
		message: message(markOf(trace.Salt), texts...),
	}
	trace.SentHash = Hash(trace.Salt, p.system, c.message)
	started := time.Now()
	err := c.run(ctx, &trace)
	trace.Latency = time.Since(started)
	text := c.text.String()
	trace.ReceivedHash = Hash(trace.Salt, text)
	trace.InputTokens, trace.OutputTokens, trace.FinishReason = c.in, c.out, word(c.finish)
	if c.model != "" {
		trace.Model = c.model
	}
	var failed error
	if trace.Outcome, failed = judge(c, err); failed != nil {
		return "", trace, failed
	}
	return text, trace, nil
}

// dialect is how much of OpenAI's API a request uses. Not every compatible server takes all of it,
// and none says beforehand what it takes. What worked last is where the next call begins.
type dialect int32

const (
	full   dialect = iota // a JSON schema for the answer, and the count of tokens asked for
	object                // the answer must be JSON, of any form
	plain                 // neither is asked for
	beyond
)

// plainer is the next dialect that makes another request of a prompt.
func (d dialect) plainer(p prompt) dialect {
	if p.schema == nil && d < plain {
		return plain
	}
	return d + 1
}

// call is one call while it runs.
type call struct {
	a       *Assistant
	prompt  prompt
	message string
	key     config.Secret
	onDelta func(string) error

	text     strings.Builder
	model    string
	finish   string
	refusing bool // the model says that it would rather not
	in, out  int64
}

// run streams the answer, in the first dialect that the server takes.
func (c *call) run(caller context.Context, trace *Trace) error {
	ctx, cancel := context.WithTimeoutCause(caller, c.a.o.Timeout, errTooSlow)
	defer cancel()
	for d := dialect(c.a.dialect.Load()); ; {
		err := c.stream(ctx, d)
		if caller.Err() != nil { // whatever came of it
			return &unheard{context.Cause(caller)}
		}
		if err == nil {
			c.a.dialect.Store(int32(d))
			return nil
		}
		refused, ok := errors.AsType[*refusal](err)
		if !ok {
			return err
		}
		next := d.plainer(c.prompt)
		if !refused.formOnly() || next == beyond {
			return err
		}
		d = next
		trace.Retried++
	}
}

// stream makes one request and reads the answer to its end.
func (c *call) stream(ctx context.Context, d dialect) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil) // also ends what the server is still making
	w := &wire{silence: c.a.o.Silence, left: maxWire}
	w.timer = time.AfterFunc(c.a.o.Silence, func() { cancel(errSilent) })
	defer w.timer.Stop()

	response, err := w.post(ctx, c, c.request(d)) //nolint:bodyclose // the stream does
	if err != nil {
		if cause := context.Cause(ctx); cause != nil {
			return cause
		}
		return err
	}
	stream := ssestream.NewStream[chunk](ssestream.NewDecoder(response), nil)
	defer stream.Close() //nolint:errcheck // it was read to where it was wanted
	for stream.Next() {
		if err := c.take(stream.Current()); err != nil {
			return err
		}
		if c.finish != "" {
			w.hurry(c.a.grace)
		}
	}
	return c.ended(ctx, w, stream.Err())
}

// ended says why a stream is over: nil where the answer is whole.
func (c *call) ended(ctx context.Context, w *wire, err error) error {
	switch cause := context.Cause(ctx); {
	case c.finish != "": // whole: what may have gone wrong since is only the count of tokens
		return nil
	case cause != nil:
		return cause
	case err == nil:
		return errBroken
	case errors.Is(err, errTooLarge):
		return errTooLarge
	case w.failed != nil && !errors.Is(w.failed, io.EOF):
		return &broken{w.failed}
	}
	return classify(err)
}

// request is the request in a dialect. It has no limit of length and no temperature, whose names and
// ranges differ from model to model; the answer's length is bounded here, by ending the stream.
func (c *call) request(d dialect) request {
	r := request{
		Model: c.a.o.Model, Stream: true,
		Messages: []chatMessage{{"system", c.prompt.system}, {"user", c.message}},
	}
	if d < plain {
		r.StreamOptions = &streamOptions{IncludeUsage: true}
	}
	switch {
	case c.prompt.schema == nil:
	case d == full:
		r.ResponseFormat = &responseFormat{
			Type: "json_schema", JSONSchema: &jsonSchema{Name: "suggestions", Strict: true, Schema: c.prompt.schema},
		}
	case d == object:
		r.ResponseFormat = &responseFormat{Type: "json_object"}
	}
	return r
}

// take takes one chunk of the answer.
func (c *call) take(chunk chunk) error {
	if c.model == "" {
		c.model = word(chunk.Model)
	}
	if u := chunk.Usage; u.PromptTokens > 0 || u.CompletionTokens > 0 {
		c.in, c.out = max(u.PromptTokens, 0), max(u.CompletionTokens, 0)
	}
	for _, choice := range chunk.Choices {
		if choice.Index != 0 { // one answer was asked for
			continue
		}
		if choice.Delta.Refusal != "" {
			c.refusing = true
		}
		if text := choice.Delta.Content; text != "" {
			switch {
			case c.finish != "":
				return &garbled{"there is text behind the answer's end"}
			case c.text.Len()+len(text) > MaxAnswer:
				return errTooLarge
			}
			c.text.WriteString(text)
			if c.onDelta != nil {
				if err := c.onDelta(text); err != nil {
					return &unheard{err}
				}
			}
		}
		if choice.FinishReason != "" {
			c.finish = choice.FinishReason
		}
	}
	return nil
}
