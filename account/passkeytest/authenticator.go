// Package passkeytest is an authenticator in software, with the browser in front of it: it makes passkeys
// and signs with them as WebAuthn Level 3 has it, from the options that a server gives as JSON to the
// answers that it takes as JSON. It is written from the specification and shares no code with what
// verifies, CBOR included, so that tests hold the two against each other.
//
// What it says can be bent, field by field, into what an attacker or a broken device would say.
package passkeytest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"testing"
)

// The flags of authenticator data (WebAuthn §6.1).
const (
	UserPresent    byte = 1 << 0
	UserVerified   byte = 1 << 2
	BackupEligible byte = 1 << 3
	BackedUp       byte = 1 << 4
	attestedData   byte = 1 << 6
)

// COSE algorithms (RFC 9053).
const (
	ES256 = -7
	EdDSA = -8
	RS256 = -257
)

// Device is an authenticator with one passkey, at a browser on one origin.
type Device struct {
	Origin    string // of the page that the browser shows
	RPID      string // "": what the options say
	Flags     byte   // UserPresent | UserVerified where it is new
	Counter   uint32 // said as it is; a device that counts adds one before each use (Count)
	Algorithm int64  // of the next key

	ID         []byte // of the credential
	UserHandle []byte
	keepID     bool
	seed       []byte
	key        crypto.Signer
}

// New gives a device that has no passkey yet.
func New(origin string) *Device {
	return &Device{Origin: origin, Flags: UserPresent | UserVerified, Algorithm: ES256}
}

// Fixed gives a device whose keys (EdDSA) and ids are always the same, for fuzzing, where several processes
// have to see one thing.
func Fixed(origin, seed string) *Device {
	sum := sha256.Sum256([]byte(seed))
	return &Device{Origin: origin, Flags: UserPresent | UserVerified, Algorithm: EdDSA, seed: sum[:], keepID: true, ID: sum[:16]}
}

// Client is a collectedClientData (WebAuthn §5.8.1).
type Client struct {
	Type        string `json:"type"`
	Challenge   string `json:"challenge"`
	Origin      string `json:"origin"`
	CrossOrigin bool   `json:"crossOrigin"`
	TopOrigin   string `json:"topOrigin,omitempty"`
}

// Bend changes what the device is about to sign.
type Bend func(c *Client, a *Answer)

// Answer is what a browser gives to the page, before it is JSON. Registrations have no signature.
type Answer struct {
	ID, RawID  []byte
	Type       string
	UserHandle []byte // nil: left out
	AuthData   []byte // set: in place of what the device says
	Signature  []byte // set: in place of the right one
	Format     string // of the attestation
	Statement  []byte // CBOR of the attestation's statement
	RK         *bool  // credProps.rk
	Transports []string
}

var base64url = base64.RawURLEncoding

// Create makes a passkey: options are PublicKeyCredentialCreationOptionsJSON, the answer is
// RegistrationResponseJSON.
func (d *Device) Create(t testing.TB, options any, bend ...Bend) json.RawMessage {
	t.Helper()
	var o struct {
		Challenge string
		RP        struct{ ID string }
		User      struct{ ID string }
	}
	reread(t, options, &o)
	var err error
	switch d.Algorithm {
	case ES256:
		d.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case EdDSA:
		if d.seed == nil {
			_, d.key, err = ed25519.GenerateKey(rand.Reader)
		} else {
			d.key = ed25519.NewKeyFromSeed(d.seed)
		}
	case RS256:
		d.key, err = rsa.GenerateKey(rand.Reader, 2048)
	default:
		err = fmt.Errorf("no algorithm %d", d.Algorithm)
	}
	if err == nil {
		d.UserHandle, err = base64url.DecodeString(o.User.ID)
	}
	if err != nil {
		t.Fatal(err)
	}
	if d.ID == nil || !d.keepID {
		d.ID = make([]byte, 32)
		_, _ = rand.Read(d.ID)
	}
	client := Client{Type: "webauthn.create", Challenge: o.Challenge, Origin: d.Origin}
	a := Answer{ID: d.ID, RawID: d.ID, Type: "public-key", Format: "none", Statement: cborMap(), Transports: []string{"internal", "hybrid"}}
	for _, b := range bend {
		b(&client, &a)
	}
	data := a.AuthData
	if data == nil {
		data = d.authData(o.RP.ID, d.Flags|attestedData)
		data = append(data, make([]byte, 16)...) // AAGUID: none
		data = binary.BigEndian.AppendUint16(data, uint16(len(d.ID)))
		data = append(data, d.ID...)
		data = append(data, d.coseKey(t)...)
	}
	object := cborMap(
		cborText("fmt"), cborText(a.Format), cborText("attStmt"), a.Statement, cborText("authData"), cborBytes(data))
	extensions := map[string]any{}
	if a.RK != nil {
		extensions["credProps"] = map[string]any{"rk": *a.RK}
	}
	return encode(t, map[string]any{
		"id": base64url.EncodeToString(a.ID), "rawId": base64url.EncodeToString(a.RawID), "type": a.Type,
		"authenticatorAttachment": "platform", "clientExtensionResults": extensions,
		"response": map[string]any{
			"clientDataJSON":    base64url.EncodeToString(encode(t, client)),
			"attestationObject": base64url.EncodeToString(object),
			"authenticatorData": base64url.EncodeToString(data), "publicKeyAlgorithm": d.Algorithm, "transports": a.Transports,
		},
	})
}

// CreateAs is Create of a device that claims an id which another device has.
func (d *Device) CreateAs(t testing.TB, id []byte, options any, bend ...Bend) json.RawMessage {
	t.Helper()
	d.ID, d.keepID = id, true
	return d.Create(t, options, bend...)
}

// Get signs with the passkey: options are PublicKeyCredentialRequestOptionsJSON, the answer is
// AuthenticationResponseJSON.
func (d *Device) Get(t testing.TB, options any, bend ...Bend) json.RawMessage {
	t.Helper()
	var o struct {
		Challenge string
		RPID      string
	}
	reread(t, options, &o)
	client := Client{Type: "webauthn.get", Challenge: o.Challenge, Origin: d.Origin}
	a := Answer{ID: d.ID, RawID: d.ID, Type: "public-key", UserHandle: d.UserHandle}
	for _, b := range bend {
		b(&client, &a)
	}
	data, clientData := a.AuthData, encode(t, client)
	if data == nil {
		data = d.authData(o.RPID, d.Flags)
	}
	if a.Signature == nil {
		hash := sha256.Sum256(clientData)
		a.Signature = d.sign(t, append(append([]byte{}, data...), hash[:]...))
	}
	response := map[string]any{
		"clientDataJSON": base64url.EncodeToString(clientData), "authenticatorData": base64url.EncodeToString(data),
		"signature": base64url.EncodeToString(a.Signature),
	}
	if a.UserHandle != nil {
		response["userHandle"] = base64url.EncodeToString(a.UserHandle)
	}
	return encode(t, map[string]any{
		"id": base64url.EncodeToString(a.ID), "rawId": base64url.EncodeToString(a.RawID), "type": a.Type,
		"authenticatorAttachment": "platform", "clientExtensionResults": map[string]any{}, "response": response,
	})
}

// Count counts one use.
func (d *Device) Count() *Device {
	d.Counter++
	return d
}

func (d *Device) authData(rpID string, flags byte) []byte {
	if d.RPID != "" {
		rpID = d.RPID
	}
	party := sha256.Sum256([]byte(rpID))
	return binary.BigEndian.AppendUint32(append(party[:], flags), d.Counter)
}

func (d *Device) sign(t testing.TB, data []byte) []byte {
	t.Helper()
	hash, opts := sha256.Sum256(data), crypto.SignerOpts(crypto.SHA256)
	digest := hash[:]
	if d.Algorithm == EdDSA {
		digest, opts = data, crypto.Hash(0)
	}
	signature, err := d.key.Sign(rand.Reader, digest, opts)
	if err != nil {
		t.Fatal(err)
	}
	return signature
}

// coseKey is the public key as COSE_Key (RFC 9052 §7, RFC 9053 §7, RFC 8230 §4).
func (d *Device) coseKey(t testing.TB) []byte {
	t.Helper()
	switch key := d.key.Public().(type) {
	case *ecdsa.PublicKey:
		point, err := key.Bytes() // 4, x, y
		if err != nil {
			t.Fatal(err)
		}
		return cborMap(cborInt(1), cborInt(2), cborInt(3), cborInt(ES256), cborInt(-1), cborInt(1),
			cborInt(-2), cborBytes(point[1:33]), cborInt(-3), cborBytes(point[33:]))
	case ed25519.PublicKey:
		return cborMap(cborInt(1), cborInt(1), cborInt(3), cborInt(EdDSA), cborInt(-1), cborInt(6), cborInt(-2), cborBytes(key))
	case *rsa.PublicKey:
		return cborMap(cborInt(1), cborInt(3), cborInt(3), cborInt(RS256), cborInt(-1), cborBytes(key.N.Bytes()),
			cborInt(-2), cborBytes([]byte{1, 0, 1}))
	}
	t.Fatal("no key")
	return nil
}

func encode(t testing.TB, v any) []byte {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// reread reads options, whatever they are held in, as the JSON that they are sent as.
func reread(t testing.TB, options, into any) {
	t.Helper()
	if err := json.Unmarshal(encode(t, options), into); err != nil {
		t.Fatal(err)
	}
}
