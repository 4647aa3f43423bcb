package account

// What a browser is told, in the forms that PublicKeyCredential.parseCreationOptionsFromJSON and
// parseRequestOptionsFromJSON take (WebAuthn Level 3, §5.1.8 and §5.1.9). Bytes are base64url without
// padding, times are milliseconds.

// PasskeyCreation is PublicKeyCredentialCreationOptionsJSON: what a new passkey is to be.
type PasskeyCreation struct {
	RP                     PasskeyParty        `json:"rp"`
	User                   PasskeyUser         `json:"user"`
	Challenge              string              `json:"challenge" doc:"base64url; to be answered within 5 minutes, once"`
	PubKeyCredParams       []PasskeyAlgorithm  `json:"pubKeyCredParams" doc:"The best first"`
	Timeout                int64               `json:"timeout" doc:"Milliseconds"`
	ExcludeCredentials     []PasskeyDescriptor `json:"excludeCredentials" doc:"The caller's passkeys: a device that has one makes no second"`
	AuthenticatorSelection PasskeySelection    `json:"authenticatorSelection"`
	Attestation            string              `json:"attestation" enum:"none"`
}

// PasskeyRequest is PublicKeyCredentialRequestOptionsJSON: what a device is to sign.
type PasskeyRequest struct {
	Challenge        string              `json:"challenge" doc:"base64url; to be answered within 5 minutes, once"`
	Timeout          int64               `json:"timeout" doc:"Milliseconds"`
	RPID             string              `json:"rpId"`
	AllowCredentials []PasskeyDescriptor `json:"allowCredentials" doc:"Empty: whichever the device has for this rpId"`
	UserVerification string              `json:"userVerification" enum:"required"`
}

// PasskeyParty is PublicKeyCredentialRpEntity.
type PasskeyParty struct {
	ID   string `json:"id" doc:"The host of PUBLIC_URL"`
	Name string `json:"name"`
}

// PasskeyUser is PublicKeyCredentialUserEntityJSON.
type PasskeyUser struct {
	ID          string `json:"id" doc:"base64url of the user handle, which is the user's id"`
	Name        string `json:"name" doc:"The user's e-mail"`
	DisplayName string `json:"displayName"`
}

// PasskeyAlgorithm is PublicKeyCredentialParameters.
type PasskeyAlgorithm struct {
	Type string `json:"type" enum:"public-key"`
	Alg  int64  `json:"alg" doc:"COSE: -7 is ES256, -8 EdDSA, -257 RS256"`
}

// PasskeyDescriptor is PublicKeyCredentialDescriptorJSON.
type PasskeyDescriptor struct {
	Type       string   `json:"type" enum:"public-key"`
	ID         string   `json:"id" doc:"base64url"`
	Transports []string `json:"transports,omitempty"`
}

// PasskeySelection is AuthenticatorSelectionCriteria: a discoverable credential, and a device that has
// made sure who holds it.
type PasskeySelection struct {
	ResidentKey        string `json:"residentKey" enum:"required"`
	RequireResidentKey bool   `json:"requireResidentKey"`
	UserVerification   string `json:"userVerification" enum:"required"`
}

const (
	publicKeyType = "public-key"
	required      = "required"
)

func (rp *relyingParty) creation(u User, held []heldPasskey, challenge string) PasskeyCreation {
	c := PasskeyCreation{
		RP:        PasskeyParty{ID: rp.id, Name: relyingPartyName},
		User:      PasskeyUser{ID: base64url.EncodeToString(userHandle(u.ID)), Name: u.Email, DisplayName: u.Name},
		Challenge: challenge, Timeout: ceremonyTime.Milliseconds(), ExcludeCredentials: descriptors(held),
		AuthenticatorSelection: PasskeySelection{ResidentKey: required, RequireResidentKey: true, UserVerification: required},
		Attestation:            "none",
	}
	for _, a := range algorithms {
		c.PubKeyCredParams = append(c.PubKeyCredParams, PasskeyAlgorithm{publicKeyType, int64(a.Algorithm)})
	}
	return c
}

func (rp *relyingParty) request(allowed []heldPasskey, challenge string) PasskeyRequest {
	return PasskeyRequest{
		Challenge: challenge, Timeout: ceremonyTime.Milliseconds(), RPID: rp.id,
		AllowCredentials: descriptors(allowed), UserVerification: required,
	}
}

func descriptors(held []heldPasskey) []PasskeyDescriptor {
	list := make([]PasskeyDescriptor, len(held))
	for i, k := range held {
		list[i] = PasskeyDescriptor{publicKeyType, base64url.EncodeToString(k.credentialID), k.transports}
	}
	return list
}
