package dispatch

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"sealpost/fault"
	"sealpost/keys"
)

// Limits of an endpoint's credentials, in bytes.
const (
	maxSecret      = 4096
	maxPEM         = 64 << 10
	maxAuthorities = 50
	maxUser        = 255
	maxScope       = 1000
)

// AuthKind is how an endpoint is told who sends.
type AuthKind string

// The kinds.
const (
	APIKey AuthKind = "API_KEY" // a header of its own
	Bearer AuthKind = "BEARER"  // RFC 6750
	Basic  AuthKind = "BASIC"   // RFC 7617
	OAuth2 AuthKind = "OAUTH2"  // a token by client credentials, RFC 6749 §4.4
)

// Auth is one endpoint's authorization. A kind has its own fields and no others.
type Auth struct {
	Kind AuthKind `json:"kind"`

	Header string `json:"header,omitempty"` // API_KEY
	Value  string `json:"value,omitempty"`  // API_KEY; secret

	Token string `json:"token,omitempty"` // BEARER; secret

	Username string `json:"username,omitempty"` // BASIC
	Password string `json:"password,omitempty"` // BASIC; secret

	TokenURL     string `json:"tokenUrl,omitempty"`     // OAUTH2
	ClientID     string `json:"clientId,omitempty"`     // OAUTH2
	ClientSecret string `json:"clientSecret,omitempty"` // OAUTH2; secret
	Scope        string `json:"scope,omitempty"`        // OAUTH2; may be left out
}

// ClientCertificate is what an endpoint knows us by in TLS: a chain and its key, PEM.
type ClientCertificate struct {
	Certificate string `json:"certificate"`
	PrivateKey  string `json:"privateKey"` // secret
}

// Credentials are an endpoint's, besides its signing secret. They are kept encrypted and never shown
// again.
type Credentials struct {
	Auth              *Auth              `json:"auth,omitempty"`
	ClientCertificate *ClientCertificate `json:"clientCertificate,omitempty"`
	CACertificates    string             `json:"caCertificates,omitempty"` // PEM; trusted instead of the system's
	Headers           map[string]string  `json:"headers,omitempty"`        // what else is sent
}

// Change is what is to become of a part: nothing, unless it is given; a nil To removes it.
type Change[T any] struct {
	Given bool
	To    *T
}

// CredentialsChange is what is to change about an endpoint's credentials.
type CredentialsChange struct {
	Auth              Change[Auth]
	ClientCertificate Change[ClientCertificate]
	CACertificates    Change[string]
	Headers           Change[map[string]string]
}

// whole tells whether nothing of the old credentials is kept, so that they need not be read.
func (c CredentialsChange) whole() bool {
	return c.Auth.Given && c.ClientCertificate.Given && c.CACertificates.Given && c.Headers.Given
}

// apply gives credentials as they are to become, and the names of the parts that differ.
func (c CredentialsChange) apply(old Credentials) (Credentials, []string) {
	n := old
	var changed []string
	note := func(name string, differs bool) {
		if differs {
			changed = append(changed, name)
		}
	}
	if c.Auth.Given {
		n.Auth = c.Auth.To
		note("auth", !reflect.DeepEqual(old.Auth, n.Auth))
	}
	if c.ClientCertificate.Given {
		n.ClientCertificate = c.ClientCertificate.To
		note("clientCertificate", !reflect.DeepEqual(old.ClientCertificate, n.ClientCertificate))
	}
	if c.CACertificates.Given {
		n.CACertificates = ""
		if c.CACertificates.To != nil {
			n.CACertificates = *c.CACertificates.To
		}
		note("caCertificates", old.CACertificates != n.CACertificates)
	}
	if c.Headers.Given {
		n.Headers = nil
		if c.Headers.To != nil && len(*c.Headers.To) > 0 {
			n.Headers = maps.Clone(*c.Headers.To)
		}
		note("headers", !maps.Equal(old.Headers, n.Headers))
	}
	return n, changed
}

// empty tells whether there are none.
func (c Credentials) empty() bool {
	return c.Auth == nil && c.ClientCertificate == nil && c.CACertificates == "" && len(c.Headers) == 0
}

// ages are since when each part that holds a secret has the one that it has.
func (c Credentials) ages(old Credentials, since map[string]time.Time, now time.Time) map[string]time.Time {
	ages := map[string]time.Time{}
	note := func(name string, has, same bool) {
		if at, ok := since[name]; has && same && ok {
			ages[name] = at
		} else if has {
			ages[name] = now
		}
	}
	note("auth", c.Auth != nil, c.Auth != nil && old.Auth != nil && c.Auth.secret() == old.Auth.secret())
	note("clientCertificate", c.ClientCertificate != nil,
		c.ClientCertificate != nil && old.ClientCertificate != nil && c.ClientCertificate.PrivateKey == old.ClientCertificate.PrivateKey)
	note("headers", len(c.Headers) > 0, maps.Equal(c.Headers, old.Headers))
	return ages
}

// secret is what is secret about an authorization.
func (a Auth) secret() [4]string { return [4]string{a.Value, a.Token, a.Password, a.ClientSecret} }

// check tells what is wrong with credentials for an endpoint of a URL. Its errors name parts, never
// their values.
func (c Credentials) check(endpointURL string, now time.Time) error {
	if c.Auth != nil {
		if err := c.Auth.check(); err != nil {
			return err
		}
		for name := range c.Headers {
			if c.Auth.Kind == APIKey && strings.EqualFold(name, c.Auth.Header) {
				return fault.New(fault.Invalid, "headers: %s is auth's already", strings.ToLower(name))
			}
		}
	}
	if err := checkHeaders(c.Headers); err != nil {
		return err
	}
	if c.ClientCertificate != nil {
		if _, err := c.ClientCertificate.parse(now); err != nil {
			return err
		}
	}
	if c.CACertificates != "" {
		if _, err := parseAuthorities(c.CACertificates); err != nil {
			return err
		}
	}
	if (c.ClientCertificate != nil || c.CACertificates != "") && !strings.HasPrefix(strings.ToLower(endpointURL), "https:") {
		return fault.New(fault.Invalid, "clientCertificate and caCertificates need a url that starts with https://")
	}
	return nil
}

// check tells what is wrong with an authorization.
func (a Auth) check() error {
	only := Auth{Kind: a.Kind}
	var err error
	switch a.Kind {
	case APIKey:
		only.Header, only.Value = a.Header, a.Value
		if err = checkHeaderName("auth.header", a.Header); err == nil {
			err = checkHeaderValue("auth.value", a.Value)
		}
	case Bearer:
		only.Token = a.Token
		err = checkHeaderValue("auth.token", a.Token)
	case Basic:
		only.Username, only.Password = a.Username, a.Password
		if err = checkText("auth.username", a.Username, maxUser); err == nil && strings.Contains(a.Username, ":") {
			err = fault.New(fault.Invalid, "auth.username has no colon (RFC 7617)")
		}
		if err == nil {
			err = checkText("auth.password", a.Password, maxSecret)
		}
	case OAuth2:
		only.TokenURL, only.ClientID, only.ClientSecret, only.Scope = a.TokenURL, a.ClientID, a.ClientSecret, a.Scope
		if err = checkURL(a.TokenURL); err != nil {
			err = fault.New(fault.Invalid, "auth.tokenUrl: %s", err.Error())
		}
		if err == nil {
			err = checkText("auth.clientId", a.ClientID, maxUser)
		}
		if err == nil {
			err = checkText("auth.clientSecret", a.ClientSecret, maxSecret)
		}
		if err == nil && a.Scope != "" {
			err = checkText("auth.scope", a.Scope, maxScope)
		}
	default:
		return fault.New(fault.Invalid, "auth.type is API_KEY, BEARER, BASIC or OAUTH2")
	}
	if err == nil && only != a {
		return fault.New(fault.Invalid, "auth has fields that its type %s does not", a.Kind)
	}
	return err
}

func checkText(where, text string, limit int) error {
	if text == "" || len(text) > limit || !utf8.ValidString(text) || strings.ContainsFunc(text, unicode.IsControl) {
		return fault.New(fault.Invalid, "%s has 1 to %d bytes, and no control character", where, limit)
	}
	return nil
}

// parse reads a client certificate, which must not have ended by now.
func (c ClientCertificate) parse(now time.Time) (tls.Certificate, error) {
	if len(c.Certificate) > maxPEM || len(c.PrivateKey) > maxPEM {
		return tls.Certificate{}, fault.New(fault.Invalid, "clientCertificate has at most %d bytes each", maxPEM)
	}
	pair, err := tls.X509KeyPair([]byte(c.Certificate), []byte(c.PrivateKey))
	if err != nil { // it may quote what it read
		return tls.Certificate{}, fault.New(fault.Invalid, "clientCertificate is not a certificate with its private key, both PEM")
	}
	if !now.Before(pair.Leaf.NotAfter) {
		return tls.Certificate{}, fault.New(fault.Invalid, "clientCertificate has ended at %s", pair.Leaf.NotAfter.UTC().Format(time.RFC3339))
	}
	return pair, nil
}

// parseAuthorities reads certificates that are trusted.
func parseAuthorities(text string) ([]*x509.Certificate, error) {
	bad := fault.New(fault.Invalid, "caCertificates are 1 to %d certificates, PEM, of at most %d bytes in all", maxAuthorities, maxPEM)
	if len(text) > maxPEM {
		return nil, bad
	}
	var list []*x509.Certificate
	rest := []byte(text)
	for {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil || block.Type != "CERTIFICATE" {
			return nil, bad
		}
		list = append(list, c)
	}
	if len(list) == 0 || len(list) > maxAuthorities || strings.TrimSpace(string(rest)) != "" {
		return nil, bad
	}
	return list, nil
}

// CredentialsShown is what people may see of an endpoint's credentials.
type CredentialsShown struct {
	Auth              *AuthShown         `json:"auth,omitempty"`
	ClientCertificate *CertificateShown  `json:"clientCertificate,omitempty"`
	CACertificates    []CertificateShown `json:"caCertificates,omitempty"`
	HeaderNames       []string           `json:"headerNames,omitempty"`

	Since map[string]time.Time `json:"since,omitempty"` // when the secret of a part last changed, by the part's name
}

// oldest is the age of the oldest secret among them; zero where there is none.
func (s CredentialsShown) oldest() (at time.Time) {
	for _, t := range s.Since {
		if at.IsZero() || t.Before(at) {
			at = t
		}
	}
	return at
}

// AuthShown is an authorization without what is secret about it.
type AuthShown struct {
	Kind     AuthKind `json:"kind"`
	Header   string   `json:"header,omitempty"`
	Username string   `json:"username,omitempty"`
	TokenURL string   `json:"tokenUrl,omitempty"`
	ClientID string   `json:"clientId,omitempty"`
	Scope    string   `json:"scope,omitempty"`
}

// CertificateShown is a certificate's public half, in short.
type CertificateShown struct {
	Subject  string    `json:"subject"`
	NotAfter time.Time `json:"notAfter"`
	SHA256   string    `json:"sha256"` // of its DER, in hex
}

func showCertificate(c *x509.Certificate) CertificateShown {
	sum := sha256.Sum256(c.Raw)
	return CertificateShown{Subject: c.Subject.String(), NotAfter: c.NotAfter.UTC(), SHA256: hex.EncodeToString(sum[:])}
}

// shown is what is kept in the clear of credentials that have been checked.
func (c Credentials) shown() (CredentialsShown, error) {
	s := CredentialsShown{HeaderNames: slices.Sorted(maps.Keys(c.Headers))}
	if a := c.Auth; a != nil {
		s.Auth = &AuthShown{Kind: a.Kind, Header: a.Header, Username: a.Username, TokenURL: a.TokenURL, ClientID: a.ClientID, Scope: a.Scope}
	}
	if c.ClientCertificate != nil {
		pair, err := c.ClientCertificate.parse(time.Time{})
		if err != nil {
			return s, err
		}
		leaf := showCertificate(pair.Leaf)
		s.ClientCertificate = &leaf
	}
	if c.CACertificates != "" {
		list, err := parseAuthorities(c.CACertificates)
		if err != nil {
			return s, err
		}
		for _, authority := range list {
			s.CACertificates = append(s.CACertificates, showCertificate(authority))
		}
	}
	return s, nil
}

func (d *Dispatcher) sealCredentials(endpointID string, c Credentials) ([]byte, error) {
	text, err := json.Marshal(c)
	if err != nil {
		return nil, err
	}
	return d.data.Encrypt(keys.EndpointAuth, endpointID, text)
}

func (d *Dispatcher) openCredentials(endpointID string, box []byte) (Credentials, error) {
	var c Credentials
	if len(box) == 0 {
		return c, nil
	}
	text, err := d.data.Decrypt(keys.EndpointAuth, endpointID, box)
	if err != nil {
		return c, fmt.Errorf("credentials of endpoint %s: %w", endpointID, err)
	}
	if err := json.Unmarshal(text, &c); err != nil {
		return c, fmt.Errorf("credentials of endpoint %s: they are no JSON", endpointID) // the error would quote it
	}
	return c, nil
}

// Format prints nothing of what is secret, whatever the verb.
func (Auth) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte("an authorization")) }

// Format prints nothing of what is secret, whatever the verb.
func (ClientCertificate) Format(f fmt.State, _ rune) {
	_, _ = f.Write([]byte("a client certificate"))
}

// Format prints nothing of what is secret, whatever the verb.
func (Credentials) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte("credentials")) }
