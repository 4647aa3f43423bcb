package dispatch

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"maps"
	"net/http"
	"time"
)

// access is an endpoint's credentials made ready for use: what each request carries, and the connections
// that it goes through. It lives as long as the version of the endpoint that it was made for.
type access struct {
	headers   http.Header     // what is sent as it is
	transport *http.Transport // of its own, where TLS is; nil: the one that all share
	token     *tokenSource    // for OAuth 2
}

// newAccess makes credentials ready; nil where there are none.
func newAccess(o Options, c Credentials, now time.Time) (*access, error) {
	if c.empty() {
		return nil, nil //nolint:nilnil // there is nothing to make ready
	}
	a := &access{headers: http.Header{}}
	for name, value := range c.Headers {
		a.headers.Set(name, value)
	}
	if c.ClientCertificate != nil || c.CACertificates != "" {
		a.transport = newTransport(o)
		if err := c.configure(a.transport.TLSClientConfig, now); err != nil {
			return nil, err
		}
	}
	if c.Auth == nil {
		return a, nil
	}
	switch c.Auth.Kind {
	case APIKey:
		a.headers.Set(c.Auth.Header, c.Auth.Value)
	case Bearer:
		a.headers.Set("Authorization", "Bearer "+c.Auth.Token)
	case Basic:
		a.headers.Set("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(c.Auth.Username+":"+c.Auth.Password)))
	case OAuth2:
		a.token = newTokenSource(*c.Auth)
	}
	return a, nil
}

// configure puts a client certificate and own authorities into TLS. A certificate that has ended since is
// sent all the same: whether it will do is the receiver's to say.
func (c Credentials) configure(t *tls.Config, now time.Time) error {
	if c.ClientCertificate != nil {
		pair, err := tls.X509KeyPair([]byte(c.ClientCertificate.Certificate), []byte(c.ClientCertificate.PrivateKey))
		if err != nil {
			_, err = c.ClientCertificate.parse(now) // says it without quoting
			return err
		}
		t.Certificates = []tls.Certificate{pair}
	}
	if c.CACertificates != "" {
		list, err := parseAuthorities(c.CACertificates)
		if err != nil {
			return err
		}
		t.RootCAs = x509.NewCertPool()
		for _, authority := range list {
			t.RootCAs.AddCert(authority)
		}
	}
	return nil
}

// put puts the headers into a request.
func (a *access) put(h http.Header) {
	if a == nil {
		return
	}
	maps.Copy(h, a.headers)
}

// over is what a request goes through.
func (a *access) over(shared *http.Transport) *http.Transport {
	if a == nil || a.transport == nil {
		return shared
	}
	return a.transport
}

// close lets go of connections that are not in use. Those that are end with their request, or soon after.
func (a *access) close() {
	if a != nil && a.transport != nil {
		a.transport.CloseIdleConnections()
	}
}
