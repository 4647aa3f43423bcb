package config

import (
	"slices"
	"strings"
	"testing"
)

func TestPublicURL(t *testing.T) {
	for text, want := range map[string]string{
		"http://localhost:4000":         "http://localhost:4000",
		"https://seal.example.org":      "https://seal.example.org",
		"https://seal.example.org/":     "https://seal.example.org",
		"HTTPS://Seal.Example.Org":      "https://seal.example.org",
		"https://seal.example:443":      "https://seal.example",
		"http://seal.example:80/":       "http://seal.example",
		"https://seal.example:80":       "https://seal.example:80",
		"https://seal.example:8443":     "https://seal.example:8443",
		"https://xn--bcher-kva.example": "https://xn--bcher-kva.example",
		"http://[::1]:4000":             "http://[::1]:4000",
		"http://[0:0::1]":               "http://[::1]",
		"http://192.0.2.7":              "http://192.0.2.7",
	} {
		if got := mustParse(t, []string{"PUBLIC_URL=" + text}).PublicURL.String(); got != want {
			t.Errorf("%s: got %s, want %s", text, got, want)
		}
	}
	for text, got := range map[string]string{
		"seal.example":                    "12 bytes that are no URL",
		"//seal.example":                  `"://seal.example"`,
		"ftp://seal.example":              `"ftp://seal.example"`,
		"https://":                        "8 bytes that are no URL",
		"https://:8443":                   `"https://:8443"`,
		"https://seal.example:":           `"https://seal.example:" (a port that is none)`,
		"https://seal.example:0":          `"https://seal.example:0" (a port that is none)`,
		"https://seal.example:65536":      `"https://seal.example:65536" (a port that is none)`,
		"https://seal.example:x":          "22 bytes that are no URL",
		"https://seal.example/app":        `"https://seal.example/…" (a path in it)`,
		"https://seal.example//":          `"https://seal.example/…" (a path in it)`,
		"https://seal.example/?":          `"https://seal.example" (a query in it)`,
		"https://seal.example?a=b":        `"https://seal.example/…" (a query in it)`,
		"https://seal.example#top":        `"https://seal.example/…" (a fragment in it)`,
		"https://seal.example/#":          `"https://seal.example" (a fragment in it)`,
		"https://admin:pw@seal.example":   `"https://seal.example" (a user name or a password in it)`,
		"https://bücher.example":          `"https://bücher.example" (a host that is none; one with letters beyond ASCII is written as xn--…)`,
		"https://1.2.3.256":               `"https://1.2.3.256" (a host that is none; one with letters beyond ASCII is written as xn--…)`,
		"http://[fe80::1%25eth0]":         `"http://[fe80::1%eth0]" (a host that is none; one with letters beyond ASCII is written as xn--…)`,
		"https://a.example,https://b.org": "", "javascript:alert(1)": "19 bytes that are no URL", "https:/a.example": "16 bytes that are no URL",
	} {
		if p := only(t, "PUBLIC_URL", []string{"PUBLIC_URL=" + text}); got != "" && p.Got != got {
			t.Errorf("%s: got %s, want %s", text, p.Got, got)
		}
	}
	// With a wrong PORT the default of PUBLIC_URL is not a second problem.
	only(t, "PORT", []string{"PORT=http"})
	if got := mustParse(t, []string{"PORT=80"}).PublicURL.String(); got != "http://localhost" {
		t.Error(got)
	}
}

func TestPublicURLIsWarnedAbout(t *testing.T) {
	for text, want := range map[string]bool{
		"http://seal.example": true, "http://192.0.2.7": true, "https://seal.example": false, "http://localhost:4000": false,
		"http://app.localhost": false, "http://127.0.0.1": false, "http://[::1]:4000": false,
	} {
		_, warnings, err := Parse(production(t, "PUBLIC_URL="+text))
		if err != nil {
			t.Fatal(err)
		}
		if got := slices.ContainsFunc(warnings, func(w string) bool { return strings.HasPrefix(w, "PUBLIC_URL is http") }); got != want {
			t.Errorf("%s: warned is %t", text, got)
		}
	}
}

// Servers that get what Sealpost holds are reached by https in production, without exception.
func TestServerURLs(t *testing.T) {
	for _, name := range []string{"OPENAI_BASE_URL", "ALERT_WEBHOOK_URL", "AUDIT_WITNESS_URLS"} {
		for _, text := range []string{"https://a.example", "https://a.example:8443/v1/x/"} {
			mustParse(t, production(t, name+"="+text))
			mustParse(t, development(t, name+"="+text))
		}
		for _, text := range []string{"http://a.example", "http://localhost:11434/v1", "http://127.0.0.1"} {
			only(t, name, production(t, name+"="+text))
			mustParse(t, development(t, name+"="+text))
		}
		for _, text := range []string{
			"a.example", "ftp://a.example", "https://", "https://u:p@a.example", "https://a.example/#x",
			"https://a.example:0", "https://a b", "https://a.example/ b", `https://a.example\b`, "https://a.example/%zz", "file:///etc/passwd",
		} {
			p := only(t, name, development(t, name+"="+text))
			if strings.Contains(p.String(), "u:p") {
				t.Error(p)
			}
		}
	}
	for _, name := range []string{"OPENAI_BASE_URL", "AUDIT_WITNESS_URLS"} {
		only(t, name, []string{name + "=https://a.example/?key=tok"})
	}
	p := only(t, "AUDIT_WITNESS_URLS", []string{"AUDIT_WITNESS_URLS=https://a.example/log, https://b.example?key=tok,"})
	if want := `"https://a.example/…", "https://b.example/…", 0 bytes that are no URL (a query in it)`; p.Got != want {
		t.Errorf("got %s, want %s", p.Got, want)
	}
	only(t, "AUDIT_WITNESS_URLS", []string{"AUDIT_WITNESS_URLS=https://a.example,"})
	mustParse(t, production(t, "AUDIT_WITNESS_URLS=https://a.example/log "+witnessKey+", https://b.example"))
	for _, key := range []string{
		"x", "b.example/w+" + witnessKey[12:], " " + witnessKey, witnessKey + " x", witnessKey[:len(witnessKey)-4],
		strings.Replace(witnessKey, "+", "", 1), strings.Replace(witnessKey, "+BC", "+AV", 1),
	} {
		only(t, "AUDIT_WITNESS_URLS", []string{"AUDIT_WITNESS_URLS=https://a.example " + key + ", https://b.example"})
	}
}

func TestTelemetryURL(t *testing.T) {
	for _, text := range []string{"http://collector:4318", "https://otel.example/v1?x=y"} {
		if got := mustParse(t, production(t, "OTEL_EXPORTER_OTLP_ENDPOINT="+text)).OTLPEndpoint; got != text {
			t.Error(got)
		}
	}
	for _, text := range []string{"collector:4317", "grpc://collector:4317", "http://u:p@collector"} {
		only(t, "OTEL_EXPORTER_OTLP_ENDPOINT", []string{"OTEL_EXPORTER_OTLP_ENDPOINT=" + text})
	}
}

// witnessKey is a note verifier of Ed25519 cosignatures.
const witnessKey = "a.example/w+9dc36bed+BC1xFkK3JrBEAWJ8qfusMvXIUw+xkDzE2wIlhxeSGkiB"
