package config

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestProductionGateAtItsEdges(t *testing.T) {
	for _, tt := range []struct{ name, passes, fails, want string }{
		{"ALLOW_DEV_LOGIN", "false", "true", "false in production"},
		{"ALLOW_DEV_LOGIN", "0", "1", "false in production"},
		{"MFA_REQUIRED", "true", "false", "true in production"},
		{"MFA_REQUIRED", "1", "0", "true in production"},
		{"PASSWORD_MIN_LENGTH", "12", "11", "at least 12 in production"},
		{"SESSION_TTL_HOURS", "24", "25", "at most 24 in production"},
		{"REFRESH_TOKEN_TTL_HOURS", "720", "721", "at most 720 in production"},
		{"AUDIT_RETENTION_DAYS", "2555", "2554", "at least 2555 in production"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			mustParse(t, production(t, tt.name+"="+tt.passes))
			want := Problem{tt.name, `"` + tt.fails + `"`, tt.want}
			if got := only(t, tt.name, production(t, tt.name+"="+tt.fails)); got != want {
				t.Errorf("got %v, want %v", got, want)
			}
			mustParse(t, development(t, tt.name+"="+tt.fails))
		})
	}
}

func TestProductionNeedsItsSecrets(t *testing.T) {
	problems := problemsOf(t, []string{"NODE_ENV=production"})
	var names []string
	for _, p := range problems {
		names = append(names, p.Variable)
		if p.Got != "nothing" || !strings.Contains(p.Want, p.Variable+"_FILE") {
			t.Error(p)
		}
	}
	if diff := cmp.Diff([]string{"JWT_SECRET", "DATA_ENCRYPTION_KEY", "AUDIT_SIGNING_KEY"}, names); diff != "" {
		t.Error(diff)
	}
}

func TestSecretsAreLongEnough(t *testing.T) {
	random := randomKey()
	for _, tt := range []struct{ name, text, got string }{
		{"JWT_SECRET", random[:31], "31 bytes"},
		{"JWT_SECRET_PREVIOUS", random[:1], "1 byte"},
		{"DATA_ENCRYPTION_KEY", random[:40] + "AA==", "base64 of 31 bytes"},
		{"DATA_ENCRYPTION_KEY", random[:43], "43 bytes that are not base64 with its padding"},
		{"DATA_ENCRYPTION_KEY", strings.Repeat("ab-_", 11), "44 bytes in the URL's base64, not the standard one"},
		{"DATA_ENCRYPTION_KEY", "x" + random[:42] + "=", ""}, // bits behind the 32 bytes, mostly
		{"AUDIT_SIGNING_KEY", random + "AAAA", ""},
		{"AUDIT_SIGNING_KEY_PREVIOUS", "AAAA", "base64 of 3 bytes"},
		{"BOOTSTRAP_TOKEN", random[:15], "15 bytes"},
		{"BOOTSTRAP_TOKEN", "this is a token of length", "characters that an HTTP header cannot carry"},
		{"OPENAI_API_KEY", "sk-ключ", "characters that an HTTP header cannot carry"},
	} {
		for _, environ := range [][]string{development(t, tt.name+"="+tt.text), production(t, tt.name+"="+tt.text)} {
			if tt.text[0] == 'x' && base64KeyIsFine(tt.text) {
				continue
			}
			if p := only(t, tt.name, environ); tt.got != "" && p.Got != tt.got {
				t.Errorf("got %v, want %s", p, tt.got)
			}
		}
	}
	for _, enough := range []string{"JWT_SECRET=" + random[:32], "BOOTSTRAP_TOKEN=" + random[:16], "OPENAI_API_KEY=x"} {
		mustParse(t, production(t, enough))
	}
}

func base64KeyIsFine(text string) bool {
	_, err := base64Key(text, false)
	return err == nil
}

func TestSampleSecrets(t *testing.T) {
	sample := "changeme-changeme-change-it-now!"
	for _, name := range []string{"JWT_SECRET", "JWT_SECRET_PREVIOUS", "BOOTSTRAP_TOKEN"} {
		if p := only(t, name, production(t, name+"="+sample)); p.Got != errSample.Error() {
			t.Error(p)
		}
	}
	zeros := strings.Repeat("A", 43) + "="
	for _, name := range []string{"DATA_ENCRYPTION_KEY", "DATA_ENCRYPTION_KEY_PREVIOUS", "AUDIT_SIGNING_KEY", "AUDIT_SIGNING_KEY_PREVIOUS"} {
		if p := only(t, name, production(t, name+"="+zeros)); p.Got != errSample.Error() {
			t.Error(p)
		}
	}
	// Outside production it works, with a warning.
	_, warnings, err := Parse(development(t, "JWT_SECRET="+sample))
	if err != nil || len(warnings) != 1 || !strings.HasPrefix(warnings[0], "JWT_SECRET is a known sample value") {
		t.Error(err, warnings)
	}
}

func TestOneValueInTwoPlaces(t *testing.T) {
	key := randomKey()
	decoded, _ := base64Key(key, false)
	text := "0123-plain-text-of-32-bytes-okay" // as it is in one place, in base64 in the other
	for _, tt := range []struct{ first, second, got, environ string }{
		{"JWT_SECRET", "JWT_SECRET_PREVIOUS", key, key},
		{"DATA_ENCRYPTION_KEY", "DATA_ENCRYPTION_KEY_PREVIOUS", key, key},
		{"AUDIT_SIGNING_KEY", "AUDIT_SIGNING_KEY_PREVIOUS", key, key},
		{"DATA_ENCRYPTION_KEY", "AUDIT_SIGNING_KEY", key, key},
		{"JWT_SECRET", "DATA_ENCRYPTION_KEY", key, key},
		{"JWT_SECRET", "AUDIT_SIGNING_KEY", text, "MDEyMy1wbGFpbi10ZXh0LW9mLTMyLWJ5dGVzLW9rYXk="},
		{"JWT_SECRET", "BOOTSTRAP_TOKEN", key, key},
		{"BOOTSTRAP_TOKEN", "OPENAI_API_KEY", key, key},
	} {
		for _, environ := range [][]string{development(t), production(t)} {
			p := only(t, tt.second, append(environ, tt.first+"="+tt.got, tt.second+"="+tt.environ))
			if want := (Problem{tt.second, "the value of " + tt.first, "a value of its own"}); p != want {
				t.Errorf("got %v, want %v", p, want)
			}
			mustNotShow(t, p.String(), tt.got)
			mustNotShow(t, p.String(), string(decoded))
		}
	}
}

// A wrong value is one problem, which says also what production asks.
func TestWrongInProduction(t *testing.T) {
	for name, want := range map[string]string{
		"PASSWORD_MIN_LENGTH": "a whole number from 8 to 128; in production at least 12",
		"MFA_REQUIRED":        "true, false, 1 or 0; in production true",
		"JWT_SECRET":          "at least 32 bytes; in production it must be set, and be no known sample value",
	} {
		if p := only(t, name, production(t, name+"=7")); p.Want != want {
			t.Errorf("%s takes %s, want %s", name, p.Want, want)
		}
	}
}

func TestBootstrapTokenIsOptional(t *testing.T) {
	for _, environ := range [][]string{development(t), production(t)} {
		if s := mustParse(t, environ).Secrets.Bootstrap; s.IsSet() {
			t.Error(s.Source())
		}
	}
}
