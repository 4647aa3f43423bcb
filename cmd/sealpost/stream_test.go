package main

import (
	"bufio"
	"net/http"
	"strings"
	"testing"

	"sealpost/account"
	"sealpost/audit"
	"sealpost/store/storetest"
)

// A stream has no end of its own: a server that ends does not wait for one, and well within its drain.
func TestDrainEndsStreams(t *testing.T) {
	s := start(t, storetest.SQLiteURL(t))
	in, err := s.accounts.DevLogin(t.Context(), audit.Principal{Kind: audit.Anonymous, IP: "127.0.0.1"},
		account.NewDevUser{Email: "ann@example.org", Name: "Ann", Role: "ADMIN"})
	if err != nil {
		t.Fatal(err)
	}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+s.addr+"/api/admin/events/stream", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+in.Token)
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	response, err := (&http.Client{Transport: transport}).Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close() //nolint:errcheck // read to its end
	lines := bufio.NewScanner(response.Body)
	for lines.Scan() && !strings.HasPrefix(lines.Text(), "event: resync") {
	}
	s.end()
	if err := s.wait(t); err != nil { // 20 s at most, and the drain has 30
		t.Error(err)
	}
	for lines.Scan() {
	}
	if err := lines.Err(); err != nil {
		t.Errorf("the stream was broken off: %v", err)
	}
}
