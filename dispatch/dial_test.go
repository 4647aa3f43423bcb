package dispatch

import (
	"errors"
	"net"
	"net/netip"
	"testing"
)

// Which addresses may be connected to where private networks are not allowed, and 10.1.0.0/16 and
// fd00:1::/32 are all the same.
func TestGuard(t *testing.T) {
	check := guard(Options{AllowedNetworks: []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16"), netip.MustParsePrefix("fd00:1::/32")}})
	for _, tt := range []struct {
		address string
		allowed bool
	}{
		{"8.8.8.8", true},
		{"2606:4700::1111", true},
		{"10.1.2.3", true},
		{"fd00:1::5", true},
		{"10.2.0.1", false},
		{"172.16.0.1", false},
		{"192.168.1.1", false},
		{"100.64.0.1", false},
		{"127.0.0.1", false},
		{"127.255.255.254", false},
		{"0.0.0.0", false},
		{"169.254.169.254", false},
		{"198.18.0.1", false},
		{"192.0.2.1", false},
		{"224.0.0.1", false},
		{"255.255.255.255", false},
		{"::1", false},
		{"::", false},
		{"fe80::1", false},
		{"fe80::1%lo", false},
		{"fc00::1", false},
		{"fd00:2::1", false},
		{"ff02::1", false},
		{"::ffff:127.0.0.1", false},
		{"::ffff:8.8.8.8", false},
		{"::127.0.0.1", false},
		{"64:ff9b::7f00:1", false},
		{"64:ff9b::808:808", false},
		{"2002:7f00:1::", false},
		{"2001:db8::1", false},
		{"2001::1", false},
	} {
		network := "tcp6"
		if netip.MustParseAddr(tt.address).Is4() {
			network = "tcp4"
		}
		err := check(t.Context(), network, net.JoinHostPort(tt.address, "443"), nil)
		if (err == nil) != tt.allowed || err != nil && !errors.Is(err, errBlocked) {
			t.Errorf("%s: %v", tt.address, err)
		}
	}
	if err := check(t.Context(), "udp4", "8.8.8.8:443", nil); !errors.Is(err, errBlocked) {
		t.Errorf("another network: %v", err)
	}
	if guard(Options{AllowPrivateNetworks: true}) != nil {
		t.Error("private networks are allowed, and addresses are checked")
	}
}
