package dispatch

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"syscall"
	"time"

	"code.dny.dev/ssrf"
)

// connectWithin is how long a connection may take to be made, where the attempt has that long.
const connectWithin = 10 * time.Second

// newTransport makes what all deliveries go through: no proxy from the environment, and each
// connection's concrete address checked when it is dialled. That is after the name was resolved, so a
// name that changes its address between check and connection gains nothing. A transport by itself
// follows no redirects, and does not even look at where one leads.
func newTransport(o Options) *http.Transport {
	dialer := &net.Dialer{Timeout: connectWithin, KeepAlive: 30 * time.Second, ControlContext: guard(o)}
	return &http.Transport{
		DialContext:            dialer.DialContext,
		ForceAttemptHTTP2:      true,
		TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout:    connectWithin,
		MaxIdleConns:           o.Concurrency * 2,
		MaxIdleConnsPerHost:    o.Concurrency,
		IdleConnTimeout:        60 * time.Second,
		MaxResponseHeaderBytes: 64 << 10,
		DisableCompression:     true,
		// A connection of HTTP/2 is shared by attempts, and one that has died without a word would take
		// them all with it until TCP gives it up, a quarter of an hour later.
		HTTP2: &http.HTTP2Config{SendPingTimeout: 15 * time.Second, PingTimeout: 5 * time.Second},
	}
}

// guard checks an address before it is connected to: with private networks forbidden, nothing but
// public unicast addresses and what DISPATCH_ALLOWED_NETWORKS names.
func guard(o Options) func(context.Context, string, string, syscall.RawConn) error {
	if o.AllowPrivateNetworks {
		return nil
	}
	var v4, v6 []netip.Prefix
	for _, p := range o.AllowedNetworks {
		if p.Addr().Is4() {
			v4 = append(v4, p)
		} else {
			v6 = append(v6, p)
		}
	}
	guardian := ssrf.New(ssrf.WithAnyPort(), ssrf.WithAllowedV4Prefixes(v4...), ssrf.WithAllowedV6Prefixes(v6...))
	return func(_ context.Context, network, address string, conn syscall.RawConn) error {
		if err := guardian.Safe(network, address, conn); err != nil {
			if host, _, splitErr := net.SplitHostPort(address); splitErr == nil {
				return fmt.Errorf("%w: %s", errBlocked, host)
			}
			return errors.Join(errBlocked, err)
		}
		return nil
	}
}
