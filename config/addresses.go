package config

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
)

const label = `[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?`

var hostName = regexp.MustCompile(`^` + label + `(\.` + label + `)*\.?$`)

// checkHost takes what a listener can bind to: an address or a name, without a port.
func checkHost(s string) error {
	if _, err := netip.ParseAddr(s); err == nil {
		return nil
	}
	if strings.HasPrefix(s, "[") {
		return errors.New("brackets belong to a URL, not to HOST")
	}
	if _, _, err := net.SplitHostPort(s); err == nil {
		return errors.New("the port goes into PORT")
	}
	if len(s) > 253 || !hostName.MatchString(s) || looksNumeric(s) {
		return errWrong
	}
	return nil
}

// looksNumeric tells whether a name can only be a mistyped IPv4 address: no top-level domain is a
// number (RFC 3696, section 2).
func looksNumeric(name string) bool {
	_, err := strconv.Atoi(name[strings.LastIndexByte(name, '.')+1:])
	return err == nil
}

// networks is a variable for a list of CIDRs.
func networks(name string, at func(*Config) *[]netip.Prefix, about string) variable {
	return variable{
		Variable: Variable{
			Name: name, About: about,
			Takes: "CIDRs or single addresses with commas between them, such as 10.0.0.0/8,192.0.2.7",
		},
		fallback: fixed(""),
		read: func(c *Config, s string) error {
			list, err := parseNetworks(s)
			if err == nil {
				*at(c) = list
			}
			return err
		},
	}
}

func parseNetworks(s string) ([]netip.Prefix, error) {
	var list []netip.Prefix
	for item := range strings.SplitSeq(s, ",") {
		p, err := parseNetwork(strings.Trim(item, " "))
		if err != nil {
			return nil, err
		}
		list = append(list, p)
	}
	return list, nil
}

// parseNetwork reads one CIDR. Bits behind the prefix are refused, since 10.1.2.3/8 is as likely a
// mistake for one machine as a name for sixteen million. What is IPv4 inside IPv6 becomes plain IPv4,
// the form in which addresses are compared.
func parseNetwork(s string) (netip.Prefix, error) {
	p, err := netip.ParsePrefix(s)
	if err != nil {
		addr, err := netip.ParseAddr(s)
		if err != nil || addr.Zone() != "" {
			return netip.Prefix{}, fmt.Errorf("%s is no network", quoted(s))
		}
		p = netip.PrefixFrom(addr, addr.BitLen())
	}
	if p.Masked() != p {
		return netip.Prefix{}, fmt.Errorf("%s has bits behind its prefix; the network is %s", s, p.Masked())
	}
	if p.Addr().Is4In6() && p.Bits() >= 96 {
		p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
	}
	return p, nil
}
