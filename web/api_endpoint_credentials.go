package web

import (
	"bytes"
	"encoding/json"
	"reflect"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"sealpost/audit"
	"sealpost/dispatch"
)

// EndpointAuth is how an endpoint is told who sends. Each type has its own fields and no others.
type EndpointAuth struct {
	Type string `json:"type" enum:"API_KEY,BEARER,BASIC,OAUTH2" doc:"OAUTH2 is RFC 6749's client credentials"`

	Header string `json:"header,omitempty" maxLength:"100" doc:"API_KEY: the name of the header"`
	Value  string `json:"value,omitempty" maxLength:"4096" writeOnly:"true" doc:"API_KEY"`

	Token string `json:"token,omitempty" maxLength:"4096" writeOnly:"true" doc:"BEARER"`

	Username string `json:"username,omitempty" maxLength:"255" doc:"BASIC"`
	Password string `json:"password,omitempty" maxLength:"4096" writeOnly:"true" doc:"BASIC"`

	TokenURL     string `json:"tokenUrl,omitempty" maxLength:"2048" doc:"OAUTH2: where tokens are asked for, by HTTP Basic"`
	ClientID     string `json:"clientId,omitempty" maxLength:"255" doc:"OAUTH2"`
	ClientSecret string `json:"clientSecret,omitempty" maxLength:"4096" writeOnly:"true" doc:"OAUTH2"`
	Scope        string `json:"scope,omitempty" maxLength:"1000" doc:"OAUTH2, where it is needed"`
}

func authOf(a *EndpointAuth) *dispatch.Auth {
	if a == nil {
		return nil
	}
	return &dispatch.Auth{
		Kind: dispatch.AuthKind(a.Type), Header: a.Header, Value: a.Value, Token: a.Token, Username: a.Username, Password: a.Password,
		TokenURL: a.TokenURL, ClientID: a.ClientID, ClientSecret: a.ClientSecret, Scope: a.Scope,
	}
}

// ClientCertificate is what an endpoint knows Sealpost by in TLS.
type ClientCertificate struct {
	Certificate string `json:"certificate" minLength:"1" maxLength:"65536" doc:"PEM: the certificate, and those between it and the authority"`
	PrivateKey  string `json:"privateKey" minLength:"1" maxLength:"65536" writeOnly:"true" doc:"PEM"`
}

func certificateOf(c *ClientCertificate) *dispatch.ClientCertificate {
	if c == nil {
		return nil
	}
	return &dispatch.ClientCertificate{Certificate: c.Certificate, PrivateKey: c.PrivateKey}
}

// EndpointAuthShown is an authorization without what is secret about it.
type EndpointAuthShown struct {
	Type     string  `json:"type" enum:"API_KEY,BEARER,BASIC,OAUTH2"`
	Header   *string `json:"header"`
	Username *string `json:"username"`
	TokenURL *string `json:"tokenUrl" doc:"For an AUDITOR without its query"`
	ClientID *string `json:"clientId"`
	Scope    *string `json:"scope"`
}

// CertificateShown is a certificate in short.
type CertificateShown struct {
	Subject  string    `json:"subject"`
	NotAfter time.Time `json:"notAfter"`
	SHA256   string    `json:"sha256" doc:"Of its DER, in hex"`
}

// showCredentials says of an endpoint's credentials what people may see.
func (e *Endpoint) showCredentials(c dispatch.CredentialsShown, by audit.Principal) {
	e.CACertificates, e.HeaderNames = []CertificateShown{}, []string{}
	if a := c.Auth; a != nil {
		e.Auth = &EndpointAuthShown{
			Type: string(a.Kind), Header: optional(a.Header), Username: optional(a.Username), TokenURL: optional(urlFor(by, a.TokenURL)),
			ClientID: optional(a.ClientID), Scope: optional(a.Scope),
		}
	}
	if c.ClientCertificate != nil {
		shown := CertificateShown(*c.ClientCertificate)
		e.ClientCertificate = &shown
	}
	for _, authority := range c.CACertificates {
		e.CACertificates = append(e.CACertificates, CertificateShown(authority))
	}
	e.HeaderNames = append(e.HeaderNames, c.HeaderNames...)
}

// Given is a field of a PATCH that may be left out, which changes nothing, or be null, which removes what
// is there.
type Given[T any] struct {
	Is bool
	To *T
}

// UnmarshalJSON implements json.Unmarshaler. It is called for null, too.
func (g *Given[T]) UnmarshalJSON(b []byte) error {
	g.Is, g.To = true, nil
	if bytes.Equal(b, []byte("null")) {
		return nil
	}
	g.To = new(T)
	return json.Unmarshal(b, g.To)
}

// Schema implements huma.SchemaProvider. Null is an enum of itself: huma checks no type of that name.
func (Given[T]) Schema(r huma.Registry) *huma.Schema {
	null := &huma.Schema{Enum: []any{nil}}
	null.PrecomputeMessages()
	return &huma.Schema{AnyOf: []*huma.Schema{r.Schema(reflect.TypeFor[T](), true, ""), null}}
}

// credentials is what a PATCH says of them, nil where it does not.
func (in *changeEndpointInput) credentials() *dispatch.CredentialsChange {
	b := &in.Body
	if !b.Auth.Is && !b.ClientCertificate.Is && !b.CACertificates.Is && !b.Headers.Is {
		return nil
	}
	return &dispatch.CredentialsChange{
		Auth:              dispatch.Change[dispatch.Auth]{Given: b.Auth.Is, To: authOf(b.Auth.To)},
		ClientCertificate: dispatch.Change[dispatch.ClientCertificate]{Given: b.ClientCertificate.Is, To: certificateOf(b.ClientCertificate.To)},
		CACertificates:    dispatch.Change[string]{Given: b.CACertificates.Is, To: b.CACertificates.To},
		Headers:           dispatch.Change[map[string]string]{Given: b.Headers.Is, To: b.Headers.To},
	}
}
