package browser_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chromedp/chromedp/kb"
	"github.com/pquerna/otp/totp"

	"sealpost/account"
	"sealpost/audit"
	"sealpost/dispatch"
	"sealpost/store"
	"sealpost/web/webtest"
)

const (
	adminEmail    = "ada@example.org"
	adminPassword = "vK8#qLw2!nPz"
)

// operator is an admin at a window.
type operator struct {
	*tab
	server *webtest.Server
	secret string   // of the authenticator app
	steps  int      // how many of its codes were used
	backup []string // codes that were not
}

// begin starts a server with its first account, and opens a window on it.
func begin(t *testing.T, st *store.Store, env ...string) *operator {
	t.Helper()
	s := webtest.Start(t, st, append([]string{"MFA_REQUIRED=true", "DISPATCH_MAX_ATTEMPTS=1", "DISPATCH_BACKOFF_MS=100"}, env...)...)
	_, err := s.Accounts.RegisterFirst(t.Context(), audit.Principal{Kind: audit.Anonymous, IP: "127.0.0.1"},
		account.NewUser{Email: adminEmail, Name: "Ada", Password: adminPassword}, account.Bootstrap{})
	if err != nil {
		t.Fatal(err)
	}
	return &operator{tab: open(t, s.URL), server: s}
}

// code is one that the app shows and that was not used: there are two before time has to pass.
func (o *operator) code() string {
	o.t.Helper()
	code, err := totp.GenerateCode(o.secret, time.Now().Add(time.Duration(o.steps)*30*time.Second))
	if err != nil {
		o.t.Fatal(err)
	}
	o.steps++
	return code
}

// password fills in the first step of a sign-in.
func (o *operator) password() {
	o.t.Helper()
	o.fill("#email", adminEmail)
	o.fill("#password", adminPassword)
	o.press(kb.Enter)
}

// enroll signs in for the first time, from the password to the list of jobs.
func (o *operator) enroll() {
	o.t.Helper()
	o.visit("/")
	o.at("/login")
	o.shot("login")
	o.password()
	o.factor()
}

// factor goes from the QR code to the list of jobs.
func (o *operator) factor() {
	o.t.Helper()
	o.sees("h1", "Enroll a second factor")
	o.until(`document.querySelector("img.qr").naturalWidth > 100`)
	o.shot("enroll")
	o.secret = o.value(`document.querySelector("#secret").value`)
	o.fill("#code", o.code())
	o.click("#enroll button")
	o.sees("h1", "Your backup codes")
	o.shot("codes")
	o.backup = strings.Fields(o.value(`[...document.querySelectorAll("#codes code")].map(e => e.textContent).join(" ")`))
	if len(o.backup) != 8 {
		o.t.Fatalf("there are %d backup codes", len(o.backup))
	}
	o.click("main [role=button]")
	o.at("/jobs")
}

// tabTo presses Tab until an expression is true.
func (o *operator) tabTo(what, expression string) {
	o.t.Helper()
	for range 40 {
		o.press(kb.Tab)
		if o.value("Boolean("+expression+")") == "true" {
			return
		}
	}
	o.t.Fatalf("40 times Tab do not lead to %s\n%s", what, o.where())
}

// receiver is an HTTP receiver that refuses what comes to /wrong, and everything while it is told to.
type receiver struct {
	*httptest.Server
	refuse atomic.Bool
}

// saidByReceiver is what it says when it refuses: a receiver is not to be trusted with our pages.
const saidByReceiver = `<script>document.title = "owned"</script><b>no such desk</b>`

func receive(t *testing.T) *receiver {
	t.Helper()
	r := &receiver{}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		if r.refuse.Load() || q.URL.Path == "/wrong" {
			w.WriteHeader(http.StatusInternalServerError)
			_, _ = w.Write([]byte(saidByReceiver))
			return
		}
		_, _ = w.Write([]byte("thank you"))
	}))
	t.Cleanup(r.Close)
	return r
}

// elsewhere is somebody who works by the API at the same time.
var elsewhere = audit.Principal{Kind: audit.User, UserID: "01890a5d-ac96-774b-bcce-b302099a8057", Role: audit.Admin, IP: "127.0.0.1"}

// job has the server accept a job, and gives its id.
func (o *operator) job(endpointID string) string {
	o.t.Helper()
	var id string
	_, err := o.server.Dispatch.Accept(o.t.Context(), elsewhere, dispatch.NewJob{
		EndpointID: endpointID, ContentType: "application/json", Payload: []byte(`{"case": 17, "text": "<i>sealed</i>"}`),
	}, audit.Once{}, func(j dispatch.Job) audit.Answer {
		id = j.ID
		return audit.Answer{Status: http.StatusAccepted}
	})
	if err != nil {
		o.t.Fatal(err)
	}
	return id
}

func (o *operator) endpoint(name, url string) string {
	o.t.Helper()
	e, _, err := o.server.Dispatch.CreateEndpoint(o.t.Context(), elsewhere, dispatch.NewEndpoint{Name: name, URL: url})
	if err != nil {
		o.t.Fatal(err)
	}
	return e.ID
}

// correct gives an endpoint another URL, elsewhere.
func (o *operator) correct(endpointID, url string) {
	o.t.Helper()
	_, err := o.server.Dispatch.ChangeEndpoint(o.t.Context(), elsewhere, endpointID, dispatch.EndpointChange{URL: &url})
	if err != nil {
		o.t.Fatal(err)
	}
}

// replay replays a job, elsewhere.
func (o *operator) replay(id string) {
	o.t.Helper()
	if _, err := o.server.Dispatch.Replay(o.t.Context(), elsewhere, id, dispatch.ReplayRequest{}); err != nil {
		o.t.Fatal(err)
	}
}
