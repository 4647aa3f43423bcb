// Package client speaks to a Sealpost server over its API, as an integrator's program does. The
// program's own demo and measurements use it, so that they see what everyone sees.
package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"
)

// maxAnswer bounds what is read of an answer, in bytes.
const maxAnswer = 32 << 20

// fallback is the client of those who bring none: a time-out, no redirects.
var fallback = &http.Client{
	Timeout:       time.Minute,
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
}

// Client is a caller of one server. Without HTTP it uses one with a time-out of a minute.
type Client struct {
	URL   string // "http://127.0.0.1:4000", without a slash at its end
	Token string // an access token; "" while nobody is signed in
	HTTP  *http.Client
}

// Problem is an answer that is not a success (RFC 9457, SPEC §3).
type Problem struct {
	Status    int
	Title     string         `json:"title"`
	Message   string         `json:"error"`
	RequestID string         `json:"requestId"`
	Details   map[string]any `json:"details"`
}

// Error says status, sentence and request id.
func (p *Problem) Error() string {
	return fmt.Sprintf("%d %s: %s (request %s)", p.Status, http.StatusText(p.Status), p.Message, p.RequestID)
}

// StatusOf is the status of the Problem in an error, 0 where there is none.
func StatusOf(err error) int {
	if p, ok := errors.AsType[*Problem](err); ok {
		return p.Status
	}
	return 0
}

// Call makes a call. body is sent as JSON, nil sends none; the answer's JSON is read into answer, nil
// reads none. Headers are added in pairs of name and value. A *Problem for an answer of 300 and above.
func (c *Client) Call(ctx context.Context, method, path string, body, answer any, headers ...string) error {
	_, err := c.Do(ctx, method, path, body, answer, headers...)
	return err
}

// Do is Call that also gives the answer's headers.
func (c *Client) Do(ctx context.Context, method, path string, body, answer any, headers ...string) (http.Header, error) {
	var reader io.Reader
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			return nil, fmt.Errorf("%s %s: %w", method, path, err)
		}
		reader = bytes.NewReader(text)
	}
	req, err := http.NewRequestWithContext(ctx, method, c.URL+path, reader)
	if err != nil {
		return nil, err
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if c.Token != "" {
		req.Header.Set("Authorization", "Bearer "+c.Token)
	}
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	h := c.HTTP
	if h == nil {
		h = fallback
	}
	res, err := h.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close() //nolint:errcheck // read to its end
	text, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	if err != nil {
		return res.Header, fmt.Errorf("%s %s: read the answer: %w", method, path, err)
	}
	if res.StatusCode >= 300 {
		p := &Problem{Status: res.StatusCode}
		if json.Unmarshal(text, p) != nil || p.Message == "" {
			p.Message = "the answer is not from Sealpost"
		}
		return res.Header, p
	}
	if answer == nil {
		return res.Header, nil
	}
	if err := json.Unmarshal(text, answer); err != nil {
		return res.Header, fmt.Errorf("%s %s: the answer cannot be read: %w", method, path, err)
	}
	return res.Header, nil
}
