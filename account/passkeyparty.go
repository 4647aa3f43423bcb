package account

import (
	"fmt"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/go-webauthn/webauthn/protocol"
	"github.com/go-webauthn/webauthn/protocol/webauthncose"
	"github.com/go-webauthn/webauthn/webauthn"

	"sealpost/fault"
)

// relyingParty is this installation as WebAuthn knows it: the host of PUBLIC_URL, which passkeys are
// bound to for good, and the one origin that they are used from.
type relyingParty struct {
	id, origin string
	library    *webauthn.WebAuthn
}

const relyingPartyName = "Sealpost" // what a browser and a device show

// ceremonyTime is for how long a challenge may be answered, and what browsers are told.
const ceremonyTime = 5 * time.Minute

// algorithms are the kinds of keys that are taken, the best first (WebAuthn §5.8.5 asks for these three):
// ES256 and EdDSA, and RS256 for the many devices with a TPM that have nothing else.
var algorithms = []protocol.CredentialParameter{
	{Type: protocol.PublicKeyCredentialType, Algorithm: webauthncose.AlgES256},
	{Type: protocol.PublicKeyCredentialType, Algorithm: webauthncose.AlgEdDSA},
	{Type: protocol.PublicKeyCredentialType, Algorithm: webauthncose.AlgRS256},
}

// newRelyingParty makes the relying party of a PUBLIC_URL. fault.Unavailable where browsers give no
// passkeys to such an address (WebAuthn §5.1.3: a domain, in a secure context).
func newRelyingParty(publicURL string) (*relyingParty, error) {
	no := func(why string) error {
		return fault.New(fault.Unavailable, "passkeys are not available here: PUBLIC_URL is %s, and %s", publicURL, why)
	}
	u, err := url.Parse(publicURL)
	if err != nil || u.Hostname() == "" {
		return nil, no("that is no address")
	}
	host := u.Hostname()
	if _, err := netip.ParseAddr(host); err == nil {
		return nil, no("a passkey belongs to a name, never to an IP address: give it one, or use http://localhost on this machine")
	}
	if u.Scheme != "https" && host != "localhost" && !strings.HasSuffix(host, ".localhost") {
		return nil, no("browsers give passkeys only to https://, and to localhost")
	}
	rp := &relyingParty{id: host, origin: u.Scheme + "://" + u.Host}
	rp.library, err = webauthn.New(&webauthn.Config{
		RPID: rp.id, RPDisplayName: relyingPartyName, RPOrigins: []string{rp.origin},
		// A browser may add what nobody asked for, which then counts for nothing (WebAuthn §7.1 step 17).
		ExtensionsUnsolicitedOutputPolicy: protocol.UnsolicitedOutputPolicyIgnore,
	})
	if err != nil {
		return nil, no(fmt.Sprintf("WebAuthn does not take it: %v", err))
	}
	return rp, nil
}

// PasskeysAvailable tells whether people can have passkeys here. fault.Unavailable with the reason.
func (a *Accounts) PasskeysAvailable() error { return a.noParty }

// PasskeyOrigin is the one address at which passkeys work: PUBLIC_URL. "" where there is none.
func (a *Accounts) PasskeyOrigin() string {
	if a.party == nil {
		return ""
	}
	return a.party.origin
}
