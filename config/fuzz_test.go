package config

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"testing"
)

func FuzzNumber(f *testing.F) {
	for _, text := range []string{"0", "-1", "+1", "007", "1e3", "9223372036854775808", "", " 1", "1_0"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		n, err := parseNumber(text, math.MinInt, math.MaxInt)
		if err == nil && strconv.Itoa(n) != text {
			t.Errorf("%q was taken as %d", text, n)
		}
		if m, err := parseNumber(text, 10, 20); err == nil && (m < 10 || m > 20) {
			t.Errorf("%q was taken as %d, out of range", text, m)
		}
	})
}

func FuzzFlag(f *testing.F) {
	for _, text := range []string{"true", "false", "1", "0", "TRUE", "", "yes"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		yes, err := parseFlag(text)
		if taken := text == "true" || text == "1" || text == "false" || text == "0"; taken != (err == nil) || yes != (text == "true" || text == "1") {
			t.Errorf("%q: %t, %v", text, yes, err)
		}
	})
}

func FuzzNetworks(f *testing.F) {
	for _, text := range []string{"10.0.0.0/8", "10.0.0.1/8", "::/0, 1.2.3.4", ",", "::ffff:10.0.0.0/104", "fe80::1%a"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		list, err := parseNetworks(text)
		if err != nil {
			return
		}
		if len(list) != strings.Count(text, ",")+1 {
			t.Errorf("%q gave %d networks", text, len(list))
		}
		for _, p := range list {
			if !p.IsValid() || p.Masked() != p || p.Addr().Zone() != "" || (p.Addr().Is4In6() && p.Bits() >= 96) {
				t.Errorf("%q gave %v", text, p)
			}
			if again, err := parseNetwork(p.String()); err != nil || again != p {
				t.Errorf("%v does not read back: %v, %v", p, again, err)
			}
		}
	})
}

func FuzzURL(f *testing.F) {
	for _, text := range []string{"https://a.example", "http://u:p@h/", "https://[::1]:1", "https://h/#", "://", "http://h:80/", "https://a%2eb", "http://a\\b"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		_ = shownURL(text)
		if u, err := parseOrigin(text); err == nil {
			if u.Host == "" || u.User != nil || u.Path != "" || u.RawQuery != "" || u.Fragment != "" || strings.HasSuffix(u.String(), "/") {
				t.Errorf("%q gave %q", text, u)
			}
			if again, err := parseOrigin(u.String()); err != nil || *again != *u {
				t.Errorf("%q does not read back: %v, %v", u, again, err)
			}
		}
		if base, err := baseURL(text, true); err == nil && (!strings.HasPrefix(strings.ToLower(base), "https://") || strings.HasSuffix(base, "/")) {
			t.Errorf("%q gave %q", text, base)
		}
	})
}

// Whatever the environment holds, reading it ends, and its secrets are in no problem and no warning.
func FuzzParse(f *testing.F) {
	withoutFiles := func(name string) bool { return strings.HasSuffix(name, "_DIR") || strings.HasSuffix(name, "_FILE") }
	all := Variables()
	for i := range all {
		f.Add(i, "", "x")
	}
	f.Add(8, "postgres://u:", "/w@h/db")
	f.Add(8, "postgres://h/db?", "=1")
	f.Fuzz(func(t *testing.T, i int, before, behind string) {
		const mark = "Zq7-SECRET-Zq7"
		v := all[(i%len(all)+len(all))%len(all)]
		if !v.Secret && withoutFiles(v.Name) || strings.Contains(before+behind, "\x00") {
			return
		}
		for _, env := range []string{Development, Production} {
			_, warnings, err := Parse([]string{"NODE_ENV=" + env, v.Name + "=" + before + mark + behind})
			if out := fmt.Sprint(warnings, err); v.Secret && strings.Contains(out, mark) {
				t.Errorf("%s=%q: %s", v.Name, before+mark+behind, out)
			}
		}
	})
}

func FuzzNearest(f *testing.F) {
	f.Add("JWT_SECERT")
	f.Add("PATH")
	f.Add("port")
	f.Fuzz(func(t *testing.T, name string) {
		near := nearest(name, []string{"PORT", "NODE_ENV", "JWT_SECRET"})
		if near != "" && squeezed(name) != squeezed(near) && mistakes(name, near) > 2 {
			t.Errorf("%q is %d from %s", name, mistakes(name, near), near)
		}
	})
}
