package web_test

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"strings"
	"testing"
	"time"

	"sealpost/audit"
	"sealpost/store"
	"sealpost/web/webtest"
)

// ownCertificate makes a certificate that signs itself, with its key, both PEM.
func ownCertificate(t *testing.T) (cert, key string) {
	t.Helper()
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(7), Subject: pkix.Name{CommonName: "Archive"}, NotAfter: time.Date(2049, 1, 2, 3, 4, 5, 0, time.UTC)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, public, private)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})), string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}))
}

// Credentials are given and replaced as a whole, left alone where they are left out, and removed by null.
// No answer, event or line of the log has what is secret about them.
func TestEndpointCredentials(t *testing.T) {
	each(t, func(t *testing.T, s *webtest.Server) {
		admin, auditor := s.SignIn(t, "eve", audit.Admin), s.SignIn(t, "kim", audit.Auditor)
		cert, key := ownCertificate(t)
		made := s.Do(t, "POST", endpointsPath, admin, fields{
			"name": "Archive", "url": "https://receiver.example/hook",
			"auth": fields{
				"type": "OAUTH2", "tokenUrl": "https://id.example/token?k=s3cret-query", "clientId": "sealpost", "clientSecret": "s3cret-client", "scope": "send",
			},
			"clientCertificate": fields{"certificate": cert, "privateKey": key}, "caCertificates": cert,
			"headers": fields{"X-Tenant": "s3cret-tenant"},
		}).Want(t, 201)
		one := endpointsPath + "/" + text(t, made, "endpoint.id")
		hold := func(a webtest.Answer, want fields) {
			t.Helper()
			wantNames(t, a.At("endpoint"), endpointNames...)
			for name, value := range want {
				if got := a.At("endpoint." + name); fmt.Sprint(got) != fmt.Sprint(value) {
					t.Errorf("%s is %v, want %v", name, got, value)
				}
			}
		}
		whole := fields{
			"auth.type": "OAUTH2", "auth.tokenUrl": "https://id.example/token?k=s3cret-query", "auth.clientId": "sealpost", "auth.scope": "send",
			"auth.username": nil, "auth.header": nil, "clientCertificate.subject": "CN=Archive", "clientCertificate.notAfter": "2049-01-02T03:04:05Z",
			"headerNames": []string{"X-Tenant"},
		}
		hold(s.Do(t, "GET", one, admin, nil).Want(t, 200), whole)
		hold(s.Do(t, "PATCH", one, admin, fields{"name": "Ledger"}).Want(t, 200), whole)
		wantNames(t, s.Do(t, "GET", one, admin, nil).At("endpoint.auth"), "type", "header", "username", "tokenUrl", "clientId", "scope")
		for _, a := range []webtest.Answer{made, s.Do(t, "GET", one, admin, nil), s.Do(t, "GET", endpointsPath, admin, nil)} {
			for _, secret := range []string{"s3cret-client", "s3cret-tenant", "PRIVATE KEY"} {
				if strings.Contains(a.Text, secret) {
					t.Errorf("%s is shown: %s", secret, a.Text)
				}
			}
		}
		if a := s.Do(t, "GET", one, auditor, nil).Want(t, 200); strings.Contains(a.Text, "s3cret") || a.At("endpoint.auth.tokenUrl") != "https://id.example/token" {
			t.Errorf("an auditor is shown %s", a.Text)
		}
		before := s.Do(t, "GET", one, admin, nil).Want(t, 200)
		for _, tt := range []struct {
			name    string
			body    any
			message string
		}{
			{"fields of another type", fields{"auth": fields{"type": "BEARER", "token": "s3cret-token", "password": "s3cret-pass"}}, "fields that its type BEARER"},
			{"no type", fields{"auth": fields{"token": "s3cret-token"}}, "form"},
			{"an unknown field", fields{"auth": fields{"type": "BEARER", "token": "s3cret-token", "tocken": "s3cret"}}, "form"},
			{"another type's name", fields{"auth": fields{"type": "DIGEST"}}, "form"},
			{"our own header", fields{"headers": fields{"Webhook-Id": "s3cret"}}, "set by Sealpost"},
			{"another's key", fields{"clientCertificate": fields{"certificate": cert, "privateKey": "s3cret-key"}}, "clientCertificate is not"},
			{"half a certificate", fields{"clientCertificate": fields{"certificate": cert}}, "form"},
			{"no certificates", fields{"caCertificates": "s3cret-ca"}, "caCertificates"},
			{"no TLS for what there is", fields{"url": "http://receiver.example"}, "https://"},
		} {
			t.Run(tt.name, func(t *testing.T) {
				got := s.Do(t, "PATCH", one, admin, tt.body)
				wantProblem(t, got, 422, tt.message)
				if strings.Contains(got.Text, "s3cret") {
					t.Errorf("the refusal quotes a secret: %s", got.Text)
				}
			})
		}
		if after := s.Do(t, "GET", one, admin, nil).Want(t, 200); after.Text != before.Text {
			t.Errorf("refused changes have changed %s to %s", before.Text, after.Text)
		}
		basic := s.Do(t, "PATCH", one, admin, fields{"auth": fields{"type": "BASIC", "username": "ann", "password": "s3cret-pass"}, "headers": nil}).Want(t, 200)
		hold(basic, fields{"auth.type": "BASIC", "auth.username": "ann", "auth.tokenUrl": nil, "headerNames": []string{}, "clientCertificate.subject": "CN=Archive"})
		none := s.Do(t, "PATCH", one, admin, fields{"auth": nil, "clientCertificate": nil, "caCertificates": nil}).Want(t, 200)
		hold(none, fields{"auth": nil, "clientCertificate": nil, "caCertificates": []string{}, "headerNames": []string{}})
		s.Do(t, "PATCH", one, admin, fields{"url": "http://receiver.example"}).Want(t, 200)

		// A tombstone keeps none.
		s.Do(t, "PATCH", one, admin, fields{"auth": fields{"type": "BEARER", "token": "s3cret-token"}}).Want(t, 200)
		s.Do(t, "DELETE", one, admin, nil).Want(t, 204)
		err := s.Store.Read(t.Context(), func(tx *store.Tx) error {
			var left int
			err := tx.QueryRow(t.Context(), `select count(*) from dispatch_endpoint where credentials is not null or credentials_shown is not null`).Scan(&left)
			if left != 0 {
				t.Error("the tombstone has credentials")
			}
			return err
		})
		if err != nil {
			t.Error(err)
		}
		events := s.Do(t, "GET", "/api/admin/audit/events?limit=200", admin, nil).Want(t, 200)
		if !strings.Contains(events.Text, `"credentials":["auth","clientCertificate","caCertificates","headers"]`) {
			t.Errorf("what was given is not told: %s", events.Text)
		}
		for _, secret := range []string{"s3cret", "PRIVATE KEY"} {
			if strings.Contains(events.Text, secret) || strings.Contains(s.Logged(), secret) {
				t.Errorf("%s is in the events or the log", secret)
			}
		}
	})
}
