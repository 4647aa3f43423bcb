package config

import (
	"encoding/base64"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// production gives the smallest environment that passes the gate, then what a test adds to it. A later
// entry of a name wins over an earlier one.
func production(t *testing.T, more ...string) []string {
	t.Helper()
	return append([]string{
		"NODE_ENV=production",
		"DATA_DIR=" + t.TempDir(),
		"JWT_SECRET=" + randomKey(),
		"DATA_ENCRYPTION_KEY=" + randomKey(),
		"AUDIT_SIGNING_KEY=" + randomKey(),
	}, more...)
}

// development gives an environment with a data directory of its own.
func development(t *testing.T, more ...string) []string {
	t.Helper()
	return append([]string{"DATA_DIR=" + t.TempDir()}, more...)
}

func mustParse(t *testing.T, environ []string) *Config {
	t.Helper()
	c, _, err := Parse(environ)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// problemsOf gives the problems of an environment, which must have some.
func problemsOf(t *testing.T, environ []string) Problems {
	t.Helper()
	c, _, err := Parse(environ)
	problems, ok := errors.AsType[Problems](err)
	if !ok || c != nil {
		t.Fatalf("got config %v and error %v, want problems alone", c, err)
	}
	return problems
}

// only gives the one problem that an environment must have, which must be of one variable.
func only(t *testing.T, variable string, environ []string) Problem {
	t.Helper()
	problems := problemsOf(t, environ)
	if len(problems) != 1 || problems[0].Variable != variable {
		t.Fatalf("got %v, want one problem, of %s", problems, variable)
	}
	return problems[0]
}

// plainView is the part of a Config that can be compared.
type plainView struct {
	Env, Host, PublicURL, DataDir, DatabaseURL, OTLP         string
	Port, RotationMaxAgeDays                                 int
	TLS                                                      TLS
	TrustedProxies, AllowedNetworks                          []string
	Audit                                                    Audit
	Auth                                                     Auth
	AI                                                       AI
	MaxAttempts, Concurrency, EndpointConcurrency            int
	Backoff, Timeout, AlertWindow, AlertCooldown, AlertQueue time.Duration
	AlertThreshold, PayloadRetentionDays                     int
	AlertWebhook, AlertSecret                                string
	AllowPrivateNetworks                                     bool
}

func view(c *Config) plainView {
	d := c.Dispatch
	return plainView{
		Env: c.Env, Host: c.Host, PublicURL: c.PublicURL.String(), DataDir: c.DataDir,
		DatabaseURL: string(c.DatabaseURL.Reveal()), OTLP: c.OTLPEndpoint, Port: c.Port,
		RotationMaxAgeDays: c.RotationMaxAgeDays, TLS: c.TLS,
		TrustedProxies: words(c.TrustedProxies), AllowedNetworks: words(d.AllowedNetworks),
		Audit: c.Audit, Auth: c.Auth, AI: c.AI,
		MaxAttempts: d.MaxAttempts, Concurrency: d.Concurrency, EndpointConcurrency: d.EndpointConcurrency,
		Backoff: d.Backoff, Timeout: d.Timeout, AlertWindow: d.Alert.Window, AlertCooldown: d.Alert.Cooldown, AlertQueue: d.Alert.Queue,
		AlertThreshold: d.Alert.Threshold, PayloadRetentionDays: d.PayloadRetentionDays,
		AlertWebhook: string(d.Alert.WebhookURL.Reveal()), AlertSecret: string(d.Alert.WebhookSecret.Reveal()), AllowPrivateNetworks: d.AllowPrivateNetworks,
	}
}

func words(list []netip.Prefix) []string {
	var out []string
	for _, p := range list {
		out = append(out, p.String())
	}
	return out
}

func defaults() plainView {
	return plainView{
		Env: "development", Host: "127.0.0.1", Port: 4000, PublicURL: "http://localhost:4000",
		DataDir: "./data", DatabaseURL: "sqlite:data/sealpost.db", RotationMaxAgeDays: 90,
		Audit: Audit{CheckpointEvery: time.Second, RetentionDays: 2555},
		Auth: Auth{
			AllowDevLogin: true, MFARequired: false, PasswordMinLength: 12,
			AccessTTL: 12 * time.Hour, SignInTTL: 168 * time.Hour, ReauthMaxAge: 15 * time.Minute,
			Login:   Throttle{5 * time.Minute, 8, 15 * time.Minute},
			Refresh: Throttle{time.Minute, 20, 5 * time.Minute},
		},
		AI:          AI{BaseURL: "https://api.openai.com/v1", Model: "gpt-4.1-mini"},
		MaxAttempts: 12, Backoff: 15 * time.Second, Timeout: 30 * time.Second,
		Concurrency: 256, EndpointConcurrency: 16,
		AlertThreshold: 5, AlertWindow: time.Hour, AlertCooldown: 30 * time.Minute, AlertQueue: 15 * time.Minute,
		AllowPrivateNetworks: true,
	}
}

func TestDefaults(t *testing.T) {
	if diff := cmp.Diff(defaults(), view(mustParse(t, nil))); diff != "" {
		t.Errorf("development (-want +got):\n%s", diff)
	}

	want := defaults()
	want.Env = "test"
	if diff := cmp.Diff(want, view(mustParse(t, []string{"NODE_ENV=test"}))); diff != "" {
		t.Errorf("test (-want +got):\n%s", diff)
	}

	c := mustParse(t, production(t))
	want = defaults()
	want.Env, want.DataDir, want.DatabaseURL = "production", c.DataDir, "sqlite:"+c.DataDir+"/sealpost.db"
	want.Auth.AllowDevLogin, want.Auth.MFARequired, want.AllowPrivateNetworks = false, true, false
	if diff := cmp.Diff(want, view(c)); diff != "" {
		t.Errorf("production (-want +got):\n%s", diff)
	}
	if !c.Production() || mustParse(t, nil).Production() {
		t.Error("Production does not tell production from development")
	}
}

func TestEveryVariableIsRead(t *testing.T) {
	c := mustParse(t, []string{
		"NODE_ENV=test", "HOST=::", "PORT=8443", "PUBLIC_URL=https://Seal.Example:443/",
		"TRUSTED_PROXIES=10.0.0.0/8, 192.0.2.7", "DATA_DIR=/srv/sealpost", "DATABASE_URL=sqlite:/srv/a.db",
		"AUDIT_CHECKPOINT_SECONDS=2", "AUDIT_CHECKPOINT_DIR=/mnt/witness", "AUDIT_WITNESS_URLS=https://a.example/, https://b.example/w " + witnessKey,
		"ALLOW_DEV_LOGIN=0", "MFA_REQUIRED=1", "PASSWORD_MIN_LENGTH=14", "SESSION_TTL_HOURS=3",
		"REFRESH_TOKEN_TTL_HOURS=4", "REAUTH_MAX_AGE_MINUTES=5", "AUTH_LOGIN_WINDOW_SECONDS=6",
		"AUTH_LOGIN_MAX_ATTEMPTS=7", "AUTH_LOGIN_BLOCK_SECONDS=8", "AUTH_REFRESH_WINDOW_SECONDS=9",
		"AUTH_REFRESH_MAX_ATTEMPTS=10", "AUTH_REFRESH_BLOCK_SECONDS=11", "AUDIT_RETENTION_DAYS=0", "AUDIT_RETENTION_EVERY_DAYS=7",
		"SECRET_ROTATION_MAX_AGE_DAYS=13", "OPENAI_BASE_URL=http://ollama:11434/v1/", "OPENAI_MODEL=llama3.2:3b",
		"DISPATCH_MAX_ATTEMPTS=14", "DISPATCH_BACKOFF_MS=15", "DISPATCH_TIMEOUT_SECONDS=16",
		"DISPATCH_CONCURRENCY=17", "DISPATCH_ENDPOINT_CONCURRENCY=18", "DISPATCH_DEAD_LETTER_ALERT_THRESHOLD=19",
		"DISPATCH_DEAD_LETTER_ALERT_WINDOW_MINUTES=20", "DISPATCH_DEAD_LETTER_ALERT_COOLDOWN_MINUTES=21",
		"DISPATCH_QUEUE_ALERT_MINUTES=23", "ALERT_WEBHOOK_SECRET=whsec_" + base64.StdEncoding.EncodeToString([]byte("twenty-four bytes of text")),
		"ALERT_WEBHOOK_URL=http://chat.example/hook?token=abc", "DISPATCH_PAYLOAD_RETENTION_DAYS=22",
		"DISPATCH_ALLOW_PRIVATE_NETWORKS=false", "DISPATCH_ALLOWED_NETWORKS=fd00::/8",
		"OTEL_EXPORTER_OTLP_ENDPOINT=http://localhost:4318",
	})
	want := plainView{
		Env: "test", Host: "::", Port: 8443, PublicURL: "https://seal.example",
		TrustedProxies: []string{"10.0.0.0/8", "192.0.2.7/32"}, DataDir: "/srv/sealpost", DatabaseURL: "sqlite:/srv/a.db",
		Audit: Audit{2 * time.Second, "/mnt/witness", []Witness{{URL: "https://a.example"}, {URL: "https://b.example/w", Key: witnessKey}}, 0, 7},
		Auth: Auth{
			false, true, 14, 3 * time.Hour, 4 * time.Hour, 5 * time.Minute,
			Throttle{6 * time.Second, 7, 8 * time.Second},
			Throttle{9 * time.Second, 10, 11 * time.Second},
		},
		RotationMaxAgeDays: 13, AI: AI{"http://ollama:11434/v1", "llama3.2:3b"},
		MaxAttempts: 14, Backoff: 15 * time.Millisecond, Timeout: 16 * time.Second,
		Concurrency: 17, EndpointConcurrency: 18, AlertThreshold: 19, AlertWindow: 20 * time.Minute,
		AlertCooldown: 21 * time.Minute, AlertQueue: 23 * time.Minute, AlertWebhook: "http://chat.example/hook?token=abc", AlertSecret: "twenty-four bytes of text", PayloadRetentionDays: 22,
		AllowedNetworks: []string{"fd00::/8"}, OTLP: "http://localhost:4318",
	}
	if diff := cmp.Diff(want, view(c)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestSecretsAreRead(t *testing.T) {
	values := map[string]string{}
	environ := development(t)
	for _, v := range Variables() {
		if v.Secret && v.Section == "Secrets" {
			values[v.Name] = randomKey()
			environ = append(environ, v.Name+"="+values[v.Name])
		}
	}
	environ = append(environ, "OPENAI_API_KEY=sk-1")
	s := mustParse(t, environ).Secrets
	for name, got := range map[string]Secret{"JWT_SECRET": s.JWT, "JWT_SECRET_PREVIOUS": s.JWTPrevious, "BOOTSTRAP_TOKEN": s.Bootstrap} {
		if string(got.Reveal()) != values[name] || got.Source().String() != "environment" {
			t.Errorf("%s is not the text that was given", name)
		}
	}
	for name, got := range map[string]Secret{
		"DATA_ENCRYPTION_KEY": s.Data, "DATA_ENCRYPTION_KEY_PREVIOUS": s.DataPrevious,
		"AUDIT_SIGNING_KEY": s.Audit, "AUDIT_SIGNING_KEY_PREVIOUS": s.AuditPrevious,
	} {
		if want, _ := base64Key(values[name], false); !slices.Equal(got.Reveal(), want) || len(want) != 32 {
			t.Errorf("%s is not the 32 bytes that base64 held", name)
		}
	}
	if string(s.OpenAI.Reveal()) != "sk-1" {
		t.Error("OPENAI_API_KEY is not what was given")
	}
}

func TestEmptyIsUnset(t *testing.T) {
	var environ []string
	for _, v := range Variables() {
		environ = append(environ, v.Name+"=")
		if v.Secret {
			environ = append(environ, v.Name+"_FILE=")
		}
	}
	environ = append(environ, "CREDENTIALS_DIRECTORY=")
	c, warnings, err := Parse(environ)
	if err != nil || len(warnings) > 0 {
		t.Fatal(err, warnings)
	}
	if diff := cmp.Diff(defaults(), view(c)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestAllProblemsAtOnce(t *testing.T) {
	problems := problemsOf(t, []string{
		"PORT=0", "ALLOW_DEV_LOGIN=yes", "NODE_ENV=prod", "JWT_SECRET=short", "DATABASE_URL=mysql://u:hunter2@h/db",
		"TRUSTED_PROXIES=10.1.2.3/8", "SESSION_TTL_HOURS=12h", "DISPATCH_BACKOFF_MS=1.5",
	})
	want := Problems{ // in the reference's order, whatever the environment's was
		{"NODE_ENV", `"prod"`, "development, test or production"},
		{"PORT", `"0"`, "a whole number from 1 to 65535"},
		{
			"TRUSTED_PROXIES", `"10.1.2.3/8" (10.1.2.3/8 has bits behind its prefix; the network is 10.0.0.0/8)`,
			"CIDRs or single addresses with commas between them, such as 10.0.0.0/8,192.0.2.7",
		},
		{
			"DATABASE_URL", "22 bytes that begin neither with sqlite: nor with postgres://",
			"sqlite:PATH, or a postgres:// URL, which may name several hosts",
		},
		{"JWT_SECRET", "5 bytes", "at least 32 bytes"},
		{"ALLOW_DEV_LOGIN", `"yes"`, "true, false, 1 or 0"},
		{"SESSION_TTL_HOURS", `"12h"`, "a whole number of hours from 1 to 720"},
		{"DISPATCH_BACKOFF_MS", `"1.5"`, "a whole number of milliseconds from 1 to 3600000"},
	}
	if diff := cmp.Diff(want, problems); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	lines := strings.Split(problems.Error(), "\n")
	if len(lines) != 9 || lines[0] != "8 problems in the configuration:" || lines[5] != "  JWT_SECRET: got 5 bytes; takes at least 32 bytes" {
		t.Errorf("got %q", lines)
	}
	if one := problems[:1].Error(); !strings.HasPrefix(one, "1 problem in") {
		t.Errorf("got %q", one)
	}
}
