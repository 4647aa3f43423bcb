package account

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"time"

	"github.com/go-webauthn/webauthn/protocol"
	"github.com/go-webauthn/webauthn/protocol/webauthncose"
	"github.com/go-webauthn/webauthn/webauthn"

	"sealpost/fault"
	"sealpost/store"
)

// The limits of what a browser brings back. Ours need some two thousand bytes.
const (
	MaxPasskeyAnswer = 32 << 10 // bytes of JSON
	maxPublicKey     = 1 << 10  // bytes of COSE; RSA with 4096 bits has some 530
	maxTransports    = 8
	maxTransport     = 32 // bytes
)

// Why a passkey was not accepted, for the audit log alone: the answer is always the same.
const (
	reasonNoPasskey    = "unknown passkey"
	reasonChallenge    = "challenge is not ours, over, or for something else"
	reasonSpent        = "challenge was answered before"
	reasonCeremony     = "wrong type of ceremony"
	reasonOrigin       = "wrong origin"
	reasonParty        = "wrong relying party"
	reasonPresence     = "user not present"
	reasonVerification = "user not verified"
	reasonHandle       = "another user's passkey"
	reasonBackup       = "backup flags that do not fit"
	reasonSignature    = "wrong signature, or not of this passkey"
	reasonHasPasskey   = "no authenticator app beside the passkey"
	reasonCloned       = "signature counter did not grow"
)

func passkeyRefused() *fault.Error {
	return fault.New(fault.Unauthenticated, "this passkey was not accepted: try again, or sign in in another way")
}

func unreadable(err error) error {
	f := fault.Wrap(fault.Invalid, err, "credential is not what a browser gives for a passkey")
	return f.With("fields", []map[string]string{{"field": "body.credential", "message": f.Message}})
}

// parseAssertion reads an AuthenticationResponseJSON. fault.Invalid.
func parseAssertion(answer []byte) (*protocol.ParsedCredentialAssertionData, error) {
	if len(answer) > MaxPasskeyAnswer {
		return nil, unreadable(fmt.Errorf("%d bytes", len(answer)))
	}
	shown, err := protocol.ParseCredentialRequestResponseBytes(answer)
	if err != nil {
		return nil, unreadable(err)
	}
	return shown, nil
}

// parseRegistration reads a RegistrationResponseJSON. fault.Invalid.
//
// We ask for no attestation, so whatever statement comes along says nothing to us and is dropped before
// anybody looks at it: nothing of a stranger's certificates is read, and no device is turned away for one.
func parseRegistration(answer []byte) (*protocol.ParsedCredentialCreationData, error) {
	if len(answer) > MaxPasskeyAnswer {
		return nil, unreadable(fmt.Errorf("%d bytes", len(answer)))
	}
	made, err := protocol.ParseCredentialCreationResponseBytes(answer)
	if err != nil {
		return nil, unreadable(err)
	}
	o := &made.Response.AttestationObject
	o.Format, o.AttStatement, o.SubStatements = string(protocol.AttestationFormatNone), nil, nil
	return made, nil
}

// userHandle is what a device keeps of whose passkey it has: the user's id, which says nothing of them.
func userHandle(userID string) []byte { return []byte(userID) }

// passkeyOwner is a user as the library sees them.
type passkeyOwner struct {
	id   string
	held []heldPasskey
}

// WebAuthnID implements webauthn.User.
func (o passkeyOwner) WebAuthnID() []byte { return userHandle(o.id) }

// WebAuthnName implements webauthn.User. Nothing that is verified has it.
func (o passkeyOwner) WebAuthnName() string { return "" }

// WebAuthnDisplayName implements webauthn.User.
func (o passkeyOwner) WebAuthnDisplayName() string { return "" }

// WebAuthnCredentials implements webauthn.User.
func (o passkeyOwner) WebAuthnCredentials() []webauthn.Credential {
	list := make([]webauthn.Credential, len(o.held))
	for i, k := range o.held {
		list[i] = webauthn.Credential{
			ID: k.credentialID, PublicKey: k.publicKey,
			Flags: webauthn.CredentialFlags{
				UserPresent: true, UserVerified: true, BackupEligible: k.backupEligible, BackupState: k.BackedUp,
			},
			Authenticator: webauthn.Authenticator{SignCount: k.signCount},
		}
	}
	return list
}

// verifyAssertion does WebAuthn §7.2, all but the challenge's being ours and the counter, for which rows
// have to be locked. A sign-in's has to say itself whose passkey it is.
func (rp *relyingParty) verifyAssertion(owner passkeyOwner, c challenge, shown *protocol.ParsedCredentialAssertionData) error {
	session := webauthn.SessionData{Challenge: c.text, UserVerification: protocol.VerificationRequired}
	_, _, err := rp.library.ValidatePasskeyLogin(func(_, _ []byte) (webauthn.User, error) { return owner, nil }, session, shown)
	return err
}

// verifyConfirmation is verifyAssertion by a user who is known: a device that was told which passkeys
// there are may leave out whose they are.
func (rp *relyingParty) verifyConfirmation(owner passkeyOwner, c challenge, shown *protocol.ParsedCredentialAssertionData) error {
	session := webauthn.SessionData{Challenge: c.text, UserID: userHandle(owner.id), UserVerification: protocol.VerificationRequired}
	_, err := rp.library.ValidateLogin(owner, session, shown)
	return err
}

// verifyRegistration does WebAuthn §7.1 and gives the new passkey's row. fault.Invalid is for whoever
// registers; any other error is a refusal.
func (rp *relyingParty) verifyRegistration(userID string, c challenge, made *protocol.ParsedCredentialCreationData) (heldPasskey, error) {
	session := webauthn.SessionData{
		Challenge: c.text, UserID: userHandle(userID), UserVerification: protocol.VerificationRequired, CredParams: algorithms,
	}
	record, err := rp.library.CreateCredential(passkeyOwner{id: userID}, session, made)
	if err != nil {
		return heldPasskey{}, err
	}
	if p := made.ClientExtensionResults.CredProps; p != nil && p.RK != nil && !*p.RK {
		return heldPasskey{}, fault.New(fault.Invalid, "this device did not keep the passkey, so it could not sign you in: use another one")
	}
	if len(record.PublicKey) > maxPublicKey {
		return heldPasskey{}, fmt.Errorf("a public key of %d bytes", len(record.PublicKey))
	}
	if _, err := webauthncose.ParsePublicKey(record.PublicKey); err != nil {
		return heldPasskey{}, fmt.Errorf("read the public key: %w", err)
	}
	k := heldPasskey{
		userID: userID, credentialID: record.ID, publicKey: record.PublicKey, signCount: record.Authenticator.SignCount,
		backupEligible: record.Flags.BackupEligible, Passkey: Passkey{BackedUp: record.Flags.BackupState},
	}
	for _, t := range record.Transport { // hints, which a browser that does not know them passes over
		if len(k.transports) < maxTransports && isTransport(string(t)) {
			k.transports = append(k.transports, string(t))
		}
	}
	return k, nil
}

func isTransport(s string) bool {
	for _, r := range s {
		if (r < 'a' || r > 'z') && r != '-' {
			return false
		}
	}
	return s != "" && len(s) <= maxTransport
}

// whyNotAccepted finds what the library did not accept, for the audit log.
func (rp *relyingParty) whyNotAccepted(want protocol.CeremonyType, client protocol.CollectedClientData, data protocol.AuthenticatorData, eligible bool) string {
	party := sha256.Sum256([]byte(rp.id))
	switch {
	case client.Type != want:
		return reasonCeremony
	case client.Origin != rp.origin || client.CrossOrigin || client.TopOrigin != "":
		return reasonOrigin
	case subtle.ConstantTimeCompare(data.RPIDHash, party[:]) != 1:
		return reasonParty
	case !data.Flags.UserPresent():
		return reasonPresence
	case !data.Flags.UserVerified():
		return reasonVerification
	case data.Flags.HasBackupEligible() != eligible, data.Flags.HasBackupState() && !eligible:
		return reasonBackup
	}
	return reasonSignature
}

// counterGrew tells whether a device's count is as it should be (WebAuthn §7.2 step 22). One that never
// counts, as passkeys do that are on several devices, says 0 for ever.
func counterGrew(stored, shown uint32) bool { return shown > stored || (stored == 0 && shown == 0) }

var (
	errSpentChallenge = errors.New("the challenge was answered before")
	errCloned         = errors.New("the signature counter did not grow")
)

// usePasskey spends the challenge of an assertion that was verified and notes the use. The owner's row is
// locked, so of many who bring one assertion, one gets in. errSpentChallenge, errCloned, errChanged.
func usePasskey(ctx context.Context, tx *store.Tx, k heldPasskey, c challenge, shown *protocol.ParsedCredentialAssertionData, now time.Time) error {
	data := shown.Response.AuthenticatorData
	fresh, err := spendChallenge(ctx, tx, c)
	if err != nil {
		return err
	}
	if !fresh {
		return errSpentChallenge
	}
	var stored uint32
	err = tx.QueryRow(ctx, `select sign_count from passkey where id = $1 and credential_id = $2`, k.ID, k.credentialID).Scan(&stored)
	if store.NoRow(err) {
		return errChanged
	}
	if err != nil {
		return fmt.Errorf("read a passkey: %w", err)
	}
	if !counterGrew(stored, data.Counter) {
		return errCloned
	}
	_, err = tx.Exec(ctx, `update passkey set sign_count = $1, backed_up = $2, last_used_at = $3 where id = $4`,
		int64(data.Counter), data.Flags.HasBackupState(), now.UnixMicro(), k.ID)
	if err != nil {
		return fmt.Errorf("note a passkey's use: %w", err)
	}
	return nil
}
