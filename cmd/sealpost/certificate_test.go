package main

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"log/slog"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sealpost/store/storetest"
)

// makeCertificate makes a certificate of 127.0.0.1 with a name, and its key, as PEM.
func makeCertificate(t *testing.T, name string) (cert, key []byte) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})
}

func TestCertificateIsReadAgain(t *testing.T) {
	dir := t.TempDir()
	certFile, keyFile := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	write := func(path string, content []byte, age time.Duration) {
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		when := time.Now().Add(-age) // so that the file system's clock need not tick meanwhile
		if err := os.Chtimes(path, when, when); err != nil {
			t.Fatal(err)
		}
	}
	oldCert, oldKey := makeCertificate(t, "old")
	newCert, newKey := makeCertificate(t, "new")
	write(certFile, oldCert, 3*time.Hour)
	write(keyFile, oldKey, 3*time.Hour)

	var logged bytes.Buffer
	c, err := loadCertificate(certFile, keyFile, slog.New(slog.NewTextHandler(&logged, nil)))
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	c.now = func() time.Time { return now }
	c.looked = now
	served := func() string {
		leaf, err := x509.ParseCertificate(c.get().Certificate[0])
		if err != nil {
			t.Fatal(err)
		}
		return leaf.Subject.CommonName
	}
	step := func(after time.Duration, want string, errors int) {
		t.Helper()
		now = now.Add(after)
		if got := served(); got != want {
			t.Errorf("it serves %s, want %s", got, want)
		}
		if got := strings.Count(logged.String(), "level=ERROR"); got != errors {
			t.Errorf("%d errors are logged, want %d:\n%s", got, errors, logged.String())
		}
	}
	step(0, "old", 0)
	write(certFile, newCert, 2*time.Hour) // half of the pair: it does not fit
	step(certificateEvery-time.Nanosecond, "old", 0)
	step(time.Nanosecond, "old", 1)
	step(certificateEvery, "old", 1) // told once
	write(keyFile, newKey, 2*time.Hour)
	step(certificateEvery, "new", 1)
	if err := os.Remove(keyFile); err != nil {
		t.Fatal(err)
	}
	step(certificateEvery, "new", 2)
	write(keyFile, newKey, time.Hour)
	step(certificateEvery, "new", 2)

	if _, err := loadCertificate(certFile, filepath.Join(dir, "none"), slog.New(slog.DiscardHandler)); err == nil {
		t.Error("a certificate without a key was taken")
	}
}

// The server ends TLS itself where it has a certificate.
func TestServeTLS(t *testing.T) {
	dir := t.TempDir()
	certFile, keyFile := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	cert, key := makeCertificate(t, "sealpost")
	for path, content := range map[string][]byte{certFile: cert, keyFile: key} {
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	p := program{stdout: &bytes.Buffer{}, stderr: &bytes.Buffer{}, environ: []string{
		"DATA_DIR=" + dir, "DATABASE_URL=" + storetest.SQLiteURL(t), "TLS_CERT_FILE=" + certFile, "TLS_KEY_FILE=" + keyFile,
		"PUBLIC_URL=https://127.0.0.1",
	}}
	c, logger, err := p.configure()
	if err != nil {
		t.Fatal(err)
	}
	s, err := wire(t.Context(), c, logger)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, end := context.WithCancel(t.Context())
	done, ready := make(chan error, 1), make(chan string, 1)
	go func() { done <- s.serve(ctx, l, func(url string) { ready <- url }) }()
	defer func() {
		end()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if err := s.close(); err != nil {
			t.Error(err)
		}
	}()
	if url := <-ready; url != "https://"+l.Addr().String() {
		t.Errorf("it says that it listens on %s", url)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(cert)
	for version, wants := range map[uint16]bool{tls.VersionTLS11: false, tls.VersionTLS12: true, tls.VersionTLS13: true} {
		conn, err := tls.Dial("tcp", l.Addr().String(), &tls.Config{
			RootCAs: roots, MinVersion: version, MaxVersion: version, NextProtos: []string{"h2"},
		})
		if (err == nil) != wants {
			t.Errorf("TLS %x: %v", version, err)
		}
		if err == nil {
			if got := conn.ConnectionState().NegotiatedProtocol; got != "h2" {
				t.Errorf("it speaks %q", got)
			}
			_ = conn.Close()
		}
	}
}
