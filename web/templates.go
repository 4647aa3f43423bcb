package web

import (
	"bytes"
	"embed"
	"fmt"
	"html/template"
	"io/fs"
	"net/http"
	"path"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"sealpost/audit"
	"sealpost/dispatch"
	"sealpost/store"
)

//go:embed templates/*.html
var templateFiles embed.FS

// Each page is a file of templates/ that defines "title" and "main", and has the parts and the layout
// of layout.html and parts.html around it.
var sharedTemplates = []string{"templates/layout.html", "templates/parts.html"}

// loadTemplates reads all pages, by name without ".html", once for all servers of a process.
var loadTemplates = sync.OnceValues(func() (map[string]*template.Template, error) {
	a, err := loadAssets()
	if err != nil {
		return nil, err
	}
	base, err := template.New("").Funcs(template.FuncMap{
		"asset": a.of, "utc": utc, "rfc3339": rfc3339, "lower": strings.ToLower, "bytes": byteSize,
		"took": took, "sentence": sentenceOf, "short": shortID, "picture": picture, "status": statusClass, "args": args,
		"delivery": deliveryText,
	}).ParseFS(templateFiles, sharedTemplates...)
	if err != nil {
		return nil, err
	}
	names, err := fs.Glob(templateFiles, "templates/*.html")
	if err != nil {
		return nil, err
	}
	pages := map[string]*template.Template{}
	for _, name := range names {
		if name == sharedTemplates[0] || name == sharedTemplates[1] {
			continue
		}
		t, err := base.Clone()
		if err != nil {
			return nil, err
		}
		if t, err = t.ParseFS(templateFiles, name); err != nil {
			return nil, err
		}
		pages[strings.TrimSuffix(path.Base(name), ".html")] = t
	}
	return pages, nil
})

// view is what every template is given.
type view struct {
	User *audit.Principal // nil where nobody is signed in
	Path string           // for the navigation
	Done string           // what has just been done, to be said once
	Data any              // the page's own
}

// Admin tells whether the one who is signed in may change things.
func (v view) Admin() bool { return v.User != nil && v.User.Role == audit.Admin }

// Sees tells whether the one who is signed in may read everybody's.
func (v view) Sees() bool {
	return v.User != nil && sees(*v.User)
}

// At tells whether a part of the navigation is where we are.
func (v view) At(part string) bool { return v.Path == part || strings.HasPrefix(v.Path, part+"/") }

// render answers with a page. Nothing is sent before the whole of it could be made.
func (p *page) render(status int, name string, data any) error {
	return p.x.render(status, name, view{Done: doneText[p.query("done")], Data: data})
}

func (x *exchange) render(status int, name string, v view) error {
	if x.principal.Kind == audit.User {
		v.User = &x.principal
	}
	v.Path = x.request.URL.Path
	t := x.server.templates[name]
	if t == nil {
		return fmt.Errorf("there is no page %s", name)
	}
	var b bytes.Buffer
	if err := t.ExecuteTemplate(&b, "layout", v); err != nil {
		return fmt.Errorf("make the page %s: %w", name, err)
	}
	h := x.Header()
	h["Content-Type"] = htmlType
	h["Content-Length"] = []string{strconv.Itoa(b.Len())}
	x.WriteHeader(status)
	if x.request.Method != http.MethodHead {
		_, _ = x.Write(b.Bytes())
	}
	return nil
}

// writePage answers with a problem as people read it. Where even that cannot be made, it is text.
func (x *exchange) writePage(p *Problem) {
	h := x.Header()
	delete(h, "Www-Authenticate") // a browser would ask for a password by itself
	if err := x.render(p.Status, "problem", view{Data: p}); err != nil {
		x.server.Logger.Error("a problem's page could not be made", "requestId", p.RequestID, "error", err)
		h["Content-Type"] = []string{"text/plain; charset=utf-8"}
		delete(h, "Content-Length")
		x.WriteHeader(p.Status)
		_, _ = x.Write([]byte(p.Message + "\nrequest " + p.RequestID + "\n"))
	}
}

// doneText is what a page says of the form that led to it, by ?done=. Nothing else is said: an address
// that somebody else has made up must not put words into our mouth.
var doneText = map[string]string{
	"replayed":     "The job is attempted again now.",
	"deadlettered": "The job was dead-lettered.",
	"changed":      "The endpoint was corrected. Waiting jobs go to it as it is now.",
	"unchanged":    "Nothing was changed: the endpoint is as it was.",
	"paused":       "The endpoint is paused. Its jobs wait.",
	"resumed":      "The endpoint takes jobs again.",
	"deleted":      "The endpoint was deleted.",
	"redacted":     "What the event said is gone. That it was there, and why it went, stays.",
	"recorded":     "The rotation was recorded.",
	"held":         "These events are held.",
	"released":     "The hold was released: the next plan takes no account of it.",
	"checked":      "Every control was checked just now.",
	"passkey":      "The passkey was added. You can sign in with it from now on.",
	"nopasskey":    "The passkey was deleted.",
	"userchanged":  "The user was changed.",
	"disabled":     "The account is disabled, and its sessions have ended.",
	"enabled":      "The account is enabled.",
	"mfareset":     "The second factor is taken away. A sign-in with the password leads to enrollment for 72 hours.",
	"signedout":    "All sessions of this user have ended.",
	"out":          "You are signed out.",
}

// deliveryText is what has come of sending an alert.
func deliveryText(delivery string) string {
	switch delivery {
	case dispatch.AlertSent:
		return "it was sent"
	case dispatch.AlertWaiting:
		return "it is being sent"
	case dispatch.AlertFailed:
		return "it could not be sent"
	default:
		return "it was sent to nobody: ALERT_WEBHOOK_URL is not set"
	}
}

func utc(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05") }

func rfc3339(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) }

// took is how long something lasted, in a form that is quick to read.
func took(from, to time.Time) string {
	switch d := to.Sub(from); {
	case d < time.Millisecond:
		return "<1 ms"
	case d < time.Second:
		return fmt.Sprintf("%d ms", d.Milliseconds())
	default:
		return fmt.Sprintf("%.1f s", d.Seconds())
	}
}

func byteSize(n int) string {
	switch {
	case n < 1<<10:
		return fmt.Sprintf("%d B", n)
	case n < 1<<20:
		return fmt.Sprintf("%.1f KiB", float64(n)/(1<<10))
	default:
		return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
	}
}

// shortID is the end of an id of ours, by which people tell apart what was made in one moment. What
// else stands in an id's place is a name, and stays whole.
func shortID(id string) string {
	if len(id) > 12 && store.ValidID(id) {
		return "…" + id[len(id)-12:]
	}
	return id
}

// picture lets a picture that this program has drawn into a page.
func picture(dataURI string) (template.URL, error) {
	if !strings.HasPrefix(dataURI, "data:image/png;base64,") {
		return "", fmt.Errorf("not a picture of ours")
	}
	return template.URL(dataURI), nil //nolint:gosec // drawn by account's Setup
}

// statusClass is a job's status as the style sheet names it.
func statusClass(status any) string {
	return strings.ReplaceAll(strings.ToLower(fmt.Sprint(status)), "_", "-")
}

// args makes one value of several for a template that takes more than one: name, value, name, value.
func args(pairs ...any) (map[string]any, error) {
	m := make(map[string]any, len(pairs)/2)
	for i := 0; i+1 < len(pairs); i += 2 {
		name, ok := pairs[i].(string)
		if !ok {
			return nil, fmt.Errorf("args: %v is no name", pairs[i])
		}
		m[name] = pairs[i+1]
	}
	if len(pairs)%2 != 0 {
		return nil, fmt.Errorf("args: a name without a value")
	}
	return m, nil
}

// asText gives bytes as a page can show them, at most limit of them: text as it is, anything else in
// hexadecimal. cut tells that there is more.
func asText(b []byte, limit int) (text string, isText, cut bool) {
	if cut = len(b) > limit; cut {
		b = b[:limit]
		for i := len(b) - 1; i >= 0 && i >= len(b)-utf8.UTFMax; i-- { // not in the middle of a character
			if utf8.RuneStart(b[i]) {
				if !utf8.FullRune(b[i:]) {
					b = b[:i]
				}
				break
			}
		}
	}
	if utf8.Valid(b) && bytes.IndexByte(b, 0) < 0 {
		return string(b), true, cut
	}
	const line = 16
	var out strings.Builder
	for len(b) > 0 {
		n := min(line, len(b))
		fmt.Fprintf(&out, "% x\n", b[:n])
		b = b[n:]
	}
	return out.String(), false, cut
}
