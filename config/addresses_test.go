package config

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
)

func TestHost(t *testing.T) {
	for _, host := range []string{"127.0.0.1", "0.0.0.0", "::", "::1", "fe80::1%eth0", "localhost", "seal.example.org", "seal_1", "a.example."} {
		if got := mustParse(t, []string{"HOST=" + host}).Host; got != host {
			t.Errorf("got %q, want %q", got, host)
		}
	}
	for host, why := range map[string]string{
		"[::1]": "brackets belong to a URL, not to HOST", "localhost:4000": "the port goes into PORT",
		"127.0.0.1:4000": "the port goes into PORT", "http://localhost": "", "127.0.0.256": "", "127.1": "", "4000": "",
		"a b": "", "-a": "", "a-": "", "a..b": "", ".": "", "*": "", strings.Repeat("a", 64): "", strings.Repeat("a.", 127): "",
	} {
		if p := only(t, "HOST", []string{"HOST=" + host}); why != "" && p.Got != `"`+host+`" (`+why+`)` {
			t.Error(p)
		}
	}
}

func TestNetworks(t *testing.T) {
	for text, want := range map[string]string{
		"10.0.0.0/8":                         "10.0.0.0/8",
		"10.0.0.0/8,192.168.0.0/16":          "10.0.0.0/8 192.168.0.0/16",
		"10.0.0.0/8, 192.168.0.0/16":         "10.0.0.0/8 192.168.0.0/16",
		"192.0.2.7":                          "192.0.2.7/32",
		"2001:db8::/32,::1":                  "2001:db8::/32 ::1/128",
		"::ffff:10.0.0.0/104,::ffff:1.2.3.4": "10.0.0.0/8 1.2.3.4/32",
		"0.0.0.0/0,::/0":                     "0.0.0.0/0 ::/0",
	} {
		for name, of := range map[string]func(*Config) []netip.Prefix{
			"TRUSTED_PROXIES":           func(c *Config) []netip.Prefix { return c.TrustedProxies },
			"DISPATCH_ALLOWED_NETWORKS": func(c *Config) []netip.Prefix { return c.Dispatch.AllowedNetworks },
		} {
			if got := strings.Join(words(of(mustParse(t, []string{name + "=" + text}))), " "); got != want {
				t.Errorf("%s=%s: got %s, want %s", name, text, got, want)
			}
		}
	}
	for _, text := range []string{
		"10.0.0.0/33", "10.0.0.0/8,", ",10.0.0.0/8", ",", "10.0.0.0/8;10.1.0.0/16", "10.0.0.1/8", "10.0.0.0/-1",
		"10.0.0.0/08", "10.0.0/8", "010.0.0.0/8", "fe80::1%eth0", "fe80::%eth0/64", "localhost", "all", "2001:db8::1/32", "10.0.0.0/8 10.1.0.0/16", "10.0.0.0/8,\t10.1.0.0/16",
	} {
		only(t, "TRUSTED_PROXIES", []string{"TRUSTED_PROXIES=" + text})
		only(t, "DISPATCH_ALLOWED_NETWORKS", []string{"DISPATCH_ALLOWED_NETWORKS=" + text})
	}
}

func TestEveryAddressIsWarnedAbout(t *testing.T) {
	for _, name := range []string{"TRUSTED_PROXIES", "DISPATCH_ALLOWED_NETWORKS"} {
		for text, want := range map[string]bool{"0.0.0.0/0": true, "10.0.0.0/8,::/0": true, "10.0.0.0/8": false} {
			_, warnings, err := Parse(production(t, name+"="+text))
			if err != nil {
				t.Fatal(err)
			}
			if got := slices.ContainsFunc(warnings, func(w string) bool { return strings.HasPrefix(w, name+" names every address") }); got != want {
				t.Errorf("%s=%s: warned is %t", name, text, got)
			}
		}
	}
}
