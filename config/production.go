package config

// The production gate: what the runbook asks of a pilot before anyone signs in (its sections 1, 2, 4
// and 6, and the audit's). It is a list and not a set of ranges, so that an administrator can hold it
// beside the runbook. Secrets have their own part of it: they must be set, and guessableness is checked
// where they are read.
var gate = []struct {
	variable string
	asks     string
	met      func(*Config) bool
}{
	{"ALLOW_DEV_LOGIN", "false", func(c *Config) bool { return !c.Auth.AllowDevLogin }},
	{"MFA_REQUIRED", "true", func(c *Config) bool { return c.Auth.MFARequired }},
	{"PASSWORD_MIN_LENGTH", "at least 12", func(c *Config) bool { return c.Auth.PasswordMinLength >= 12 }},
	{"SESSION_TTL_HOURS", "at most 24", func(c *Config) bool { return c.Auth.AccessTTL <= 24*hours.span }},
	{"REFRESH_TOKEN_TTL_HOURS", "at most 720", func(c *Config) bool { return c.Auth.SignInTTL <= 720*hours.span }},
	{"AUDIT_RETENTION_DAYS", "at least 2555", func(c *Config) bool { return c.Audit.RetentionDays >= 2555 }},
}

// asksInProduction says what the gate asks of a variable.
func asksInProduction(v variable) string {
	for _, g := range gate {
		if g.variable == v.Name {
			return g.asks
		}
	}
	switch {
	case v.kind != nil && v.kind.required:
		return "it must be set, and be no known sample value"
	case v.kind != nil && v.kind.keying:
		return "no known sample value"
	}
	return ""
}

// checkProduction is the gate.
func (r *reading) checkProduction() {
	for _, g := range gate {
		if !g.met(r.config) && !r.refused(g.variable) {
			r.problem(g.variable, quoted(r.texts[g.variable]), g.asks+" in production")
		}
	}
	eachVariable(func(v variable) {
		if v.kind != nil && v.kind.required && !v.place(r.config).IsSet() && !r.refused(v.Name) {
			r.problem(v.Name, "nothing", v.Takes+", in the variable, in the file that "+v.Name+
				"_FILE names, or as a credential; "+howToMake)
		}
	})
}
