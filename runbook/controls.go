package runbook

import (
	"context"
	"strings"
)

// Controls is the table of SPEC §6, in its order.
func Controls() []Control {
	return []Control{
		{
			"RB-1.1", "Production must set: ALLOW_DEV_LOGIN=false", "Nobody signs in without a password", Configuration,
			"ALLOW_DEV_LOGIN=false", devLogin,
		},
		{
			"RB-1.2", "Production must set: MFA_REQUIRED=true", "Every account needs a second factor", Configuration,
			"MFA_REQUIRED=true", mfaRequired,
		},
		{
			"RB-1.3", "Production must set: NODE_ENV=production", "The production gate holds", Configuration,
			"NODE_ENV=production", production,
		},
		{
			"RB-1.4", "First bootstrap account: Use POST /api/auth/register-first once.", "register-first is spent", Data,
			"the first account has been made", registerFirst,
		},
		{
			"RB-1.5", "Immediately enroll MFA using one of: Self-service setup, Required-enrollment flow", "The first account has MFA", Data,
			"the first account has a second factor", firstAccount,
		},
		{
			"RB-1.6", "POST /api/auth/mfa/setup + POST /api/auth/mfa/enable; POST /api/auth/mfa/enroll/start + POST /api/auth/mfa/enroll/complete",
			"Both ways of enrollment end in MFA", Probe, "an account that goes either way has a second factor", notYet,
		},
		{
			"RB-1.7", "Admin-only POST /api/auth/register.", "Only an ADMIN registers accounts", Probe,
			"401 without a token, 403 for an AUTHOR", notYet,
		},
		{
			"RB-1.8", "Enforce MFA enrollment before granting production access.", "No account reaches anything without MFA", Data,
			"MFA is required, and no account without it has a session; tried against the server", withoutMFA,
		},
		{
			"RB-2.1", "Controlled by PASSWORD_MIN_LENGTH (minimum 12 in pilot).", "Passwords have at least 12 characters", Configuration,
			"PASSWORD_MIN_LENGTH is at least 12, and a password one shorter is refused", passwordLength,
		},
		{
			"RB-2.2", "uppercase + lowercase + number + symbol", "Passwords need all four kinds of characters", Probe,
			"a password without one of them is refused for just that", passwordClasses,
		},
		{
			"RB-2.3", "no whitespace", "Passwords have no white space", Probe,
			"a password with a space, a tab, or another white space is refused", passwordWhitespace,
		},
		{
			"RB-2.4", "weak-pattern rejection", "Weak patterns are refused", Probe,
			"common words, rows of keys, repetitions and the user's own name are refused", passwordWeak,
		},
		{
			"RB-2.5", "Register endpoints reject weak passwords with explicit policy issues.", "All issues are told at once", Probe,
			"each thing that is wrong has a code and a sentence", passwordIssues,
		},
		{
			"RB-3.1", "Rotate all secrets every 90 days or on security events.", "Every secret in use is young enough", Data,
			"each secret in use really changed within the last 90 days", secretAges,
		},
		{
			"RB-3.2", "Deploy with dual-window compatibility where applicable", "Planned rotations have a dual window that ends", Probe,
			"the previous key verifies, until its window is over; after a leak there is none", secretWindow,
		},
		{
			"RB-3.3", "Refresh tokens are server-side hashed", "Refresh tokens are kept only hashed", Data,
			"every token is kept as a SHA-256, and there is no other column for one", refreshTokens,
		},
		{
			"RB-3.4", "Verify after deploy: GET /health, login + refresh token flow, compose/suggestion endpoints (if AI enabled), dispatch retries for outbound jobs",
			"The latest rotation was verified", Probe, "all four were tried after it, and are recorded with it", notYet,
		},
		{
			"RB-3.5", "Record rotation event: date/time, operator, ticket id, affected environments, rollback plan.",
			"The latest rotation's record is whole and true", Data, "it has all five, and matches a real change", rotationRecord,
		},
		{
			"RB-3.6", "Record in system: POST /api/admin/security/secret-rotation/record, GET /api/admin/security/secret-rotation/status",
			"Rotations are recorded and shown", Data, "both endpoints answer", rotationAnswers,
		},
		{
			"RB-4.1", "Recommended pilot defaults: SESSION_TTL_HOURS=12", "Access tokens live 12 hours at most", Configuration,
			"SESSION_TTL_HOURS is at most 12 (above: WARN)", sessionTTL,
		},
		{
			"RB-4.2", "Recommended pilot defaults: REFRESH_TOKEN_TTL_HOURS=168", "Sign-ins last a week at most", Configuration,
			"REFRESH_TOKEN_TTL_HOURS is at most 168 (above: WARN)", refreshTTL,
		},
		{
			"RB-4.3", "revoke user sessions via POST /api/auth/logout-all", "logout-all ends tokens at once", Probe,
			"access and refresh tokens are refused after it", notYet,
		},
		{
			"RB-4.4", "review audit logs by request id and actor.", "Events are found by request id and by actor", Data,
			"a recent event is found both ways", eventsAreFound,
		},
		{
			"RB-5.1", "Use admin endpoints: GET /api/admin/dispatch/jobs, POST /api/admin/dispatch/retry-due, " +
				"POST /api/admin/dispatch/:jobId/replay, POST /api/admin/dispatch/:jobId/dead-letter",
			"The four admin endpoints work", Probe, "each does what it says to a job", notYet,
		},
		{
			"RB-5.2", "Terminal dispatch failures are moved to DEAD_LETTER.", "Every failure ends", Data,
			"no job is past its attempts, lost, or stuck in flight", failuresEnd,
		},
		{
			"RB-5.3", "Replay from dashboard after endpoint/config correction.", "Replay delivers after a correction", Probe,
			"a dead job is delivered after its endpoint is corrected and it is replayed", notYet,
		},
		{
			"RB-5.4", "Replay from dashboard after endpoint/config correction.", "The dashboard can replay", Probe,
			"a replay by the dashboard's own form delivers", notYet,
		},
		{
			"RB-6.1", "Audit events are stored in AuditLog.", "The audit log is whole", Data,
			"events are in AuditLog; it verifies against its latest checkpoint, of which there is a copy outside", auditLog,
		},
		{
			"RB-6.2", "Recommended pilot retention: 7 years (AUDIT_RETENTION_DAYS=2555).", "Events are kept for 7 years", Configuration,
			"AUDIT_RETENTION_DAYS is at least 2555", retention,
		},
		{
			"RB-6.3", "Enforce retention with: POST /api/admin/audit-retention/enforce", "Retention is enforced", Data,
			"it ran lawfully within 30 days, and nothing older remains but what is held", retentionEnforced,
		},
	}
}

// notYet is a control that nothing here has checked, and which therefore has not passed.
func notYet(context.Context, *Checker) (Finding, error) {
	return Finding{Status: Fail, Observed: "not yet checked"}, nil
}

// sections are the runbook's own headings.
var sections = map[string]string{
	"RB-1": "1. Authentication and MFA Policy",
	"RB-2": "2. Password Policy",
	"RB-3": "3. Secret Rotation Procedure",
	"RB-4": "4. Session Controls",
	"RB-5": "5. Dispatch Reliability Controls",
	"RB-6": "6. Audit and Retention",
}

// Section gives the heading of the runbook that a control's clause stands under.
func Section(id string) string {
	section, _, _ := strings.Cut(id, ".")
	return sections[section]
}
