package web

import (
	"log/slog"
	"net/http"
	"net/netip"
	"strings"
	"testing"

	"sealpost/config"
	"sealpost/runbook"
)

func TestClientAddress(t *testing.T) {
	proxies := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/8"), netip.MustParsePrefix("127.0.0.1/32")}
	for _, tt := range []struct {
		name, peer string
		forwarded  []string
		want       string
	}{
		{"no proxy", "192.0.2.1:5", nil, "192.0.2.1"},
		{"no proxy, IPv6", "[2001:db8::1]:5", nil, "2001:db8::1"},
		{"IPv4 in IPv6", "[::ffff:192.0.2.1]:5", nil, "192.0.2.1"},
		{"a zone", "[fe80::1%eth0]:5", nil, "fe80::1"},
		{"a stranger's word", "192.0.2.1:5", []string{"198.51.100.7"}, "192.0.2.1"},
		{"a proxy's word", "10.1.2.3:5", []string{"198.51.100.7"}, "198.51.100.7"},
		{"an IPv6 proxy's word", "[fd00::1]:5", []string{"2001:db8::7"}, "2001:db8::7"},
		{"what the client claimed comes first", "10.1.2.3:5", []string{"203.0.113.9, 198.51.100.7"}, "198.51.100.7"},
		{"in lines of its own", "10.1.2.3:5", []string{"203.0.113.9", "198.51.100.7"}, "198.51.100.7"},
		{"two proxies", "10.1.2.3:5", []string{"198.51.100.7, 10.9.9.9"}, "198.51.100.7"},
		{"two proxies, in lines of their own", "10.1.2.3:5", []string{"203.0.113.9,198.51.100.7", "10.9.9.9"}, "198.51.100.7"},
		{"a claim to be a proxy", "10.1.2.3:5", []string{"10.6.6.6, 198.51.100.7"}, "198.51.100.7"},
		{"proxies alone", "10.1.2.3:5", []string{"10.6.6.6, 10.9.9.9"}, "10.6.6.6"},
		{"nonsense", "10.1.2.3:5", []string{"198.51.100.7, unknown"}, "10.1.2.3"},
		{"nonsense further left", "10.1.2.3:5", []string{"unknown, 198.51.100.7"}, "198.51.100.7"},
		{"nonsense between", "10.1.2.3:5", []string{"198.51.100.7, _hidden, 10.9.9.9"}, "10.9.9.9"},
		{"an empty entry", "10.1.2.3:5", []string{"198.51.100.7,"}, "10.1.2.3"},
		{"an empty header", "10.1.2.3:5", []string{""}, "10.1.2.3"},
		{"with a port", "10.1.2.3:5", []string{"198.51.100.7:1234"}, "198.51.100.7"},
		{"in brackets", "10.1.2.3:5", []string{"[2001:db8::7]:1234"}, "2001:db8::7"},
		{"in brackets without a port", "10.1.2.3:5", []string{"[2001:db8::7]"}, "2001:db8::7"},
		{"IPv4 in IPv6 from a proxy", "10.1.2.3:5", []string{"::ffff:198.51.100.7"}, "198.51.100.7"},
		{"loopback claimed through a proxy", "10.1.2.3:5", []string{"127.0.0.1"}, "127.0.0.1"},
		{"no socket", "@", nil, "0.0.0.0"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := &Server{Deps: Deps{Logger: slog.New(slog.DiscardHandler), Runbook: runbook.New(runbook.Options{})}}
			s.forwarding.trusted = proxies
			r := &http.Request{RemoteAddr: tt.peer, Host: "localhost", Header: http.Header{}}
			if tt.forwarded != nil {
				r.Header["X-Forwarded-For"] = tt.forwarded
			}
			ip, direct := s.clientAddress(r)
			if ip != tt.want {
				t.Errorf("address %s, want %s", ip, tt.want)
			}
			if direct {
				t.Error("none of these comes straight from this machine")
			}
		})
	}
}

func TestDirectLoopback(t *testing.T) {
	for _, tt := range []struct {
		peer, host string
		header     string
		want       bool
	}{
		{"127.0.0.1:5", "localhost:4000", "", true},
		{"127.0.0.1:5", "LOCALHOST", "", true},
		{"127.0.0.9:5", "127.0.0.1:4000", "", true},
		{"[::1]:5", "[::1]:4000", "", true},
		{"[::1]:5", "[::1]", "", true},
		{"[::ffff:127.0.0.1]:5", "127.0.0.1", "", true},
		{"192.0.2.1:5", "localhost", "", false},
		{"10.0.0.1:5", "127.0.0.1", "", false},
		{"127.0.0.1:5", "localhost", "X-Forwarded-For", false},
		{"127.0.0.1:5", "localhost", "Forwarded", false},
		{"127.0.0.1:5", "localhost", "X-Real-Ip", false},
		{"127.0.0.1:5", "localhost", "X-Forwarded-Host", false},
		{"127.0.0.1:5", "localhost", "X-Forwarded-Proto", false},
		{"127.0.0.1:5", "localhost", "Via", false},
		{"127.0.0.1:5", "pilot.example.org", "", false}, // a proxy that adds nothing
		{"127.0.0.1:5", "localhost.evil.example", "", false},
		{"127.0.0.1:5", "", "", false},
	} {
		for _, trusted := range [][]netip.Prefix{nil, {netip.MustParsePrefix("127.0.0.0/8")}} {
			s := &Server{Deps: Deps{Logger: slog.New(slog.DiscardHandler), Runbook: runbook.New(runbook.Options{})}}
			s.forwarding.trusted = trusted
			r := &http.Request{RemoteAddr: tt.peer, Host: tt.host, Header: http.Header{}}
			if tt.header != "" {
				r.Header.Set(tt.header, "127.0.0.1")
			}
			if _, direct := s.clientAddress(r); direct != tt.want {
				t.Errorf("%+v, trusting %v: %t", tt, trusted, direct)
			}
		}
	}
}

func TestIgnoredHeadersAreSaidOnce(t *testing.T) {
	var log strings.Builder
	controls := runbook.New(runbook.Options{Config: &config.Config{Env: config.Production}})
	s := &Server{Deps: Deps{Logger: slog.New(slog.NewTextHandler(&log, nil)), Runbook: controls}}
	for range 3 {
		s.clientAddress(&http.Request{RemoteAddr: "192.0.2.1:5", Header: http.Header{"X-Forwarded-For": {"x"}}})
	}
	if n := strings.Count(log.String(), "TRUSTED_PROXIES"); n != 1 {
		t.Errorf("said %d times: %s", n, log.String())
	}
	results, err := controls.Check(t.Context(), "RB-1.3")
	if err != nil || results[0].Status != runbook.Warn || !strings.Contains(results[0].Observed, "192.0.2.1") {
		t.Errorf("the posture says %+v, %v", results, err)
	}
}

// FuzzClient holds that an address is always an address, and the peer's own where nobody is trusted.
func FuzzClient(f *testing.F) {
	f.Add("203.0.113.9, 198.51.100.7", "10.0.0.1")
	f.Add(",,[::1%lo]:80", "")
	f.Fuzz(func(t *testing.T, first, second string) {
		peer := netip.MustParseAddr("10.1.2.3")
		headers := []string{first, second}
		if got := client(peer, headers, func(netip.Addr) bool { return true }); !got.IsValid() || got.Zone() != "" || got.Is4In6() {
			t.Errorf("%q: %v", headers, got)
		}
		if got := client(peer, headers, func(a netip.Addr) bool { return a == peer }); !got.IsValid() {
			t.Errorf("%q: %v", headers, got)
		}
	})
}
