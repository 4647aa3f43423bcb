package account

import "sealpost/keys"

// Sealed lists what this package keeps encrypted with DATA_ENCRYPTION_KEY, so that it can be encrypted
// anew when that is rotated (runbook §3).
func Sealed() []keys.Sealed {
	return []keys.Sealed{
		{Table: "account", Place: "id", Column: "totp_secret", Purpose: keys.TOTPSecret},
		{Table: "mfa_enrollment", Place: "user_id", Column: "secret", Purpose: keys.TOTPSecret},
	}
}
