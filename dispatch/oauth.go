package dispatch

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// An access token by client credentials (RFC 6749 §4.4): one request at a time asks for it, all others
// wait for that answer and use the same. It is kept in memory until shortly before it ends, or until a
// receiver answers 401, upon which a new one is asked for once. Each server has its own.

const (
	maxTokenAnswer = 64 << 10         // bytes
	tokenLasts     = 10 * time.Minute // where its answer does not say
	tokenEarly     = 30 * time.Second // how long before its end it is no longer used, at most a tenth of its life
	tokenFailed    = time.Second      // how long a failure is everybody's answer
)

// tokenSource gives an endpoint's access tokens.
type tokenSource struct {
	auth   Auth
	asking chan struct{} // one may ask; holding it guards what follows
	token  string
	until  time.Time
	failed error
	failAt time.Time
}

func newTokenSource(auth Auth) *tokenSource {
	return &tokenSource{auth: auth, asking: make(chan struct{}, 1)}
}

// get gives a token that is not spent, which is one that it has given before where that is still good.
// fresh tells that it has just been asked for.
func (s *tokenSource) get(ctx context.Context, over http.RoundTripper, spent string) (token string, fresh bool, err error) {
	select {
	case s.asking <- struct{}{}:
		defer func() { <-s.asking }()
	case <-ctx.Done():
		return "", false, ctx.Err()
	}
	now := time.Now()
	switch {
	case s.token != "" && s.token != spent && now.Before(s.until):
		return s.token, false, nil
	case s.failed != nil && now.Sub(s.failAt) < tokenFailed:
		return "", false, s.failed
	}
	s.token = ""
	token, lasts, err := s.ask(ctx, over)
	if err != nil {
		if ctx.Err() == nil { // a cancelled attempt says nothing about the token
			s.failed, s.failAt = err, time.Now()
		}
		return "", false, err
	}
	s.token, s.failed = token, nil
	s.until = now.Add(lasts - min(tokenEarly, lasts/10))
	return token, true, nil
}

// tokenError is why there is no token; it wraps what the network said.
type tokenError struct{ err error }

func (e tokenError) Error() string { return "no access token: " + e.err.Error() }
func (e tokenError) Unwrap() error { return e.err }

// ask asks the token server.
func (s *tokenSource) ask(ctx context.Context, over http.RoundTripper) (token string, lasts time.Duration, err error) {
	form := url.Values{"grant_type": {"client_credentials"}}
	if s.auth.Scope != "" {
		form.Set("scope", s.auth.Scope)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.auth.TokenURL, strings.NewReader(form.Encode()))
	if err != nil {
		return "", 0, tokenError{errors.New("the token request cannot be made")}
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Accept", "application/json")
	req.Header.Set("User-Agent", "Sealpost")
	req.SetBasicAuth(url.QueryEscape(s.auth.ClientID), url.QueryEscape(s.auth.ClientSecret)) // RFC 6749 §2.3.1
	res, err := over.RoundTrip(req)
	if err != nil {
		return "", 0, err
	}
	defer res.Body.Close() //nolint:errcheck // what matters has been read
	if res.StatusCode == http.StatusSwitchingProtocols {
		return "", 0, tokenError{errors.New("the token server answered 101")}
	}
	text, err := io.ReadAll(io.LimitReader(res.Body, maxTokenAnswer))
	if err != nil {
		return "", 0, err
	}
	return readToken(res.StatusCode, res.Header.Get("Content-Type"), text)
}

// readToken reads a token server's answer (RFC 6749 §5). Its errors have nothing of the answer but the
// error code that the RFC names.
func readToken(status int, contentType string, text []byte) (token string, lasts time.Duration, err error) {
	var answer struct {
		AccessToken string      `json:"access_token"`
		TokenType   string      `json:"token_type"`
		ExpiresIn   json.Number `json:"expires_in"`
		Error       string      `json:"error"`
	}
	mediaType, _, _ := mime.ParseMediaType(contentType)
	parsed := json.Unmarshal(text, &answer) == nil && (mediaType == "application/json" || strings.HasSuffix(mediaType, "+json"))
	switch {
	case status != http.StatusOK && parsed && errorCode(answer.Error):
		return "", 0, tokenError{fmt.Errorf("the token server answered %d, %s", status, answer.Error)}
	case status != http.StatusOK:
		return "", 0, tokenError{fmt.Errorf("the token server answered %d", status)}
	case !parsed:
		return "", 0, tokenError{errors.New("the token server's answer is not JSON of RFC 6749's form")}
	case !strings.EqualFold(answer.TokenType, "bearer"):
		return "", 0, tokenError{errors.New("the token server gives tokens of another type than bearer")}
	case answer.AccessToken == "" || strings.ContainsFunc(answer.AccessToken, func(r rune) bool { return r <= ' ' || r > '~' }):
		return "", 0, tokenError{errors.New("the token server's token is none that a header can carry")}
	}
	lasts = tokenLasts
	if seconds, err := answer.ExpiresIn.Float64(); err == nil && seconds > 0 {
		lasts = time.Duration(min(seconds, (24*time.Hour).Seconds()) * float64(time.Second))
	}
	return answer.AccessToken, lasts, nil
}

// errorCode tells whether a text is a code of RFC 6749 §5.2 and its extensions, and so can be repeated.
func errorCode(text string) bool {
	return text != "" && len(text) <= 50 && !strings.ContainsFunc(text, func(r rune) bool { return (r < 'a' || r > 'z') && r != '_' })
}
