package config

import (
	"net/netip"
	"strings"
	"time"
)

// secret is a variable for a value that is never printed.
func secret(name string, kind *secretKind, takes, def string, at func(*Config) *Secret, about string) variable {
	return variable{
		Variable: Variable{Name: name, Takes: takes, Default: def, About: about, Secret: true},
		kind:     kind,
		place:    at,
	}
}

// defaultsTo gives a variable a default that depends on what was read before it.
func defaultsTo(v variable, text func(*Config) string) variable {
	v.fallback = text
	return v
}

const (
	takesKey     = "standard base64 of exactly 32 bytes"
	takesText    = "at least 32 bytes"
	keptInDev    = "generated into DATA_DIR outside production"
	takesBaseURL = "an https:// URL without user, query or fragment; outside production also http://"
	aboutPrev    = "The one before, during a planned rotation; "
)

// sections is the table of all variables, in the order in which they are read and shown. NODE_ENV
// decides defaults, PORT is in the default of PUBLIC_URL and DATA_DIR in that of DATABASE_URL and in
// the place of generated secrets, so these come before what needs them.
var sections = []section{
	{"Server", []variable{
		oneOf("NODE_ENV", Development, []string{Development, Test, Production},
			func(c *Config) *string { return &c.Env }, "What this installation is; production refuses what the runbook forbids."),
		text("HOST", "127.0.0.1", "an address or a host name", func(c *Config) *string { return &c.Host }, checkHost,
			"The address to listen on; 0.0.0.0 or :: for all."),
		number("PORT", 4000, 1, 65535, func(c *Config) *int { return &c.Port }, "The port to listen on."),
		publicURL("How browsers reach it: token issuer, WebAuthn relying party, log origin, links."),
		text("TLS_CERT_FILE", "", "the path of a PEM file", func(c *Config) *string { return &c.TLS.CertFile }, nil,
			"The certificate chain of the server's own TLS, read again when it changes."),
		text("TLS_KEY_FILE", "", "the path of a PEM file", func(c *Config) *string { return &c.TLS.KeyFile }, nil,
			"The private key of that certificate."),
		networks("TRUSTED_PROXIES", func(c *Config) *[]netip.Prefix { return &c.TrustedProxies },
			"Whose X-Forwarded-* is believed; from everyone else they are ignored."),
	}},
	{"Storage", []variable{
		text("DATA_DIR", "./data", "the path of a directory", func(c *Config) *string { return &c.DataDir }, nil,
			"Where the SQLite database and generated secrets are."),
		defaultsTo(secret("DATABASE_URL", &databaseURL, "sqlite:PATH, or a postgres:// URL, which may name several hosts",
			"sqlite:DATA_DIR/sealpost.db", func(c *Config) *Secret { return &c.DatabaseURL },
			"The database; a secret because it may hold a password."), defaultDatabase),
	}},
	{"Secrets", []variable{
		secret("JWT_SECRET", &signingText, takesText, keptInDev, func(c *Config) *Secret { return &c.Secrets.JWT },
			"Signs access tokens (HS256)."),
		secret("JWT_SECRET_PREVIOUS", &previousText, takesText, "", func(c *Config) *Secret { return &c.Secrets.JWTPrevious },
			aboutPrev+"verifies until its tokens have expired."),
		secret("DATA_ENCRYPTION_KEY", &key32, takesKey, keptInDev, func(c *Config) *Secret { return &c.Secrets.Data },
			"Encrypts TOTP secrets, endpoint credentials and payloads at rest."),
		secret("DATA_ENCRYPTION_KEY_PREVIOUS", &previousKey, takesKey, "", func(c *Config) *Secret { return &c.Secrets.DataPrevious },
			aboutPrev+"decrypts what is not yet encrypted anew."),
		secret("AUDIT_SIGNING_KEY", &key32, takesKey, keptInDev, func(c *Config) *Secret { return &c.Secrets.Audit },
			"The Ed25519 seed that signs checkpoints; never in the database."),
		secret("AUDIT_SIGNING_KEY_PREVIOUS", &previousKey, takesKey, "", func(c *Config) *Secret { return &c.Secrets.AuditPrevious },
			aboutPrev+"verifies the checkpoints that it signed."),
		secret("BOOTSTRAP_TOKEN", &headerToken, "at least 16 printable characters without white space", "generated into DATA_DIR in production",
			func(c *Config) *Secret { return &c.Secrets.Bootstrap },
			"In production, what register-first needs in X-Bootstrap-Token when it does not come straight from loopback."),
		number("SECRET_ROTATION_MAX_AGE_DAYS", 90, 1, 365, func(c *Config) *int { return &c.RotationMaxAgeDays },
			"How old a secret in use may be."),
	}},
	{"Audit", []variable{
		span("AUDIT_CHECKPOINT_SECONDS", 1, 1, 3600, seconds, func(c *Config) *time.Duration { return &c.Audit.CheckpointEvery },
			"How often at most a checkpoint is signed."),
		text("AUDIT_CHECKPOINT_DIR", "", "the path of a directory", func(c *Config) *string { return &c.Audit.CheckpointDir }, nil,
			"Where checkpoints are copied to, best on another machine."),
		witnesses("AUDIT_WITNESS_URLS", func(c *Config) *[]Witness { return &c.Audit.Witnesses },
			"Witnesses that cosign checkpoints (C2SP tlog-witness). Only one whose key is given counts."),
		number("AUDIT_RETENTION_DAYS", 2555, 0, 36500, func(c *Config) *int { return &c.Audit.RetentionDays },
			"How long audit events are kept; 0 only in NODE_ENV=test."),
		number("AUDIT_RETENTION_EVERY_DAYS", 0, 0, 365, func(c *Config) *int { return &c.Audit.RetentionEvery },
			"How often the server enforces retention by itself; 0: an operator does."),
	}},
	{"Sign-in", []variable{
		flag("ALLOW_DEV_LOGIN", true, false, func(c *Config) *bool { return &c.Auth.AllowDevLogin },
			"Whether dev-login signs anybody in without a password."),
		flag("MFA_REQUIRED", false, true, func(c *Config) *bool { return &c.Auth.MFARequired },
			"Whether every account must have a second factor."),
		number("PASSWORD_MIN_LENGTH", 12, 8, 128, func(c *Config) *int { return &c.Auth.PasswordMinLength },
			"The least length of a password, in characters."),
		span("SESSION_TTL_HOURS", 12, 1, 720, hours, func(c *Config) *time.Duration { return &c.Auth.AccessTTL },
			"Life of an access token."),
		span("REFRESH_TOKEN_TTL_HOURS", 168, 1, 8760, hours, func(c *Config) *time.Duration { return &c.Auth.SignInTTL },
			"Life of a sign-in."),
		span("REAUTH_MAX_AGE_MINUTES", 15, 1, 1440, minutes, func(c *Config) *time.Duration { return &c.Auth.ReauthMaxAge },
			"How fresh a sign-in the guarded actions need."),
		span("AUTH_LOGIN_WINDOW_SECONDS", 300, 1, 86400, seconds, func(c *Config) *time.Duration { return &c.Auth.Login.Window },
			"The time in which failed sign-ins are counted."),
		number("AUTH_LOGIN_MAX_ATTEMPTS", 8, 1, 100000, func(c *Config) *int { return &c.Auth.Login.MaxAttempts },
			"How many there may be of an account, and of a device that has signed in to it before; ten times as many of a network."),
		span("AUTH_LOGIN_BLOCK_SECONDS", 900, 1, 86400, seconds, func(c *Config) *time.Duration { return &c.Auth.Login.Block },
			"How long sign-in is then refused."),
		span("AUTH_REFRESH_WINDOW_SECONDS", 60, 1, 86400, seconds, func(c *Config) *time.Duration { return &c.Auth.Refresh.Window },
			"The same for refresh: the time in which attempts are counted."),
		number("AUTH_REFRESH_MAX_ATTEMPTS", 20, 1, 100000, func(c *Config) *int { return &c.Auth.Refresh.MaxAttempts },
			"How many there may be."),
		span("AUTH_REFRESH_BLOCK_SECONDS", 300, 1, 86400, seconds, func(c *Config) *time.Duration { return &c.Auth.Refresh.Block },
			"How long refresh is then refused."),
	}},
	{"AI", []variable{
		secret("OPENAI_API_KEY", &apiKey, "printable characters without white space", "", func(c *Config) *Secret { return &c.Secrets.OpenAI },
			"The key of an OpenAI-compatible server; AI is off without it."),
		serverURL("OPENAI_BASE_URL", "https://api.openai.com/v1", func(c *Config) *string { return &c.AI.BaseURL },
			"That server, with the path before /chat/completions."),
		text("OPENAI_MODEL", "gpt-4.1-mini", "a model's name, at most 200 bytes without white space", func(c *Config) *string { return &c.AI.Model },
			checkModel, "The model to ask."),
	}},
	{"Dispatch", []variable{
		number("DISPATCH_MAX_ATTEMPTS", 12, 1, 1000, func(c *Config) *int { return &c.Dispatch.MaxAttempts },
			"How often a job is tried before it is a dead letter."),
		span("DISPATCH_BACKOFF_MS", 15000, 1, 3600000, milliseconds, func(c *Config) *time.Duration { return &c.Dispatch.Backoff },
			"The base of the exponential backoff, which is capped at one hour."),
		span("DISPATCH_TIMEOUT_SECONDS", 30, 1, 600, seconds, func(c *Config) *time.Duration { return &c.Dispatch.Timeout },
			"How long one attempt may take."),
		number("DISPATCH_CONCURRENCY", 256, 1, 10000, func(c *Config) *int { return &c.Dispatch.Concurrency },
			"How many attempts may be in flight in all."),
		number("DISPATCH_ENDPOINT_CONCURRENCY", 16, 1, 10000, func(c *Config) *int { return &c.Dispatch.EndpointConcurrency },
			"How many of them at one endpoint."),
		number("DISPATCH_DEAD_LETTER_ALERT_THRESHOLD", 5, 1, 1000000, func(c *Config) *int { return &c.Dispatch.Alert.Threshold },
			"How many dead letters make an alert."),
		span("DISPATCH_DEAD_LETTER_ALERT_WINDOW_MINUTES", 60, 1, 10080, minutes, func(c *Config) *time.Duration { return &c.Dispatch.Alert.Window },
			"The time in which they are counted."),
		span("DISPATCH_DEAD_LETTER_ALERT_COOLDOWN_MINUTES", 30, 0, 10080, minutes, func(c *Config) *time.Duration { return &c.Dispatch.Alert.Cooldown },
			"How long there is then no other alert, of each kind."),
		span("DISPATCH_QUEUE_ALERT_MINUTES", 15, 1, 10080, minutes, func(c *Config) *time.Duration { return &c.Dispatch.Alert.Queue },
			"For how long jobs may be due before there is an alert."),
		secret("ALERT_WEBHOOK_URL", &webhookURL, "an https:// URL; outside production also http://", "",
			func(c *Config) *Secret { return &c.Dispatch.Alert.WebhookURL }, "Where alerts are posted."),
		secret("ALERT_WEBHOOK_SECRET", &webhookSecret, "whsec_ and standard base64 of 24 to 64 bytes, as Standard Webhooks has it", "",
			func(c *Config) *Secret { return &c.Dispatch.Alert.WebhookSecret }, "Signs alerts, by which their receiver knows them; not for Slack."),
		number("DISPATCH_PAYLOAD_RETENTION_DAYS", 0, 0, 36500, func(c *Config) *int { return &c.Dispatch.PayloadRetentionDays },
			"After how long the payloads of finished jobs go; 0 keeps them."),
		flag("DISPATCH_ALLOW_PRIVATE_NETWORKS", true, false, func(c *Config) *bool { return &c.Dispatch.AllowPrivateNetworks },
			"Whether endpoints may have private addresses."),
		networks("DISPATCH_ALLOWED_NETWORKS", func(c *Config) *[]netip.Prefix { return &c.Dispatch.AllowedNetworks },
			"Private networks that endpoints may be in all the same."),
	}},
	{"Telemetry", []variable{
		telemetry("OTEL_EXPORTER_OTLP_ENDPOINT", func(c *Config) *string { return &c.OTLPEndpoint },
			"Where traces go; OpenTelemetry's other OTEL_ variables hold too."),
	}},
}

func checkModel(s string) error {
	if len(s) > 200 || strings.ContainsAny(s, " \u00a0") {
		return errWrong
	}
	return nil
}
