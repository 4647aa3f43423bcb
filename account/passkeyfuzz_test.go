package account

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"slices"
	"testing"
	"time"

	"sealpost/account/passkeytest"
	"sealpost/audit"
	"sealpost/keys"
)

// Challenges that were made once with the key and the clock of fuzzParty, so that every process of a fuzzing
// run has the same.
const (
	fuzzRegistration = "AQEjRWeJq83vIWlPKEXMtW2SY5tg65nxT2K74dEdqpHodPAZt04H7zE-Wyn9LcW2U4JmtYV1m-ak"
	fuzzSignIn       = "AQEjRWeJq83vUCN-LATSk76_p4LX6FdH2SPGrEumNq7jsbqNVCuFQ-sJGx-KFyq4ldZ7ROrnPPmN"
)

// fuzzParty is accounts without a database, and a passkey that was registered there.
func fuzzParty(f *testing.F) (*Accounts, *passkeytest.Device, heldPasskey) {
	f.Helper()
	o := defaults()
	o.Issuer = testOrigin
	key := keys.NewKey("0123456789abcdef", []byte("a key that every process of a fuzzing run has"))
	a := New(audit.New(nil, slog.New(slog.DiscardHandler)), &keys.Set{JWT: keys.NewRing(key, nil)}, withNow(o))
	d := passkeytest.Fixed(testOrigin, "a device")
	text := fuzzRegistration
	made, err := parseRegistration(d.Create(f, a.party.creation(User{ID: "user", Email: "ada@example.com"}, nil, text)))
	if err != nil {
		f.Fatal(err)
	}
	c, ok := a.openChallenge(registering, "session", text)
	k, err := a.party.verifyRegistration("user", c, made)
	if !ok || err != nil {
		f.Fatal(ok, err)
	}
	k.ID = "passkey"
	return a, d, k
}

func withNow(o Options) Options {
	o.Now = (&clock{at: time.Date(2026, 3, 14, 9, 26, 5, 0, time.UTC)}).now
	return o
}

// FuzzPasskeyAssertion: whatever comes, nothing is accepted but what the device has signed.
func FuzzPasskeyAssertion(f *testing.F) {
	a, d, k := fuzzParty(f)
	text := fuzzSignIn
	genuine := d.Get(f, a.party.request(nil, text))
	right, err := parseAssertion(genuine)
	if err != nil {
		f.Fatal(err)
	}
	if _, reason := a.checkAssertion(k, right); reason != "" {
		f.Fatal(reason)
	}
	f.Add([]byte(genuine))
	f.Add([]byte(`{}`))
	f.Add([]byte(`{"id":"AA","rawId":"AA","type":"public-key","response":{"clientDataJSON":"e30","authenticatorData":"","signature":""}}`))
	f.Add(bytes.ReplaceAll(genuine, []byte("public-key"), []byte("password")))
	f.Add([]byte(d.Get(f, a.party.request(nil, text), func(c *passkeytest.Client, _ *passkeytest.Answer) { c.Type = "webauthn.create" })))
	f.Fuzz(func(t *testing.T, answer []byte) {
		shown, err := parseAssertion(answer)
		if err != nil {
			return
		}
		if _, reason := a.checkConfirmation(audit.Principal{UserID: "user", SessionID: "session"}, k, shown); reason == "" {
			t.Fatalf("%s confirms what nobody was asked", answer)
		}
		c, reason := a.checkAssertion(k, shown)
		if reason != "" {
			return
		}
		if c.text != text || !bytes.Equal(shown.Raw.AssertionResponse.AuthenticatorData, right.Raw.AssertionResponse.AuthenticatorData) ||
			!bytes.Equal(shown.Raw.AssertionResponse.ClientDataJSON, right.Raw.AssertionResponse.ClientDataJSON) {
			t.Fatalf("%s is accepted, and nobody has signed it", answer)
		}
	})
}

// FuzzPasskeyRegistration: whatever comes, what is accepted is for our challenge, has a key that can be
// read, and keeps to the limits.
func FuzzPasskeyRegistration(f *testing.F) {
	a, d, _ := fuzzParty(f)
	options := a.party.creation(User{ID: "user"}, nil, fuzzRegistration)
	f.Add([]byte(d.Create(f, options)))
	f.Add([]byte(passkeytest.New(testOrigin).Create(f, options))) // ES256
	f.Add([]byte(d.Create(f, options, func(_ *passkeytest.Client, a *passkeytest.Answer) { a.Format = "packed" })))
	f.Add([]byte(`{"id":"AA","rawId":"AA","type":"public-key","response":{"clientDataJSON":"e30","attestationObject":"oA"}}`))
	f.Fuzz(func(t *testing.T, answer []byte) {
		made, err := parseRegistration(answer)
		if err != nil {
			return
		}
		c, ok := a.openChallenge(registering, "session", made.Response.CollectedClientData.Challenge)
		if !ok {
			return
		}
		k, err := a.party.verifyRegistration("user", c, made)
		if err != nil {
			return
		}
		if len(k.credentialID) == 0 || len(k.credentialID) > 1023 || len(k.publicKey) > maxPublicKey || len(k.transports) > maxTransports ||
			slices.ContainsFunc(k.transports, func(s string) bool { return !isTransport(s) }) || k.BackedUp && !k.backupEligible {
			t.Fatalf("%s became %+v", answer, k)
		}
		var client struct{ Type, Origin string }
		if err := json.Unmarshal(made.Raw.AttestationResponse.ClientDataJSON, &client); err != nil || client.Type != "webauthn.create" || client.Origin != testOrigin {
			t.Fatalf("%s was accepted from %+v", answer, client)
		}
	})
}
