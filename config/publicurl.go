package config

import (
	"errors"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
)

// publicURL is the variable PUBLIC_URL. It becomes the origin exactly as browsers send it, because
// token issuers and WebAuthn origins are compared byte by byte (RFC 6454, section 6.1).
func publicURL(about string) variable {
	return variable{
		Variable: Variable{
			Name: "PUBLIC_URL", Default: "http://localhost:PORT", About: about,
			Takes: "an origin: http:// or https://, a host, and a port where it is not the scheme's own",
		},
		fallback: func(c *Config) string { return "http://localhost:" + strconv.Itoa(c.Port) },
		read: func(c *Config, s string) error {
			u, err := parseOrigin(s)
			if err == nil {
				c.PublicURL = u
			}
			return err
		},
		show: shownURL,
	}
}

func parseOrigin(s string) (*url.URL, error) {
	u, err := webURL(s)
	switch {
	case err != nil:
		return nil, err
	case u.Path != "" && u.Path != "/":
		return nil, errors.New("a path in it")
	case u.RawQuery != "" || u.ForceQuery:
		return nil, errors.New("a query in it")
	}
	host := strings.ToLower(u.Hostname())
	if addr, err := netip.ParseAddr(host); err == nil {
		host = addr.String()
	}
	if checkHost(host) != nil || strings.Contains(host, "%") {
		return nil, errors.New("a host that is none; one with letters beyond ASCII is written as xn--…")
	}
	port := u.Port()
	if (u.Scheme == "http" && port == "80") || (u.Scheme == "https" && port == "443") {
		port = ""
	}
	switch {
	case port != "":
		host = net.JoinHostPort(host, port)
	case strings.Contains(host, ":"):
		host = "[" + host + "]"
	}
	return &url.URL{Scheme: u.Scheme, Host: host}, nil
}

// onlyHere tells whether a host name can only mean the machine itself. Browsers treat such an origin as
// secure without TLS.
func onlyHere(host string) bool {
	if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return true
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.Unmap().IsLoopback()
}
