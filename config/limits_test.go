package config

import (
	"strconv"
	"strings"
	"testing"
)

// The limits of every number, as they are documented. That the table below holds every number is
// checked against what the variables themselves say they take.
var limits = []struct {
	name      string
	low, high int
}{
	{"PORT", 1, 65535},
	{"SECRET_ROTATION_MAX_AGE_DAYS", 1, 365},
	{"AUDIT_CHECKPOINT_SECONDS", 1, 3600},
	{"AUDIT_RETENTION_DAYS", 0, 36500},
	{"AUDIT_RETENTION_EVERY_DAYS", 0, 365},
	{"PASSWORD_MIN_LENGTH", 8, 128},
	{"SESSION_TTL_HOURS", 1, 720},
	{"REFRESH_TOKEN_TTL_HOURS", 1, 8760},
	{"REAUTH_MAX_AGE_MINUTES", 1, 1440},
	{"AUTH_LOGIN_WINDOW_SECONDS", 1, 86400},
	{"AUTH_LOGIN_MAX_ATTEMPTS", 1, 100000},
	{"AUTH_LOGIN_BLOCK_SECONDS", 1, 86400},
	{"AUTH_REFRESH_WINDOW_SECONDS", 1, 86400},
	{"AUTH_REFRESH_MAX_ATTEMPTS", 1, 100000},
	{"AUTH_REFRESH_BLOCK_SECONDS", 1, 86400},
	{"DISPATCH_MAX_ATTEMPTS", 1, 1000},
	{"DISPATCH_BACKOFF_MS", 1, 3600000},
	{"DISPATCH_TIMEOUT_SECONDS", 1, 600},
	{"DISPATCH_CONCURRENCY", 1, 10000},
	{"DISPATCH_ENDPOINT_CONCURRENCY", 1, 10000},
	{"DISPATCH_DEAD_LETTER_ALERT_THRESHOLD", 1, 1000000},
	{"DISPATCH_DEAD_LETTER_ALERT_WINDOW_MINUTES", 1, 10080},
	{"DISPATCH_DEAD_LETTER_ALERT_COOLDOWN_MINUTES", 0, 10080},
	{"DISPATCH_QUEUE_ALERT_MINUTES", 1, 10080},
	{"DISPATCH_PAYLOAD_RETENTION_DAYS", 0, 36500},
}

func TestLimitsAtTheirEdges(t *testing.T) {
	documented := map[string]string{}
	for _, v := range Variables() {
		if strings.HasPrefix(v.Takes, "a whole number") {
			documented[v.Name] = v.Takes
		}
	}
	for _, l := range limits {
		t.Run(l.name, func(t *testing.T) {
			if want := " from " + strconv.Itoa(l.low) + " to " + strconv.Itoa(l.high); !strings.HasSuffix(documented[l.name], want) {
				t.Errorf("documented as %q, want …%q", documented[l.name], want)
			}
			delete(documented, l.name)
			for _, n := range []int{l.low, l.high} {
				mustParse(t, []string{"NODE_ENV=test", l.name + "=" + strconv.Itoa(n)})
			}
			for _, n := range []int{l.low - 1, l.high + 1} {
				only(t, l.name, []string{"NODE_ENV=test", l.name + "=" + strconv.Itoa(n)})
			}
		})
	}
	for name := range documented {
		t.Errorf("%s has limits that are not tested", name)
	}
}

func TestParseNumber(t *testing.T) {
	for _, text := range []string{"", "+5", "05", "5.0", "5e0", "0x5", "5_0", "5s", "five", "٥", " 5", "5 ", "-0", "99999999999999999999"} {
		if n, err := parseNumber(text, 0, 100); err == nil {
			t.Errorf("%q was taken as %d", text, n)
		}
	}
	if n, err := parseNumber("5", 5, 5); n != 5 || err != nil {
		t.Error(n, err)
	}
}

func TestParseFlag(t *testing.T) {
	for text, want := range map[string]bool{"true": true, "1": true, "false": false, "0": false} {
		if got, err := parseFlag(text); got != want || err != nil {
			t.Errorf("%q: %t, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "TRUE", "True", "t", "yes", "on", "no", "off", "10", "01", " true", "true\n", "false "} {
		if _, err := parseFlag(text); err == nil {
			t.Errorf("%q was taken", text)
		}
	}
}

func TestUncleanValuesAreRefused(t *testing.T) {
	for name, tt := range map[string]struct{ text, got string }{
		"space before":    {" 4000", `" 4000" (white space around the value)`},
		"space behind":    {"4000 ", `"4000 " (white space around the value)`},
		"only space":      {"  ", `"  " (white space around the value)`},
		"no-break space":  {"\u00a04000", `"\u00a04000" (white space around the value)`},
		"newline":         {"4000\n", "5 bytes (white space around the value)"},
		"carriage return": {"40\r00", "5 bytes (a control character in the value)"},
		"zero-width":      {"40\u200b00", `"40\u200b00" (a control character in the value)`},
		"not UTF-8":       {"40\xff", "3 bytes (bytes that are not UTF-8)"},
	} {
		t.Run(name, func(t *testing.T) {
			if p := only(t, "PORT", []string{"PORT=" + tt.text}); p.Got != tt.got {
				t.Errorf("got %s, want %s", p.Got, tt.got)
			}
		})
	}
	long := only(t, "OPENAI_MODEL", []string{"OPENAI_MODEL=" + strings.Repeat("x", 201)})
	if want := `"` + strings.Repeat("x", 60) + `"…`; long.Got != want {
		t.Errorf("got %s, want %s", long.Got, want)
	}
	only(t, "OPENAI_MODEL", []string{"OPENAI_MODEL=a b"})
}

func TestRetentionOfNoDays(t *testing.T) {
	p := only(t, "AUDIT_RETENTION_DAYS", []string{"AUDIT_RETENTION_DAYS=0"})
	if p.Want != "at least 1; 0 only in NODE_ENV=test" {
		t.Error(p)
	}
	mustParse(t, []string{"AUDIT_RETENTION_DAYS=0", "NODE_ENV=test"})
	only(t, "AUDIT_RETENTION_DAYS", production(t, "AUDIT_RETENTION_DAYS=0"))
}
