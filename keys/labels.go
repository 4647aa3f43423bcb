package keys

// Purpose is the HKDF label (RFC 5869's info) of one use of a key. No two uses share a derived key,
// and this is the one list of them. A label never changes: what it protects could not be read again.
type Purpose string

// Derived from JWT_SECRET.
const (
	AccessToken      Purpose = "sealpost/v1/access-token"
	RefreshSuccessor Purpose = "sealpost/v1/refresh-successor"
	DeviceCookie     Purpose = "sealpost/v1/device-cookie"
	SignInTicket     Purpose = "sealpost/v1/sign-in-ticket"
	PasskeyChallenge Purpose = "sealpost/v1/passkey-challenge"
)

// Derived from DATA_ENCRYPTION_KEY.
const (
	TOTPSecret          Purpose = "sealpost/v1/totp-secret"
	EndpointCredentials Purpose = "sealpost/v1/endpoint-credentials"
	EndpointAuth        Purpose = "sealpost/v1/endpoint-auth"
	JobPayload          Purpose = "sealpost/v1/job-payload"
	AttemptAnswer       Purpose = "sealpost/v1/attempt-answer"
	DocumentText        Purpose = "sealpost/v1/document-text"
	FingerprintKey      Purpose = "sealpost/v1/fingerprint-key"
)

// Derived from AUDIT_SIGNING_KEY.
const (
	EnvelopeMAC  Purpose = "sealpost/v1/envelope-mac"
	TreeHead     Purpose = "sealpost/v1/tree-head"
	DocumentSeal Purpose = "sealpost/v1/document-seal"
)
