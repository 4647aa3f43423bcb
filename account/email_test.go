package account

import (
	"strings"
	"testing"

	"sealpost/fault"
)

func TestEmail(t *testing.T) {
	long := strings.Repeat("a", 64)
	label := strings.Repeat("b", 63)
	for _, tt := range []struct{ name, text, shown, key string }{
		{"plain", "ada@example.com", "ada@example.com", "ada@example.com"},
		{"space around", " ada@example.com\n", "ada@example.com", "ada@example.com"},
		{"case", "Ada@Example.COM", "Ada@Example.COM", "ada@example.com"},
		{"full width", "\uff41da@example.com", "\uff41da@example.com", "ada@example.com"},
		{"ligature", "o\ufb03ce@example.com", "o\ufb03ce@example.com", "office@example.com"},
		{"composed", "ren\u00e9@example.com", "ren\u00e9@example.com", "ren\u00e9@example.com"},
		{"decomposed", "rene\u0301@example.com", "ren\u00e9@example.com", "ren\u00e9@example.com"},
		{"sharp s", "STRASSE@example.com", "STRASSE@example.com", "strasse@example.com"},
		{"sharp s folded", "stra\u00dfe@example.com", "stra\u00dfe@example.com", "strasse@example.com"},
		{"kelvin", "\u212aim@example.com", "Kim@example.com", "kim@example.com"},
		{"tag", "ada+pilot@example.com", "ada+pilot@example.com", "ada+pilot@example.com"},
		{"one label", "admin@localhost", "admin@localhost", "admin@localhost"},
		{"longest local part", long + "@example.com", long + "@example.com", long + "@example.com"},
		{"too long local part", "a" + long + "@example.com", "", ""},
		{
			"longest", long + "@" + label + "." + label + "." + label[:61], long + "@" + label + "." + label + "." + label[:61],
			long + "@" + label + "." + label + "." + label[:61],
		},
		{"too long", long + "@" + label + "." + label + "." + label[:62], "", ""},
		{"too long label", "ada@b" + label, "", ""},
		{"empty", "", "", ""},
		{"no at", "ada.example.com", "", ""},
		{"no local part", "@example.com", "", ""},
		{"no domain", "ada@", "", ""},
		{"two at", "ada@home@example.com", "", ""},
		{"space within", "ada lovelace@example.com", "", ""},
		{"zero width", "ad\u200ba@example.com", "", ""},
		{"right to left mark", "ad\u200fa@example.com", "", ""},
		{"control", "ad\x00a@example.com", "", ""},
		{"not UTF-8", "ad\xffa@example.com", "", ""},
		{"angle brackets", "Ada <ada@example.com>", "", ""},
		{"quoted", `"ada"@example.com`, "", ""},
		{"dots", "ada..l@example.com", "", ""},
		{"dot first", ".ada@example.com", "", ""},
		{"dot last", "ada.@example.com", "", ""},
		{"hyphen at a label's end", "ada@example-.com", "", ""},
		{"dot at the end", "ada@example.com.", "", ""},
		{"international domain", "ada@b\u00fccher.example", "", ""},
		{"international domain in ASCII", "ada@xn--bcher-kva.example", "ada@xn--bcher-kva.example", "ada@xn--bcher-kva.example"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := parseEmail(tt.text)
			if tt.key == "" {
				if !fault.Is(err, fault.Invalid) {
					t.Fatalf("parseEmail(%q) = %+v, %v; want it refused", tt.text, got, err)
				}
				return
			}
			if err != nil || got.shown != tt.shown || got.key != tt.key {
				t.Errorf("parseEmail(%q) = %+v, %v; want %q and %q", tt.text, got, err, tt.shown, tt.key)
			}
		})
	}
}

func TestName(t *testing.T) {
	for _, tt := range []struct {
		name, text, want string
		ok               bool
	}{
		{"plain", " Ada Lovelace ", "Ada Lovelace", true},
		{"longest", strings.Repeat("é", 200), strings.Repeat("é", 200), true},
		{"too long", strings.Repeat("é", 201), "", false},
		{"empty", " \t ", "", false},
		{"two lines", "Ada\nLovelace", "", false},
		{"not UTF-8", "Ada\xff", "", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := parseName(tt.text)
			if got != tt.want || (err == nil) != tt.ok || (err != nil && !fault.Is(err, fault.Invalid)) {
				t.Errorf("parseName(%q) = %q, %v", tt.text, got, err)
			}
		})
	}
}
