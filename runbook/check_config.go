package runbook

import (
	"context"
	"time"

	"sealpost/config"
)

// What the configuration alone answers. Each decision is a function of the configuration; the bounds are
// the runbook's own numbers.

const (
	minPasswordLength = 12
	maxSessionTTL     = 12 * time.Hour
	maxRefreshTTL     = 168 * time.Hour
	minRetentionDays  = 2555
)

func byConfig(decide func(*config.Config) Finding) func(context.Context, *Checker) (Finding, error) {
	return func(_ context.Context, c *Checker) (Finding, error) { return decide(c.o.Config), nil }
}

var (
	devLogin = byConfig(func(c *config.Config) Finding {
		return found(!c.Auth.AllowDevLogin, map[string]any{"ALLOW_DEV_LOGIN": c.Auth.AllowDevLogin},
			"ALLOW_DEV_LOGIN=%t", c.Auth.AllowDevLogin)
	})
	mfaRequired = byConfig(func(c *config.Config) Finding {
		return found(c.Auth.MFARequired, map[string]any{"MFA_REQUIRED": c.Auth.MFARequired}, "MFA_REQUIRED=%t", c.Auth.MFARequired)
	})
	sessionTTL = byConfig(func(c *config.Config) Finding {
		return atMost("SESSION_TTL_HOURS", c.Auth.AccessTTL, maxSessionTTL)
	})
	refreshTTL = byConfig(func(c *config.Config) Finding {
		return atMost("REFRESH_TOKEN_TTL_HOURS", c.Auth.SignInTTL, maxRefreshTTL)
	})
	retention = byConfig(func(c *config.Config) Finding {
		days := c.Audit.RetentionDays
		return found(days >= minRetentionDays, map[string]any{"AUDIT_RETENTION_DAYS": days}, "AUDIT_RETENTION_DAYS=%d", days)
	})
)

// production holds NODE_ENV, and warns of a proxy that the server was not told of: the addresses in
// the audit log, and what is throttled by network, are then the proxy's.
func production(_ context.Context, c *Checker) (Finding, error) {
	return decideProduction(c.o.Config, c.forwarder()), nil
}

func decideProduction(c *config.Config, forwarder string) Finding {
	f := found(c.Production(), map[string]any{"NODE_ENV": c.Env}, "NODE_ENV=%s", c.Env)
	if forwarder == "" {
		return f
	}
	f.Evidence["ignoredForwarder"] = forwarder
	f.Observed += "; forwarding headers from " + forwarder + ", which TRUSTED_PROXIES does not name, are ignored"
	if f.Status == Pass {
		f.Status = Warn
	}
	return f
}

// atMost holds a recommendation: beyond it is a warning.
func atMost(name string, got, most time.Duration) Finding {
	f := found(got <= most, map[string]any{name: got.Hours()}, "%s=%g", name, got.Hours())
	if f.Status == Fail {
		f.Status = Warn
	}
	return f
}
