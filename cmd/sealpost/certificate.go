package main

import (
	"crypto/tls"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"
)

// certificateEvery is how often the files of the server's certificate are looked at, when connections
// come.
const certificateEvery = 10 * time.Second

// certificate is the server's own TLS certificate, read again when its files change. A pair that
// cannot be read, or does not fit because only one of the two has been replaced yet, changes nothing.
type certificate struct {
	certFile, keyFile string
	logger            *slog.Logger
	now               func() time.Time

	mu      sync.Mutex
	current *tls.Certificate
	read    [2]fileState // of the files when current was read, or when reading last failed
	looked  time.Time
}

// fileState is what tells one content of a file from another.
type fileState struct {
	modified time.Time
	size     int64
}

func loadCertificate(certFile, keyFile string, logger *slog.Logger) (*certificate, error) {
	c := &certificate{certFile: certFile, keyFile: keyFile, logger: logger, now: time.Now}
	c.read, c.looked = c.states(), c.now()
	pair, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err != nil {
		return nil, fmt.Errorf("read the server's certificate: %w", err)
	}
	c.current = &pair
	return c, nil
}

// config is TLS 1.2 and later with this certificate.
func (c *certificate) config() *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
		return c.get(), nil
	}}
}

func (c *certificate) get() *tls.Certificate {
	c.mu.Lock()
	defer c.mu.Unlock()
	if now := c.now(); now.Sub(c.looked) >= certificateEvery {
		c.looked = now
		if states := c.states(); states != c.read {
			c.read = states // of a pair that does not fit, too: it is told once, and tried when it changes again
			if pair, err := tls.LoadX509KeyPair(c.certFile, c.keyFile); err != nil {
				c.logger.Error("the certificate's files have changed and cannot be used; the old one stays", "error", err)
			} else {
				c.current = &pair
				c.logger.Info("the certificate has been read again")
			}
		}
	}
	return c.current
}

func (c *certificate) states() (states [2]fileState) {
	for i, path := range []string{c.certFile, c.keyFile} {
		if info, err := os.Stat(path); err == nil {
			states[i] = fileState{info.ModTime(), info.Size()}
		}
	}
	return states
}
