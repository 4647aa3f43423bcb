package assist

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// request is what POST /chat/completions takes, as far as we use it.
type request struct {
	Model          string          `json:"model"`
	Messages       []chatMessage   `json:"messages"`
	Stream         bool            `json:"stream"`
	StreamOptions  *streamOptions  `json:"stream_options,omitempty"`
	ResponseFormat *responseFormat `json:"response_format,omitempty"`
}

type chatMessage struct {
	Role    string `json:"role"`
	Content string `json:"content"`
}

type streamOptions struct {
	IncludeUsage bool `json:"include_usage"`
}

type responseFormat struct {
	Type       string      `json:"type"`
	JSONSchema *jsonSchema `json:"json_schema,omitempty"`
}

type jsonSchema struct {
	Name   string         `json:"name"`
	Strict bool           `json:"strict"`
	Schema map[string]any `json:"schema"`
}

// chunk is one event of the answer, as far as we read it.
type chunk struct {
	Model   string `json:"model"`
	Choices []struct {
		Index int `json:"index"`
		Delta struct {
			Content string `json:"content"`
			Refusal string `json:"refusal"`
		} `json:"delta"`
		FinishReason string `json:"finish_reason"`
	} `json:"choices"`
	Usage struct { // in the last one
		PromptTokens     int64 `json:"prompt_tokens"`
		CompletionTokens int64 `json:"completion_tokens"`
	} `json:"usage"`
}

// wire watches one request: it takes no answer but a stream, bounds its size, and ends it when it
// falls silent.
type wire struct {
	io.ReadCloser
	timer   *time.Timer
	silence time.Duration
	hurried bool
	left    int64
	failed  error // the error of reading, io.EOF at the end
}

// post makes the request, and gives the answer where it is a stream, for the caller to close.
func (w *wire) post(ctx context.Context, c *call, body request) (*http.Response, error) {
	text, err := json.Marshal(body)
	if err != nil {
		return nil, fmt.Errorf("write the request: %w", err)
	}
	url := strings.TrimRight(c.a.o.BaseURL, "/") + "/chat/completions"
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(text))
	if err != nil {
		return nil, &broken{err}
	}
	r.Header.Set("Authorization", "Bearer "+string(c.key.Reveal()))
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Accept", "text/event-stream")
	r.Header.Set("User-Agent", "Sealpost")
	response, err := c.a.o.HTTPClient.Do(r)
	if err != nil {
		return nil, &broken{err}
	}
	contentType, _, _ := mime.ParseMediaType(response.Header.Get("Content-Type"))
	switch {
	case response.StatusCode != http.StatusOK:
		err = readRefusal(response)
	case contentType != "text/event-stream":
		err = &garbled{"it is no stream of events"}
	default:
		w.ReadCloser, response.Body = response.Body, w
		return response, nil
	}
	_ = response.Body.Close()
	return nil, err
}

// Read implements io.Reader.
func (w *wire) Read(p []byte) (int, error) {
	if int64(len(p)) > w.left+1 { // one more than may come, to see that no more comes
		p = p[:w.left+1]
	}
	n, err := w.ReadCloser.Read(p)
	if w.left -= int64(n); w.left < 0 {
		return 0, errTooLarge
	}
	if n > 0 && !w.hurried {
		w.timer.Reset(w.silence)
	}
	if err != nil {
		w.failed = err
	}
	return n, err
}

// hurry gives what is left of the stream a time, once.
func (w *wire) hurry(d time.Duration) {
	if !w.hurried {
		w.hurried = true
		w.timer.Reset(min(d, w.silence))
	}
}

const (
	maxRefusal    = 64 << 10 // bytes of a refusal that are read
	maxRetryAfter = time.Hour
)

// refusal is an answer other than 200, or an error in the middle of a stream. It has nothing of the
// server's own words.
type refusal struct {
	status int // 0: in the middle of a stream
	code   string
	after  time.Duration
}

func (r *refusal) Error() string {
	s := "it refused the request"
	if r.status != 0 {
		s += " with status " + strconv.Itoa(r.status)
	}
	if r.code != "" {
		s += ", " + r.code
	}
	return s
}

// formOnly tells whether the server may have refused how we asked rather than what.
func (r *refusal) formOnly() bool {
	return (r.status == http.StatusBadRequest || r.status == http.StatusUnprocessableEntity) && !known[r.code].says
}

// known are OpenAI's error codes that say more than the status does. Codes that are not here are not
// kept: they are the server's words.
var known = map[string]struct{ says bool }{
	codeTooLong: {true}, codeNoCredit: {true}, codeFiltered: {true}, codeNoModel: {true},
	"invalid_api_key": {true}, "rate_limit_exceeded": {true}, "server_error": {true},
	"unsupported_value": {false}, "unsupported_parameter": {false},
}

const (
	codeTooLong  = "context_length_exceeded"
	codeNoCredit = "insufficient_quota"
	codeFiltered = "content_policy_violation"
	codeNoModel  = "model_not_found"
)

// readRefusal reads a refusal, within limits.
func readRefusal(res *http.Response) *refusal {
	body, _ := io.ReadAll(io.LimitReader(res.Body, maxRefusal))
	return &refusal{status: res.StatusCode, code: errorCode(body), after: retryAfter(res.Header.Get("Retry-After"), time.Now())}
}

// errorCode gives the code of {"error":{"code":…,"type":…}} where it is a known one.
func errorCode(body []byte) string {
	var answer struct {
		Error struct {
			Code any    `json:"code"`
			Type string `json:"type"`
		} `json:"error"`
	}
	if json.Unmarshal(body, &answer) != nil {
		return ""
	}
	code, _ := answer.Error.Code.(string)
	for _, word := range []string{code, answer.Error.Type} {
		if _, ok := known[word]; ok {
			return word
		}
	}
	return ""
}

// retryAfter reads a Retry-After (RFC 9110 §10.2.3): seconds or a date. What cannot be read, is over
// or is longer than an hour away gives 0, or the hour.
func retryAfter(value string, now time.Time) time.Duration {
	var d time.Duration
	if seconds, err := strconv.ParseInt(value, 10, 64); err == nil {
		d = time.Duration(min(seconds, int64(maxRetryAfter/time.Second))) * time.Second
	} else if at, err := http.ParseTime(value); err == nil {
		d = at.Sub(now)
	}
	return max(0, min(d, maxRetryAfter))
}
