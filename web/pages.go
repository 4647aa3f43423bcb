package web

import (
	"context"
	"net/http"
	"net/url"
	"strings"
	"unicode/utf8"

	"sealpost/account"
	"sealpost/audit"
	"sealpost/fault"
)

// The pages are the dashboard: what people see who use Sealpost with a browser. They stand beside the
// API and go through the same frame and the same domains, and differ in three things:
//
//   - Who is asking is told by a cookie (pages_cookie.go) and never by a token, and no API route looks
//     at that cookie.
//   - A browser sends cookies along with whatever another site makes it send. So every POST must show
//     that a page of our own made it (sameOrigin).
//   - What goes wrong is answered with a page.
//
// They work without scripts: forms post and redirect. Scripts (static/app.js) keep lists live.

// page is one request for a page.
type page struct {
	*Server
	x    *exchange
	w    http.ResponseWriter
	r    *http.Request
	ctx  context.Context
	by   audit.Principal // Anonymous on a public page
	form url.Values      // of a POST
}

// pageRoute is a page's route.
type pageRoute struct {
	pattern string
	access  access
}

// The form of what pages send.
const (
	formType  = "application/x-www-form-urlencoded"
	formBytes = 64 << 10
)

var (
	pagePolicy = []string{"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; " +
		"form-action 'self'; frame-ancestors 'none'; base-uri 'none'"}
	htmlType  = []string{"text/html; charset=utf-8"}
	ownWindow = []string{"same-origin"}
)

// pageRoutes are all pages.
func (s *Server) pageRoutes() {
	s.signInPages()
	s.passkeyPages()
	s.firstPages()
	s.jobPages()
	s.endpointPages()
	s.userPages()
	s.observabilityPages()
	s.runbookPages()
	s.auditPages()
	s.secretPages()
	s.retentionPages()
	s.page(public, "GET /static/{file...}", s.static)
	s.page(signedIn, "GET /{$}", func(p *page) error { return p.redirect("/jobs") })
}

// preparePages makes what all pages share. It panics where that is not whole, as New does.
func (s *Server) preparePages() {
	s.pageAccounts, s.streams = s.Accounts.ForPages(), newStreams()
	var err error
	if s.pageOrigin, err = newPageOrigin(s.Config.PublicURL.String()); err != nil {
		panic(err)
	}
	if s.assets, err = loadAssets(); err != nil {
		panic(err)
	}
	if s.templates, err = loadTemplates(); err != nil {
		panic(err)
	}
}

// page adds a page. Its pattern is the mux's, "GET /jobs/{id}". Where its access needs a fresh sign-in
// and there is none, it is asked for, and the action then goes on (pages_reauth.go).
func (s *Server) page(a access, pattern string, handler func(*page) error) {
	method, path, _ := strings.Cut(pattern, " ")
	rt := &routeInfo{name: pattern, method: method, pattern: path, access: a, maxBody: formBytes}
	if !a.declared {
		panic("page " + pattern + " has no access rule")
	}
	if method == http.MethodPost {
		rt.bodies = []string{formType}
	}
	rt.metrics = s.metrics.route(rt)
	s.pages = append(s.pages, pageRoute{pattern, a})
	s.mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
		x := w.(*exchange)
		x.route = rt
		x.becomePage()
		p := &page{Server: s, x: x, w: x, r: r, ctx: r.Context(), by: x.principal}
		err := p.enter()
		if err == nil {
			p.r = s.beginTrace(x, r)
			p.ctx = p.r.Context()
		}
		if err == nil && a.fresh {
			var done bool
			if done, err = p.confirmed(); done {
				return
			}
		}
		if err == nil {
			err = handler(p)
		}
		if err != nil {
			p.fail(err)
		}
	})
}

// becomePage makes this exchange's answer a page, whatever comes of it.
func (x *exchange) becomePage() {
	x.asPage = true
	h := x.Header()
	h["Content-Security-Policy"] = pagePolicy
	h["Cross-Origin-Opener-Policy"] = ownWindow
}

// wantsPage tells whether whoever asks for an address that is not there is a person with a browser.
func wantsPage(r *http.Request) bool {
	return (r.Method == http.MethodGet || r.Method == http.MethodHead) &&
		strings.Contains(r.Header.Get("Accept"), "text/html") && !strings.HasPrefix(r.URL.Path, "/api/")
}

// enter is everything that is checked before a page's handler runs: whether it is ours, who, the body.
func (p *page) enter() error {
	if p.r.Method == http.MethodPost {
		if err := p.sameOrigin(p.r); err != nil {
			return p.Log.Refused(p.ctx, p.by, audit.Event{
				Action: "access.denied", Entity: "Route", EntityID: p.x.route.name, Details: map[string]any{"reason": "cross-site"},
			}, err)
		}
	}
	if a := p.x.route.access; !a.public {
		by, err := p.signedInBy(p.r, p.by)
		if err != nil {
			return err
		}
		p.by, p.x.principal = by, by
		if !a.admits(by) {
			return p.Log.Refused(p.ctx, by, audit.Event{Action: "access.denied", Entity: "Route", EntityID: p.x.route.name},
				fault.New(fault.Forbidden, "your role does not allow this"))
		}
	}
	if err := p.x.readBody(p.r); err != nil {
		return err
	}
	return p.readForm()
}

// readForm reads the fields of a POST. A field that comes twice was not sent by a form of ours.
func (p *page) readForm() error {
	values, err := url.ParseQuery(string(p.x.body))
	if err != nil {
		return fault.New(fault.BadRequest, "the form cannot be read")
	}
	for _, all := range values {
		if len(all) != 1 || !utf8.ValidString(all[0]) || strings.IndexByte(all[0], 0) >= 0 {
			return fault.New(fault.BadRequest, "the form cannot be read")
		}
	}
	p.form = values
	return nil
}

// field gives a field of the form without the spaces around it, which people type and do not mean.
func (p *page) field(name string) string { return strings.TrimSpace(p.form.Get(name)) }

// query gives a parameter of the address, "" where it is no text.
func (p *page) query(name string) string {
	v := strings.TrimSpace(p.r.URL.Query().Get(name))
	if !utf8.ValidString(v) || strings.IndexByte(v, 0) >= 0 {
		return ""
	}
	return v
}

// redirect answers a form: the browser asks for another page, so that loading it again sends nothing.
func (p *page) redirect(to string) error {
	p.w.Header()["Location"] = []string{to}
	p.w.WriteHeader(http.StatusSeeOther)
	return nil
}

// fail answers with what went wrong: sign-in, where the session is over; a fresh one, where that is
// asked for; else a page that says so.
func (p *page) fail(err error) {
	switch {
	case needsReauth(err):
		if e := p.askReauth(http.StatusForbidden, err, false); e != nil {
			p.x.fail(e)
		}
	case fault.Is(err, fault.Unauthenticated) && p.r.Header.Get("Accept") == eventsType:
		p.x.asPage = false // an EventSource would follow a redirect
		p.x.fail(err)
	case fault.Is(err, fault.Unauthenticated):
		p.toSignIn()
	default:
		p.x.fail(err)
	}
}

// toSignIn sends whoever is not signed in, or no longer, to the sign-in, and from there back. A script
// that asked for a part of a page would put the sign-in into that page, so its page is sent there.
func (p *page) toSignIn() {
	to := "/login"
	if p.r.Method == http.MethodGet {
		if here := p.r.URL.RequestURI(); here != "/" {
			to += "?to=" + url.QueryEscape(here)
		}
	}
	if p.r.Header.Get("HX-Request") == "true" {
		p.w.Header()["Hx-Redirect"] = []string{to}
		p.w.WriteHeader(http.StatusUnauthorized)
		return
	}
	_ = p.redirect(to)
}

// localPage gives an address within the dashboard that somebody wants to go to, as it may be followed:
// a path of a page of ours, else "/jobs". Anything else could lead to another site's sign-in.
func (s *Server) localPage(to string) string {
	u, err := url.Parse(to)
	if err != nil || u.Scheme != "" || u.Host != "" || u.User != nil || u.Opaque != "" ||
		!strings.HasPrefix(to, "/") || strings.HasPrefix(to, "//") || strings.ContainsAny(to, "\\\r\n\t") {
		return startPage
	}
	_, pattern := s.mux.Handler(&http.Request{Method: http.MethodGet, URL: &url.URL{Path: u.Path}})
	for _, p := range s.pages {
		if p.pattern == pattern && !p.access.public && pattern != streamPattern {
			return u.RequestURI()
		}
	}
	return startPage
}

const (
	startPage     = "/jobs"
	streamPattern = "GET /stream"
)

// detailOf gives a detail of a fault, nil where there is none.
func detailOf(err error, name string) any {
	if f, ok := asFault(err); ok {
		return f.Details[name]
	}
	return nil
}

func needsReauth(err error) bool { return detailOf(err, "reauthRequired") == true }

func needsFactor(err error) bool { return detailOf(err, "mfaRequired") == true }

// passwordIssues are what is wrong with a new password, where that is what the error is about.
func passwordIssues(err error) []account.Issue {
	issues, _ := detailOf(err, "issues").([]account.Issue)
	return issues
}
