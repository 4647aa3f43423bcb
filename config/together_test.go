package config

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// certificate writes a certificate of its own and its key.
func certificate(t *testing.T) (certFile, keyFile string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), DNSNames: []string{"localhost"}}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	return write(t, filepath.Join(dir, "cert.pem"), string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert}))),
		write(t, filepath.Join(dir, "key.pem"), string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})))
}

func TestTLSFilesComeTogether(t *testing.T) {
	cert, key := certificate(t)
	c := mustParse(t, []string{"TLS_CERT_FILE=" + cert, "TLS_KEY_FILE=" + key})
	if c.TLS != (TLS{cert, key}) {
		t.Error(c.TLS)
	}
	_, other := certificate(t)
	const readable = "the path of a PEM file that can be read"
	for _, tt := range []struct {
		cert, key string
		want      Problem
	}{
		{cert, "", Problem{"TLS_KEY_FILE", "nothing, while TLS_CERT_FILE is set", "the key of that certificate"}},
		{"", key, Problem{"TLS_CERT_FILE", "nothing, while TLS_KEY_FILE is set", "the certificate of that key"}},
		{cert, key + "x", Problem{"TLS_KEY_FILE", key + "x (no such file or directory)", readable}},
		{cert + "x", key, Problem{"TLS_CERT_FILE", cert + "x (no such file or directory)", readable}},
		{cert, other, Problem{"TLS_CERT_FILE", "with TLS_KEY_FILE: tls: private key does not match public key", "a certificate and, in TLS_KEY_FILE, its key"}},
	} {
		if got := only(t, tt.want.Variable, []string{"TLS_CERT_FILE=" + tt.cert, "TLS_KEY_FILE=" + tt.key}); got != tt.want {
			t.Errorf("got %v\nwant %v", got, tt.want)
		}
	}
	both := problemsOf(t, []string{"TLS_CERT_FILE=" + cert + "x", "TLS_KEY_FILE=" + key + "x"})
	if len(both) != 2 {
		t.Error(both)
	}
}

// People put the key where its path belongs.
func TestKeyInsteadOfItsPathIsNotShown(t *testing.T) {
	pemKey := "-----BEGIN EC PRIVATE KEY-----\nMHcCAQEEIJ2hidden\n-----END EC PRIVATE KEY-----"
	for _, text := range []string{pemKey, strings.ReplaceAll(pemKey, "\n", " "), strings.ReplaceAll(pemKey, "\n", "/")} {
		p := problemsOf(t, []string{"TLS_CERT_FILE=/etc/hosts", "TLS_KEY_FILE=" + text})
		if strings.Contains(p.Error(), "hidden") {
			t.Error(p)
		}
	}
}

func TestDirectoriesThatAreFiles(t *testing.T) {
	file := write(t, filepath.Join(t.TempDir(), "file"), "")
	if p := only(t, "AUDIT_CHECKPOINT_DIR", []string{"AUDIT_CHECKPOINT_DIR=" + file}); p.Got != `"`+file+`" (a file)` {
		t.Error(p)
	}
}

func TestAdvice(t *testing.T) {
	cert, key := certificate(t)
	for _, tt := range []struct {
		environ []string
		want    string
	}{
		{[]string{"SESSION_TTL_HOURS=12", "REFRESH_TOKEN_TTL_HOURS=11"}, "SESSION_TTL_HOURS is longer"},
		{[]string{"SESSION_TTL_HOURS=12", "REFRESH_TOKEN_TTL_HOURS=12"}, ""},
		{[]string{"TLS_CERT_FILE=" + cert, "TLS_KEY_FILE=" + key}, "PUBLIC_URL is http while"},
		{[]string{"TLS_CERT_FILE=" + cert, "TLS_KEY_FILE=" + key, "PUBLIC_URL=https://localhost:4000"}, ""},
		{[]string{"PUBLIC_URL=http://seal.example"}, ""}, // development
	} {
		_, warnings, err := Parse(tt.environ)
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(warnings, "\n"); (got == "") != (tt.want == "") || !strings.HasPrefix(got, tt.want) {
			t.Errorf("%v: got %q, want %q", tt.environ, got, tt.want)
		}
	}
}
