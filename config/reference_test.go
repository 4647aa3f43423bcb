package config

import (
	"strings"
	"testing"
)

func TestReferenceHoldsEveryVariable(t *testing.T) {
	reference := Reference()
	seen := map[string]bool{}
	for _, v := range Variables() {
		if seen[v.Name] {
			t.Errorf("%s is in the table twice", v.Name)
		}
		seen[v.Name] = true
		for _, part := range []string{"\n  " + v.Name, "\n" + v.Section + "\n", v.About, "Takes " + v.Takes + ".", v.Default, v.Production} {
			if !strings.Contains(reference, part) {
				t.Errorf("%s: %q is not in the reference", v.Name, part)
			}
		}
		if !strings.HasSuffix(v.About, ".") || strings.HasSuffix(v.Takes, ".") {
			t.Errorf("%s: %q, %q", v.Name, v.About, v.Takes)
		}
	}
	if len(seen) != 52 {
		t.Errorf("the table has %d variables", len(seen))
	}
	for _, g := range gate {
		if !seen[g.variable] {
			t.Errorf("the gate asks something of %s, which does not exist", g.variable)
		}
	}
}

func TestReferenceOfSomeVariables(t *testing.T) {
	reference := Reference()
	for _, want := range []string{`
  ALLOW_DEV_LOGIN
      Whether dev-login signs anybody in without a password.
      Takes true, false, 1 or 0.
      Default: true; false in production.
      Production: false.
`, `
  SESSION_TTL_HOURS
      Life of an access token.
      Takes a whole number of hours from 1 to 720.
      Default: 12.
      Production: at most 24.
`, `
  AUDIT_SIGNING_KEY (secret)
      The Ed25519 seed that signs checkpoints; never in the database.
      Takes standard base64 of exactly 32 bytes.
      Default: generated into DATA_DIR outside production.
      Production: it must be set, and be no known sample value.
`, `
  OTEL_EXPORTER_OTLP_ENDPOINT
      Where traces go; OpenTelemetry's other OTEL_ variables hold too.
      Takes an http:// or https:// URL without user or fragment.
      Default: unset.
`, "exits with status 78."} {
		if !strings.Contains(reference, want) {
			t.Errorf("not in the reference: %s", want)
		}
	}
}

// A default that is in the table must be a value that the variable takes.
func TestDefaultsAreTaken(t *testing.T) {
	for _, environ := range [][]string{nil, {"NODE_ENV=test"}, production(t)} {
		c := mustParse(t, environ)
		eachVariable(func(v variable) {
			if v.fallback == nil || v.fallback(c) == "" {
				return
			}
			if _, _, err := Parse(append(environ, v.Name+"="+v.fallback(c), "NODE_ENV="+c.Env)); err != nil {
				t.Error(err)
			}
		})
	}
}
