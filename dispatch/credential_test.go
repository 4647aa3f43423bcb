package dispatch

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"sealpost/fault"
	"sealpost/store"
	"sealpost/store/storetest"
)

// authority makes certificates, as an organisation's own does.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pem  string
}

func newAuthority(t *testing.T) authority {
	t.Helper()
	key := newKey(t)
	der := certify(t, &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Own CA"}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign,
	}, nil, key, key)
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return authority{cert, key, pemOf("CERTIFICATE", der)}
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func certify(t *testing.T, template, parent *x509.Certificate, key, signer *ecdsa.PrivateKey) []byte {
	t.Helper()
	if template.NotBefore.IsZero() {
		template.NotBefore = time.Now().Add(-24 * time.Hour)
	}
	if template.NotAfter.IsZero() {
		template.NotAfter = time.Now().Add(24 * time.Hour)
	}
	if parent == nil {
		parent = template
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func pemOf(kind string, der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}

// issue makes a certificate for a name and for 127.0.0.1, with its key, both PEM.
func (a authority) issue(t *testing.T, name string, notAfter time.Time) (cert, key string) {
	t.Helper()
	k := newKey(t)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name}, NotAfter: notAfter,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	return pemOf("CERTIFICATE", certify(t, template, a.cert, k, a.key)), pemOf("PRIVATE KEY", der)
}

// receiveTLS is a receiver with a certificate of an authority's, which asks for one of its clients.
func receiveTLS(t *testing.T, a authority, clients tls.ClientAuthType) (url string, seen func() []string) {
	t.Helper()
	cert, key := a.issue(t, "localhost", time.Time{})
	pair, err := tls.X509KeyPair([]byte(cert), []byte(key))
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	names := make(chan string, 100)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		name := ""
		if len(r.TLS.PeerCertificates) > 0 {
			name = r.TLS.PeerCertificates[0].Subject.CommonName
		}
		names <- name
	}))
	server.TLS = &tls.Config{Certificates: []tls.Certificate{pair}, ClientAuth: clients, ClientCAs: pool}
	server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	server.StartTLS()
	t.Cleanup(server.Close)
	return strings.Replace(server.URL, "127.0.0.1", "localhost", 1), func() (list []string) {
		for len(names) > 0 {
			list = append(list, <-names)
		}
		return list
	}
}

func TestCheckOfCredentials(t *testing.T) {
	now := time.Now()
	own := newAuthority(t)
	cert, key := own.issue(t, "client", time.Time{})
	_, otherKey := own.issue(t, "client", time.Time{})
	ended, endedKey := own.issue(t, "client", now.Add(-time.Hour))
	headers := func(n int) map[string]string {
		h := map[string]string{}
		for i := range n {
			h[fmt.Sprintf("X-%d", i)] = "v"
		}
		return h
	}
	long := func(n int) string { return strings.Repeat("x", n) }
	for _, tt := range []struct {
		name string
		c    Credentials
		url  string
		want string // what the error has, "" for none
	}{
		{"none", Credentials{}, "", ""},
		{"an API key", Credentials{Auth: &Auth{Kind: APIKey, Header: "X-Api-Key", Value: long(4096)}}, "", ""},
		{"a long API key", Credentials{Auth: &Auth{Kind: APIKey, Header: "X-Api-Key", Value: long(4097)}}, "", "auth.value"},
		{"an API key in our header", Credentials{Auth: &Auth{Kind: APIKey, Header: "Webhook-Signature", Value: "v"}}, "", "set by Sealpost"},
		{"an API key with a line break", Credentials{Auth: &Auth{Kind: APIKey, Header: "X", Value: "a\r\nb"}}, "", "auth.value"},
		{"an API key without its header", Credentials{Auth: &Auth{Kind: APIKey, Value: "v"}}, "", "auth.header"},
		{"bearer", Credentials{Auth: &Auth{Kind: Bearer, Token: "t"}}, "", ""},
		{"bearer without a token", Credentials{Auth: &Auth{Kind: Bearer}}, "", "auth.token"},
		{"bearer with a password", Credentials{Auth: &Auth{Kind: Bearer, Token: "t", Password: "p"}}, "", "fields that its type BEARER"},
		{"basic", Credentials{Auth: &Auth{Kind: Basic, Username: "jörg", Password: "p:ä"}}, "", ""},
		{"basic with a colon in the name", Credentials{Auth: &Auth{Kind: Basic, Username: "a:b", Password: "p"}}, "", "colon"},
		{"basic with a control character", Credentials{Auth: &Auth{Kind: Basic, Username: "a", Password: "p\n"}}, "", "auth.password"},
		{"OAuth 2", Credentials{Auth: &Auth{Kind: OAuth2, TokenURL: "https://id.example/token", ClientID: "c", ClientSecret: "s"}}, "", ""},
		{"OAuth 2 with a scope", Credentials{Auth: &Auth{Kind: OAuth2, TokenURL: "https://id.example/token", ClientID: "c", ClientSecret: "s", Scope: "a b"}}, "", ""},
		{"OAuth 2 without a URL", Credentials{Auth: &Auth{Kind: OAuth2, ClientID: "c", ClientSecret: "s"}}, "", "auth.tokenUrl"},
		{"OAuth 2 with credentials in the URL", Credentials{Auth: &Auth{Kind: OAuth2, TokenURL: "https://a:b@id.example", ClientID: "c", ClientSecret: "s"}}, "", "auth.tokenUrl"},
		{"OAuth 2 without a secret", Credentials{Auth: &Auth{Kind: OAuth2, TokenURL: "https://id.example/token", ClientID: "c"}}, "", "auth.clientSecret"},
		{"another kind", Credentials{Auth: &Auth{Kind: "DIGEST"}}, "", "auth.type"},
		{"a client certificate", Credentials{ClientCertificate: &ClientCertificate{cert, key}}, "", ""},
		{"one with another's key", Credentials{ClientCertificate: &ClientCertificate{cert, otherKey}}, "", "clientCertificate is not"},
		{"one that has ended", Credentials{ClientCertificate: &ClientCertificate{ended, endedKey}}, "", "has ended"},
		{"one that is too large", Credentials{ClientCertificate: &ClientCertificate{cert + long(maxPEM), key}}, "", "at most"},
		{"one without TLS", Credentials{ClientCertificate: &ClientCertificate{cert, key}}, "http://a.example", "https://"},
		{"an authority", Credentials{CACertificates: own.pem}, "", ""},
		{"fifty", Credentials{CACertificates: strings.Repeat(own.pem, maxAuthorities)}, "", ""},
		{"one more", Credentials{CACertificates: strings.Repeat(own.pem, maxAuthorities+1)}, "", "caCertificates"},
		{"an authority without TLS", Credentials{CACertificates: own.pem}, "HTTP://a.example", "https://"},
		{"an authority's key", Credentials{CACertificates: own.pem + key}, "", "caCertificates"},
		{"something behind it", Credentials{CACertificates: own.pem + "x"}, "", "caCertificates"},
		{"no PEM", Credentials{CACertificates: "x"}, "", "caCertificates"},
		{"headers", Credentials{Headers: headers(20)}, "", ""},
		{"too many headers", Credentials{Headers: headers(21)}, "", "at most 20"},
		{"a long name", Credentials{Headers: map[string]string{long(101): "v"}}, "", "1 to 100"},
		{"the longest", Credentials{Headers: map[string]string{long(100): long(4096)}}, "", ""},
		{"a name that is none", Credentials{Headers: map[string]string{"a b": "v"}}, "", "token"},
		{"a name beyond ASCII", Credentials{Headers: map[string]string{"ä": "v"}}, "", "token"},
		{"an empty value", Credentials{Headers: map[string]string{"X": ""}}, "", "value of header X"},
		{"space around a value", Credentials{Headers: map[string]string{"X": " v"}}, "", "value of header X"},
		{"one name twice", Credentials{Headers: map[string]string{"x-a": "v", "X-A": "v"}}, "", "twice"},
		{"auth's header", Credentials{Auth: &Auth{Kind: APIKey, Header: "X-Key", Value: "v"}, Headers: map[string]string{"x-key": "w"}}, "", "auth's already"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			url := tt.url
			if url == "" {
				url = "https://a.example"
			}
			err := tt.c.check(url, now)
			if (err == nil) != (tt.want == "") || err != nil && (!fault.Is(err, fault.Invalid) || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("got %v", err)
			}
		})
	}
	for _, name := range []string{
		"connection", "Keep-Alive", "Proxy-Authenticate", "Proxy-Authorization", "Proxy-Connection", "TE", "Trailer", "Transfer-Encoding",
		"Upgrade", "HOST", "Content-Length", "Content-Type", "Content-Encoding", "Expect", "Accept-Encoding", "Authorization", "User-Agent",
		"Idempotency-Key", "Traceparent", "Tracestate", "webhook-id", "Webhook-Anything",
	} {
		if err := checkHeaders(map[string]string{name: "v"}); !fault.Is(err, fault.Invalid) || !strings.Contains(err.Error(), "set by Sealpost") {
			t.Errorf("%s may be set: %v", name, err)
		}
	}
}

// Each kind of authorization arrives, and so do further headers, beside the signature and not in its place.
func TestCredentialsArrive(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		d := newDispatcher(t, st, fast())
		rc := receive(t, nil)
		run(t, d)
		for _, tt := range []struct {
			name       string
			c          Credentials
			header, is string
		}{
			{"API key", Credentials{Auth: &Auth{Kind: APIKey, Header: "x-api-key", Value: "k3y"}}, "X-Api-Key", "k3y"},
			{"bearer", Credentials{Auth: &Auth{Kind: Bearer, Token: "t0ken"}}, "Authorization", "Bearer t0ken"},
			{"basic", Credentials{Auth: &Auth{Kind: Basic, Username: "Aladdin", Password: "open sesame"}}, "Authorization", "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="},
			{"header", Credentials{Headers: map[string]string{"x-tenant": "acme"}}, "X-Tenant", "acme"},
		} {
			e, _, err := d.CreateEndpoint(t.Context(), admin, NewEndpoint{Name: tt.name, URL: rc.URL, Credentials: tt.c})
			if err != nil {
				t.Fatal(err)
			}
			id := accept(t, d, e.ID, "x")
			await(t, d, id, Dispatched)
			arrived := rc.all()
			if got := arrived[len(arrived)-1]; got.id != id || got.head.Get(tt.header) != tt.is || got.head.Get("webhook-signature") == "" {
				t.Errorf("%s: arrived %v", tt.name, got.head)
			}
		}
	})
}

// A part of credentials is kept unless it is named, and goes where it is named as nothing. What is shown
// is never a secret, and a secret's age counts from its own change.
func TestChangesOfCredentials(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		var logged syncBuffer
		o := fast()
		o.Logger = slog.New(slog.NewTextHandler(&logged, nil))
		d := newDispatcher(t, st, o)
		rc := receive(t, nil)
		run(t, d)
		e, _, err := d.CreateEndpoint(t.Context(), admin, NewEndpoint{Name: "receiver", URL: rc.URL, Credentials: Credentials{
			Auth: &Auth{Kind: Basic, Username: "ann", Password: "pass-w0rd-s3cret"}, Headers: map[string]string{"X-Tenant": "t3nant-s3cret"},
		}})
		if err != nil {
			t.Fatal(err)
		}
		old := time.Now().Add(-100 * 24 * time.Hour).UTC().Truncate(time.Microsecond)
		write(t, st, `update dispatch_endpoint set credentials_changed_at = $1, secret_changed_at = $1, credentials_shown = $2`, old.UnixMicro(),
			fmt.Sprintf(`{"auth":{"kind":"BASIC","username":"ann"},"headerNames":["X-Tenant"],"since":{"auth":%q,"headers":%q}}`, old.Format(time.RFC3339Nano), old.Format(time.RFC3339Nano)))
		sent := func() http.Header {
			t.Helper()
			await(t, d, accept(t, d, e.ID, "x"), Dispatched)
			arrived := rc.all()
			return arrived[len(arrived)-1].head
		}
		change := func(c EndpointChange) Endpoint {
			t.Helper()
			e, err := d.ChangeEndpoint(t.Context(), admin, e.ID, c)
			if err != nil {
				t.Fatal(err)
			}
			return e
		}
		age := func() time.Time {
			t.Helper()
			ages, err := d.SecretAges(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			for _, a := range ages {
				if a.EndpointID == e.ID+CredentialsOf {
					return a.ChangedAt
				}
			}
			return time.Time{}
		}
		events := func() int {
			return count(t, d, `select count(*) from "AuditLog" where action = 'dispatch.endpoint.changed'`)
		}

		// What is the same already is no change, and what is about another part leaves the age as it is.
		same := Auth{Kind: Basic, Username: "ann", Password: "pass-w0rd-s3cret"}
		change(EndpointChange{Credentials: &CredentialsChange{Auth: Change[Auth]{true, &same}}})
		if events() != 0 || !age().Equal(old) {
			t.Errorf("%d events, and the age is %s", events(), age())
		}
		change(EndpointChange{Name: new("renamed")})
		got := change(EndpointChange{Credentials: &CredentialsChange{Headers: Change[map[string]string]{true, nil}}})
		if head := sent(); head.Get("X-Tenant") != "" || head.Get("Authorization") == "" || len(got.Credentials.HeaderNames) != 0 || !age().Equal(old) {
			t.Errorf("without its headers: %+v, %v, age %s", got, head, age())
		}
		got = change(EndpointChange{Credentials: &CredentialsChange{Auth: Change[Auth]{true, &Auth{Kind: Bearer, Token: "t0ken-s3cret"}}}})
		if head := sent(); head.Get("Authorization") != "Bearer t0ken-s3cret" || got.Credentials.Auth.Kind != Bearer || got.Credentials.Auth.Username != "" || time.Since(age()) > time.Minute {
			t.Errorf("with another authorization: %+v, %v, age %s", got, head, age())
		}
		got = change(EndpointChange{Credentials: &CredentialsChange{Auth: Change[Auth]{Given: true}}})
		if head := sent(); head.Get("Authorization") != "" || got.Credentials.Auth != nil || !age().IsZero() {
			t.Errorf("without any: %+v, %v, age %s", got, head, age())
		}
		if n := count(t, d, `select count(*) from dispatch_endpoint where credentials is null and credentials_shown is null`); n != 1 {
			t.Error("something is left of the credentials")
		}
		if events() != 4 {
			t.Errorf("%d changes have an event, want 4", events())
		}
		for _, where := range []string{logged.String(), fmt.Sprintf("%+v", got), fmt.Sprintf("%+v %#v %s", same, Credentials{Auth: &same}, Credentials{Auth: &same})} {
			if strings.Contains(where, "s3cret") {
				t.Errorf("a secret is told: %s", where)
			}
		}
		if n := count(t, d, `select count(*) from "AuditLog" where body like '%s3cret%'`); n != 0 {
			t.Errorf("%d events tell a secret", n)
		}
	})
}

// Credentials that no key opens hold up their endpoint alone; given anew as a whole they are mended, and
// the signing secret stays.
func TestUnreadableCredentials(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		d := newDispatcher(t, st, fast())
		rc := receive(t, nil)
		e, _, err := d.CreateEndpoint(t.Context(), admin, NewEndpoint{Name: "a", URL: rc.URL, Credentials: Credentials{Auth: &Auth{Kind: Bearer, Token: "t"}}})
		if err != nil {
			t.Fatal(err)
		}
		other, _, err := d.CreateEndpoint(t.Context(), admin, NewEndpoint{Name: "b", URL: rc.URL, Credentials: Credentials{Auth: &Auth{Kind: Bearer, Token: "u"}}})
		if err != nil {
			t.Fatal(err)
		}
		// Another endpoint's box is none of this one's, and neither is its own of the signing secret.
		for _, column := range []string{"credentials", "secrets"} {
			id := other.ID
			if column == "secrets" {
				id = e.ID
			}
			write(t, st, `update dispatch_endpoint set credentials = (select o.`+column+` from dispatch_endpoint o where o.id = $2), version = version + 1 where id = $1`, e.ID, id)
			auth := Change[Auth]{true, &Auth{Kind: Bearer, Token: "new"}}
			if _, err := d.ChangeEndpoint(t.Context(), admin, e.ID, EndpointChange{Credentials: &CredentialsChange{Auth: auth}}); !fault.Is(err, fault.Conflict) {
				t.Fatalf("a part was changed of what cannot be read: %v", err)
			}
		}
		stop := run(t, d)
		waiting := accept(t, d, e.ID, "x")
		await(t, d, accept(t, d, other.ID, "y"), Dispatched)
		if job, err := d.Get(t.Context(), admin, waiting); err != nil || job.Status != Pending {
			t.Errorf("the job that waits is %+v (%v)", job, err)
		}
		stop()
		whole := asGiven(Credentials{Auth: &Auth{Kind: Bearer, Token: "mended"}})
		if _, err := d.ChangeEndpoint(t.Context(), admin, e.ID, EndpointChange{Credentials: &whole}); err != nil {
			t.Fatal(err)
		}
		run(t, d)
		await(t, d, waiting, Dispatched)
		arrived := rc.all()
		if got := arrived[len(arrived)-1]; got.head.Get("Authorization") != "Bearer mended" {
			t.Errorf("arrived %v", got.head)
		}
	})
}

// A receiver that asks for a client certificate, and has its own from an authority that nobody else
// knows, gets and gives what it should; without them there is no delivery, and nothing of another
// endpoint's goes there.
func TestClientCertificates(t *testing.T) {
	own, foreign := newAuthority(t), newAuthority(t)
	cert, key := own.issue(t, "sealpost-client", time.Time{})
	url, seen := receiveTLS(t, own, tls.RequireAndVerifyClientCert)
	pair := &ClientCertificate{cert, key}
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		o := fast()
		o.MaxAttempts = 1
		d := newDispatcher(t, st, o)
		run(t, d)
		for _, tt := range []struct {
			name string
			c    Credentials
			says string // "" where it is delivered
		}{
			{"both", Credentials{ClientCertificate: pair, CACertificates: own.pem}, ""},
			{"no certificate", Credentials{CACertificates: own.pem}, "certificate required"},
			{"no authority", Credentials{ClientCertificate: pair}, "unknown authority"},
			{"another authority", Credentials{ClientCertificate: pair, CACertificates: foreign.pem}, "unknown authority"},
			{"one of two authorities", Credentials{ClientCertificate: pair, CACertificates: foreign.pem + own.pem}, ""},
			{"neither", Credentials{}, "unknown authority"},
		} {
			e, _, err := d.CreateEndpoint(t.Context(), admin, NewEndpoint{Name: tt.name, URL: url, Credentials: tt.c})
			if err != nil {
				t.Fatal(err)
			}
			want := DeadLetter
			if tt.says == "" {
				want = Dispatched
			}
			job := await(t, d, accept(t, d, e.ID, "x"), want)
			if !strings.Contains(job.LastError, tt.says) {
				t.Errorf("%s: %q, want %q", tt.name, job.LastError, tt.says)
			}
			if names := fmt.Sprint(seen()); tt.says == "" && names != "[sealpost-client]" || tt.says != "" && names != "[]" {
				t.Errorf("%s: the receiver saw %s", tt.name, names)
			}
		}
	})
}

// tokenServer gives tokens t1, t2 … and tells how often it was asked. Each counts as good at the
// receiver until revoked.
type tokenServer struct {
	*httptest.Server
	asked  atomic.Int64
	good   atomic.Int64 // the token that the receiver takes
	answer atomic.Pointer[func(http.ResponseWriter)]
}

func newTokenServer(t *testing.T) *tokenServer {
	t.Helper()
	ts := &tokenServer{}
	ts.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id, secret, ok := r.BasicAuth()
		_ = r.ParseForm()
		n := ts.asked.Add(1)
		if f := ts.answer.Load(); f != nil {
			(*f)(w)
			return
		}
		w.Header().Set("Content-Type", "application/json;charset=UTF-8")
		if !ok || id != "client%3A1" || secret != "s%2Bcret" || r.Form.Get("grant_type") != "client_credentials" || r.Form.Get("scope") != "send now" {
			w.WriteHeader(http.StatusUnauthorized)
			_, _ = io.WriteString(w, `{"error":"invalid_client","error_description":"s%2Bcret is wrong"}`)
			return
		}
		ts.good.Store(n)
		_, _ = fmt.Fprintf(w, `{"access_token":"t%d","token_type":"Bearer","expires_in":3600}`, n)
	}))
	t.Cleanup(ts.Close)
	return ts
}

func (ts *tokenServer) auth() *Auth {
	return &Auth{Kind: OAuth2, TokenURL: ts.URL + "/token?tenant=1", ClientID: "client:1", ClientSecret: "s+cret", Scope: "send now"}
}

// One token serves many attempts; when the receiver no longer takes it there is a new one within the same
// attempt, once; and a receiver that takes none is not asked for ever.
func TestOAuth2(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		d := newDispatcher(t, st, fast())
		ts := newTokenServer(t)
		var never atomic.Bool
		rc := receive(t, func(_ int, w http.ResponseWriter, r *http.Request) {
			if never.Load() || r.Header.Get("Authorization") != fmt.Sprintf("Bearer t%d", ts.good.Load()) {
				w.WriteHeader(http.StatusUnauthorized)
			}
		})
		e, _, err := d.CreateEndpoint(t.Context(), admin, NewEndpoint{Name: "a", URL: rc.URL, Credentials: Credentials{Auth: ts.auth()}})
		if err != nil {
			t.Fatal(err)
		}
		run(t, d)
		var ids []string
		for range 30 {
			ids = append(ids, accept(t, d, e.ID, "x"))
		}
		for _, id := range ids {
			await(t, d, id, Dispatched)
		}
		if n := ts.asked.Load(); n != 1 {
			t.Errorf("the token was asked for %d times", n)
		}
		ts.good.Store(-1) // the token is revoked
		before := len(rc.all())
		job := await(t, d, accept(t, d, e.ID, "after"), Dispatched)
		if job.AttemptCount != 1 || ts.asked.Load() != 2 || len(rc.all()) != before+2 {
			t.Errorf("the job is %+v; asked %d times, arrived %d times", job, ts.asked.Load(), len(rc.all())-before)
		}
		for _, a := range rc.all()[before:] {
			if a.body != "after" || a.id != job.ID {
				t.Errorf("arrived %q for %s", a.body, a.id)
			}
		}
		never.Store(true)
		before = len(rc.all())
		job = await(t, d, accept(t, d, e.ID, "x"), DeadLetter)
		if job.DeadLetterReason != Permanent || job.LastError != "401 Unauthorized" || len(rc.all()) != before+2 || ts.asked.Load() != 3 {
			t.Errorf("the job is %+v; asked %d times, arrived %d times", job, ts.asked.Load(), len(rc.all())-before)
		}
	})
}

// What a token server does wrong is said in a line that has nothing of its answer, and is tried again
// within the budget. Its address is guarded as the endpoint's is.
func TestTokenServersThatMisbehave(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		ts := newTokenServer(t)
		answer := func(status int, contentType, body string) *func(http.ResponseWriter) {
			f := func(w http.ResponseWriter) {
				w.Header().Set("Content-Type", contentType)
				w.WriteHeader(status)
				_, _ = io.WriteString(w, body)
			}
			return &f
		}
		wrong := ts.auth()
		wrong.ClientSecret = "other"
		rc := receive(t, nil)
		for _, tt := range []struct {
			name   string
			auth   *Auth
			answer *func(http.ResponseWriter)
			says   string
		}{
			{"another secret", wrong, nil, "no access token: the token server answered 401, invalid_client"},
			{"an error that is no code", ts.auth(), answer(400, "application/json", `{"error":"s3cret <b>"}`), "no access token: the token server answered 400"},
			{"an error", ts.auth(), answer(503, "text/html", "s3cret"), "no access token: the token server answered 503"},
			{"a page", ts.auth(), answer(200, "text/html", "<html>s3cret"), "no access token: the token server's answer is not JSON of RFC 6749's form"},
			{"half an answer", ts.auth(), answer(200, "application/json", `{"access_token":"s3cret"`), "no access token: the token server's answer is not JSON of RFC 6749's form"},
			{"more than is read", ts.auth(), answer(200, "application/json", `{"access_token":"`+strings.Repeat("s3cret", 20_000)+`","token_type":"bearer"}`), "no access token: the token server's answer is not JSON of RFC 6749's form"},
			{"another type", ts.auth(), answer(200, "application/json", `{"access_token":"s3cret","token_type":"mac"}`), "no access token: the token server gives tokens of another type than bearer"},
			{"a line break", ts.auth(), answer(200, "application/json", `{"access_token":"s3cret\r\nX: y","token_type":"bearer"}`), "no access token: the token server's token is none that a header can carry"},
			{"a redirect", ts.auth(), answer(302, "text/html", ""), "no access token: the token server answered 302"},
		} {
			ts.answer.Store(tt.answer)
			d := newDispatcher(t, st, fast())
			e, _, err := d.CreateEndpoint(t.Context(), admin, NewEndpoint{Name: tt.name, URL: rc.URL, MaxAttempts: 2, Credentials: Credentials{Auth: tt.auth}})
			if err != nil {
				t.Fatal(err)
			}
			stop := run(t, d)
			job := await(t, d, accept(t, d, e.ID, "x"), DeadLetter)
			if job.DeadLetterReason != Exhausted || job.LastError != tt.says || job.AttemptCount != 2 {
				t.Errorf("%s: the job is %+v", tt.name, job)
			}
			stop()
		}
		ts.answer.Store(nil)
		o := fast()
		o.AllowPrivateNetworks = false
		d := newDispatcher(t, st, o)
		e, _, err := d.CreateEndpoint(t.Context(), admin, NewEndpoint{Name: "guarded", URL: "http://203.0.113.1/", Credentials: Credentials{Auth: ts.auth()}})
		if err != nil {
			t.Fatal(err)
		}
		run(t, d)
		asked := ts.asked.Load()
		job := await(t, d, accept(t, d, e.ID, "x"), DeadLetter)
		if job.DeadLetterReason != Blocked || !strings.Contains(job.LastError, "127.0.0.1") || ts.asked.Load() != asked {
			t.Errorf("a token server inside: %+v, asked %d times more", job, ts.asked.Load()-asked)
		}
		if len(rc.all()) != 0 {
			t.Errorf("%d requests came without a token", len(rc.all()))
		}
		if n := count(t, d, `select count(*) from "AuditLog" where body like '%s3cret%' or body like '%s+cret%'`); n != 0 {
			t.Errorf("%d events tell a secret", n)
		}
	})
}

func TestTokensEnd(t *testing.T) {
	for _, tt := range []struct {
		name, expires string
		want          time.Duration
	}{
		{"not said", ``, tokenLasts},
		{"an hour", `,"expires_in":3600`, time.Hour},
		{"as text", `,"expires_in":"60"`, time.Minute},
		{"fractions", `,"expires_in":0.5`, 500 * time.Millisecond},
		{"never", `,"expires_in":99999999999999`, 24 * time.Hour},
		{"in the past", `,"expires_in":-5`, tokenLasts},
	} {
		token, lasts, err := readToken(200, "application/json", []byte(`{"access_token":"t","token_type":"Bearer"`+tt.expires+`}`))
		if err != nil || token != "t" || lasts != tt.want {
			t.Errorf("%s: %q for %s (%v)", tt.name, token, lasts, err)
		}
	}
}

func FuzzReadToken(f *testing.F) {
	f.Add([]byte(`{"access_token":"t","token_type":"Bearer","expires_in":1}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		token, lasts, err := readToken(200, "application/json", text)
		if err == nil && (token == "" || strings.ContainsAny(token, " \r\n\x00") || lasts <= 0 || lasts > 24*time.Hour) {
			t.Errorf("%q gives %q for %s", text, token, lasts)
		}
	})
}
