package config

import (
	"bytes"
	"encoding/base64"
	"encoding/gob"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

const hidden = "correct-battery-7Hq2zXw9-never-to-be-seen"

// named is a struct for XML, which takes no other.
type named struct{ S Secret }

func TestSecretIsNeverPrinted(t *testing.T) {
	s := NewSecret([]byte(hidden))
	inside := struct {
		Open   Secret
		closed Secret
		point  *Secret
		list   []Secret
		anyOf  any
	}{s, s, &s, []Secret{s}, s}
	var out strings.Builder
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%t", "%U", "%c", "%10.3s", "%p"} {
		for _, value := range []any{s, &s, inside, &inside, []Secret{s}, map[string]Secret{"a": s}} {
			fmt.Fprintf(&out, verb+"\n", value)
		}
	}
	out.WriteString(fmt.Sprint(s, inside) + s.String() + s.GoString())
	fmt.Fprintln(&out, fmt.Errorf("wrapped: %v", s), reflect.ValueOf(s), reflect.ValueOf(inside))
	for _, handler := range []slog.Handler{slog.NewTextHandler(&out, nil), slog.NewJSONHandler(&out, nil)} {
		slog.New(handler).Info("secret", "s", s, "p", &s, "in", inside, "group", slog.GroupValue(slog.Any("s", s)))
	}
	for _, value := range []any{s, &s, inside, map[string]any{"s": s}} {
		if err := json.NewEncoder(&out).Encode(value); err != nil {
			t.Error(err)
		}
	}
	if err := xml.NewEncoder(&out).Encode(named{s}); err != nil {
		t.Error(err)
	}
	_ = gob.NewEncoder(&out).Encode(s) // refused or redacted, either will do
	mustNotShow(t, out.String(), hidden)
	for _, want := range []string{`"S":"[redacted]"`, "s=[redacted]", `"Open":"[redacted]"`} {
		if !strings.Contains(strings.ReplaceAll(out.String(), `"s":`, `"S":`), want) {
			t.Errorf("%s is not in what was printed:\n%s", want, out.String())
		}
	}
}

// mustNotShow looks for a secret in the forms in which printing gives bytes.
func mustNotShow(t *testing.T, out, secret string) {
	t.Helper()
	numbers := fmt.Sprint([]byte(secret)) //nolint:staticcheck // the numbers are meant
	for _, form := range []string{secret, fmt.Sprintf("%x", secret), fmt.Sprintf("%X", secret), numbers[1 : len(numbers)-1]} {
		if strings.Contains(out, form) {
			t.Errorf("a secret is shown:\n%s", out)
		}
	}
}

func TestConfigIsNeverPrintedWithSecrets(t *testing.T) {
	secrets := map[string]string{
		"DATABASE_URL":      "postgres://sealpost:pw-8d1f0c77@db.example/sealpost?sslmode=verify-full",
		"ALERT_WEBHOOK_URL": "https://hooks.example/services/T0/B0/tok-55aa01",
		"OPENAI_API_KEY":    "sk-live-66bb02",

		"ALERT_WEBHOOK_SECRET": "whsec_" + randomKey(),
	}
	for _, v := range Variables() {
		if v.Section == "Secrets" && v.Secret {
			secrets[v.Name] = randomKey()
		}
	}
	environ := production(t)
	for name, value := range secrets {
		environ = append(environ, name+"="+value)
	}
	c, warnings, err := Load(environ)
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x"} {
		fmt.Fprintf(&out, verb+verb+verb, c, *c, c.Secrets)
	}
	if err := json.NewEncoder(&out).Encode(c); err != nil {
		t.Error(err)
	}
	for _, handler := range []slog.Handler{slog.NewTextHandler(&out, nil), slog.NewJSONHandler(&out, nil)} {
		slog.New(handler).Info("config", "c", c, "value", *c, "secrets", c.Secrets, "alert", c.Dispatch.Alert)
	}
	fmt.Fprint(&out, warnings)
	for name, value := range secrets {
		mustNotShow(t, out.String(), value)
		if key, err := base64Key(strings.TrimPrefix(value, "whsec_"), false); err == nil {
			mustNotShow(t, out.String(), string(key))
		}
		if name == "DATABASE_URL" {
			mustNotShow(t, out.String(), "pw-8d1f0c77")
		}
	}
}

// Whatever is wrong with a secret, the problem does not show it.
func TestProblemsShowNoSecret(t *testing.T) {
	file := filepath.Join(t.TempDir(), "secret")
	for _, v := range Variables() {
		if !v.Secret {
			continue
		}
		for _, text := range []string{
			hidden, " " + hidden, hidden + "\n", hidden + "\x00", hidden + "é", hidden[:9], "sqlite:", "postgres://u:" + hidden + "@h:port/db",
			"postgres://u:" + hidden + "/@h/db", "postgres://u:p@h/db?sslmode=" + hidden, "postgres://h/db?" + hidden,
			"postgres://h/db?" + hidden + "=1&port=x", "postgres://u:" + hidden + "%zz@h/db", "https://u:" + hidden + "@h/", "https://" + hidden + ":x/",
			"://" + hidden, "http://h/" + hidden, "http://h/#" + hidden,
		} {
			if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			for _, environ := range [][]string{
				development(t, v.Name+"="+text), production(t, v.Name+"="+text), development(t, v.Name+"_FILE="+text),
				development(t, v.Name+"_FILE="+file), development(t, v.Name+"_FILE="+file, v.Name+"="+text),
			} {
				_, warnings, err := Parse(environ)
				out := fmt.Sprint(warnings, err)
				for _, part := range []string{hidden[:9], hidden[9:], "never-to"} {
					if strings.Contains(out, part) {
						t.Errorf("%s=%q: %s", v.Name, text, out)
					}
				}
			}
		}
	}
}

func TestSecretWithoutValue(t *testing.T) {
	var s Secret
	if s.IsSet() || s.Reveal() != nil || s.Source().Kind != Unset || s.Source().String() != "unset" || fmt.Sprint(s) != "[unset]" {
		t.Errorf("the zero secret is not unset: %v %v", s, s.Source())
	}
	if next, changed, err := s.Reload(); next.IsSet() || changed || err != nil {
		t.Error(next, changed, err)
	}
	if !s.Equal(Secret{}) || s.Equal(NewSecret(nil)) || NewSecret(nil).Equal(s) {
		t.Error("unset is equal to unset only")
	}
}

func TestSecretKeepsItsOwnBytes(t *testing.T) {
	given := []byte("value")
	s := NewSecret(given)
	given[0] = 'X'
	s.Reveal()[1] = 'X'
	if !bytes.Equal(s.Reveal(), []byte("value")) {
		t.Errorf("a secret was changed from outside: %s", s.Reveal())
	}
	if !s.Equal(NewSecret([]byte("value"))) || s.Equal(NewSecret([]byte("valuE"))) {
		t.Error("Equal compares something else than values")
	}
	if s.Source() != (Source{Kind: Given}) {
		t.Error(s.Source())
	}
}

func TestSigningSecretOfStandardWebhooks(t *testing.T) {
	of := func(n int) string {
		return "whsec_" + base64.StdEncoding.EncodeToString([]byte(strings.Repeat("k", n)))
	}
	for text, want := range map[string]string{
		of(24): "", of(64): "", of(23): "base64 of 23 bytes", of(65): "base64 of 65 bytes",
		strings.TrimPrefix(of(32), "whsec_"): "do not begin with whsec_", "whsec_" + strings.Repeat("-", 32): "not base64", "whsec_": "base64 of 0 bytes",
		"WHSEC_" + strings.TrimPrefix(of(32), "whsec_"): "do not begin with whsec_",
	} {
		key, err := signingSecret(text, true)
		if want == "" && (err != nil || strings.Trim(string(key), "k") != "") || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%d characters: %v, want %q", len(text), err, want)
		}
	}
}
