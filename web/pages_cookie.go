package web

import (
	"errors"
	"net/http"

	"sealpost/account"
	"sealpost/audit"
	"sealpost/fault"
)

// The pages' cookie (SPEC §3). No script reads it. Over TLS its name has the prefix that keeps
// neighbouring hosts and plain connections from setting it (RFC 6265bis §4.1.3). It says nothing of its
// end: the browser forgets it when it is closed, and the session's row decides.
const (
	pageCookieTLS   = "__Host-sealpost"
	pageCookiePlain = "sealpost"
)

// secure tells whether a request's connection is protected: our own TLS, or that of a proxy by which
// the installation is known to its users.
func (s *Server) secure(r *http.Request) bool {
	return r.TLS != nil || s.Config.PublicURL.Scheme == "https"
}

func (s *Server) pageCookieName(r *http.Request) string {
	if s.secure(r) {
		return pageCookieTLS
	}
	return pageCookiePlain
}

// setPageCookie gives the browser the cookie of a sign-in; "" takes it away.
func (p *page) setPageCookie(value string) {
	c := &http.Cookie{ //nolint:gosec // Secure wherever there is TLS: a pilot on http://localhost has none
		Name: p.pageCookieName(p.r), Value: value, Path: "/",
		HttpOnly: true, SameSite: http.SameSiteLaxMode, Secure: p.secure(p.r),
	}
	if value == "" {
		c.MaxAge = -1
	}
	http.SetCookie(p.w, c)
}

// signedInBy tells who holds the cookie that a request carries. Of two cookies of the name one has been
// set by somebody else, and nobody can tell which. fault.Unauthenticated.
func (s *Server) signedInBy(r *http.Request, from audit.Principal) (audit.Principal, error) {
	cookies := r.CookiesNamed(s.pageCookieName(r))
	if len(cookies) != 1 {
		return audit.Principal{}, fault.New(fault.Unauthenticated, "sign in first")
	}
	return s.Accounts.AuthenticatePage(r.Context(), cookies[0].Value, from)
}

// errNoOrigin says that a POST does not tell which page made it. Every browser of these years does, by
// Sec-Fetch-Site or by Origin. What does not is no form of ours.
var errNoOrigin = errors.New("neither Sec-Fetch-Site nor Origin is there")

// sameOrigin refuses a POST that another site's page has made a browser send, or of which nobody can
// tell. net/http lets the second kind through, which is right for an API that programs use.
func (s *Server) sameOrigin(r *http.Request) error {
	err := s.pageOrigin.Check(r)
	if err == nil && r.Header.Get("Sec-Fetch-Site") == "" && r.Header.Get("Origin") == "" {
		err = errNoOrigin
	}
	if err != nil {
		return fault.Wrap(fault.Forbidden, err, "this was not sent by a page of Sealpost, so nothing was done")
	}
	return nil
}

// newPageOrigin also takes what comes from PUBLIC_URL: a proxy may give our host another name.
func newPageOrigin(publicURL string) (*http.CrossOriginProtection, error) {
	protection := http.NewCrossOriginProtection()
	return protection, protection.AddTrustedOrigin(publicURL)
}

// begin makes a sign-in the browser's: a new cookie, whatever it came with. The session that an old
// cookie stood for ends.
func (p *page) begin(in account.SignIn) {
	old, err := p.signedInBy(p.r, p.by)
	if err == nil {
		err = p.Accounts.Logout(p.ctx, old)
	}
	if err != nil && !fault.Is(err, fault.Unauthenticated) { // the new sign-in stands all the same
		p.Logger.Warn("the sign-in before this one could not be ended", "requestId", p.by.RequestID, "error", err)
	}
	p.setPageCookie(in.PageCookie)
	if c := p.deviceCookie(in); c != nil {
		http.SetCookie(p.w, c)
	}
}

// become makes the rest of this request that of whoever holds a cookie which was only just given.
func (p *page) become(cookie string) error {
	by, err := p.Accounts.AuthenticatePage(p.ctx, cookie, p.by)
	if err == nil {
		p.by, p.x.principal = by, by
	}
	return err
}
