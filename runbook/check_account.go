package runbook

import (
	"context"
	"slices"
	"strings"

	"sealpost/account"
)

// What the tables of accounts say (runbook §1 and §3).

func byAccounts(decide func(account.Inspection, *Checker) Finding) func(context.Context, *Checker) (Finding, error) {
	return func(ctx context.Context, c *Checker) (Finding, error) {
		i, err := account.Inspect(ctx, c.o.Log.Store(), c.o.Now())
		if err != nil {
			return Finding{}, err
		}
		return decide(i, c), nil
	}
}

var (
	registerFirst = byAccounts(func(i account.Inspection, _ *Checker) Finding { return decideBootstrap(i) })
	firstAccount  = byAccounts(func(i account.Inspection, _ *Checker) Finding { return decideFirst(i) })
	withoutMFA    = byAccounts(func(i account.Inspection, c *Checker) Finding {
		return decideWithoutMFA(i, c.o.Config.Auth.MFARequired)
	})
	refreshTokens = byAccounts(func(i account.Inspection, _ *Checker) Finding { return decideTokens(i) })
)

func decideBootstrap(i account.Inspection) Finding {
	observed := "no account has been made: whoever comes first makes it"
	if i.Bootstrapped {
		observed = "the first account has been made"
	}
	return found(i.Bootstrapped, map[string]any{"bootstrapped": i.Bootstrapped}, "%s", observed)
}

func decideFirst(i account.Inspection) Finding {
	evidence := map[string]any{"userId": i.FirstID, "mfaEnabled": i.FirstHasMFA}
	switch {
	case !i.Bootstrapped:
		return found(false, evidence, "there is no account yet")
	case i.FirstID == "":
		return found(false, evidence, "the first account is gone, so nobody can tell")
	}
	return found(i.FirstHasMFA, evidence, "the first account (%s) has MFA: %t", i.FirstID, i.FirstHasMFA)
}

// decideWithoutMFA is the half that data answers. What holds in the tables has not been tried against
// the server, so this control does not pass yet; where it fails here, it fails for that.
func decideWithoutMFA(i account.Inspection, required bool) Finding {
	evidence := map[string]any{"mfaRequired": required, "accountsWithoutMfa": i.WithoutMFA, "theirSessions": i.SessionsWithout}
	switch {
	case !required:
		return found(false, evidence, "MFA_REQUIRED=false: %d enabled accounts need no second factor", i.WithoutMFA)
	case i.SessionsWithout > 0:
		return found(false, evidence, "accounts without MFA have %d sessions that have not ended", i.SessionsWithout)
	}
	return found(false, evidence, "by data it holds: %d accounts have yet to enroll, and none of them has a session; "+
		"that the server refuses them is not yet checked", i.WithoutMFA)
}

// tokenColumns is what the table of refresh tokens holds, none of which is a token.
var tokenColumns = []string{"hash", "session_id", "created_at", "spent_at", "successor_key"}

func decideTokens(i account.Inspection) Finding {
	evidence := map[string]any{"columns": i.TokenColumns, "notSHA256": i.RawRefreshTokens}
	var unknown []string
	for _, column := range i.TokenColumns {
		if !slices.Contains(tokenColumns, column) {
			unknown = append(unknown, column)
		}
	}
	switch {
	case len(unknown) > 0:
		return found(false, evidence, "refresh_token has columns that this check does not know: %s", strings.Join(unknown, ", "))
	case i.RawRefreshTokens > 0:
		return found(false, evidence, "%d refresh tokens are kept as something else than a SHA-256", i.RawRefreshTokens)
	}
	return found(true, evidence, "every refresh token is kept as 32 bytes, a SHA-256, and nothing else of it")
}
