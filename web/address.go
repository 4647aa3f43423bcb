package web

import (
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
)

// forwarding is what the server knows about proxies in front of it.
type forwarding struct {
	trusted []netip.Prefix
	said    atomic.Bool // that somebody else sent forwarding headers
}

// forwardingHeaders are those by which a proxy says that it is one. Only X-Forwarded-For is believed,
// and only from TRUSTED_PROXIES; any of them means that the request did not come straight from who
// opened the connection.
var forwardingHeaders = []string{
	"X-Forwarded-For", "Forwarded", "X-Real-Ip", "X-Forwarded-Host", "X-Forwarded-Proto", "Via",
}

// clientAddress tells where a request comes from, and whether it comes straight from this machine.
func (s *Server) clientAddress(r *http.Request) (ip string, direct bool) {
	peer := peerAddress(r)
	forwarded := false
	for _, name := range forwardingHeaders {
		if len(r.Header[name]) > 0 {
			forwarded = true
			break
		}
	}
	if !forwarded {
		return peer.String(), peer.IsLoopback() && localName(r.Host)
	}
	if !s.forwarding.trusts(peer) {
		if s.forwarding.said.CompareAndSwap(false, true) {
			s.Logger.Warn("forwarding headers are ignored: they come from an address that TRUSTED_PROXIES does not name",
				"address", peer.String())
			s.Runbook.IgnoredForwarder(peer.String())
		}
		return peer.String(), false
	}
	return client(peer, r.Header["X-Forwarded-For"], s.forwarding.trusts).String(), false
}

// client goes through X-Forwarded-For from the right, where each proxy has added whom it was asked by,
// to the first address that is not a trusted proxy's. What stands left of it is whatever that one
// wrote. An entry that is no address ends the search: the proxy that wrote it is then the best known.
func client(peer netip.Addr, forwardedFor []string, trusted func(netip.Addr) bool) netip.Addr {
	at := peer
	for _, list := range slices.Backward(forwardedFor) {
		for list != "" {
			entry := list
			if comma := strings.LastIndexByte(list, ','); comma >= 0 {
				list, entry = list[:comma], list[comma+1:]
			} else {
				list = ""
			}
			addr, ok := parseHop(strings.TrimSpace(entry))
			if !ok {
				return at
			}
			if at = addr; !trusted(at) {
				return at
			}
		}
	}
	return at
}

// parseHop reads an address, which some proxies write with a port or in brackets.
func parseHop(s string) (netip.Addr, bool) {
	if addr, err := netip.ParseAddr(strings.Trim(s, "[]")); err == nil {
		return addr.Unmap().WithZone(""), true
	}
	if ap, err := netip.ParseAddrPort(s); err == nil {
		return ap.Addr().Unmap().WithZone(""), true
	}
	return netip.Addr{}, false
}

func (f *forwarding) trusts(addr netip.Addr) bool {
	for _, p := range f.trusted {
		if p.Contains(addr) {
			return true
		}
	}
	return false
}

// peerAddress is who opened the connection.
func peerAddress(r *http.Request) netip.Addr {
	ap, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.IPv4Unspecified() // not from a socket: nobody's address, and not loopback
	}
	return ap.Addr().Unmap().WithZone("")
}

// localName tells whether a Host header names this machine as one does from itself. A page that some
// browser here has opened can be made to ask this server under another name (DNS rebinding), and a
// proxy that adds no header passes the public name on.
func localName(host string) bool {
	name := host
	if h, _, err := net.SplitHostPort(host); err == nil {
		name = h
	}
	if strings.EqualFold(name, "localhost") {
		return true
	}
	addr, err := netip.ParseAddr(strings.Trim(name, "[]"))
	return err == nil && addr.Unmap().IsLoopback()
}
