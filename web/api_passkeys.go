package web

import (
	"bytes"
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"sealpost/account"
	"sealpost/fault"
)

// passkeyRoutes are WebAuthn's ceremonies in two halves each: start gives what a browser is to be told,
// finish takes what it answered (runbook §1).
func (s *Server) passkeyRoutes() {
	op := func(method, path, summary, description string) huma.Operation {
		return huma.Operation{Method: method, Path: "/api/auth/passkeys" + path, Tags: []string{"auth"}, Summary: summary, Description: description}
	}
	created := func(o huma.Operation) huma.Operation {
		o.DefaultStatus = http.StatusCreated
		return o
	}
	const unavailable = " 503 where PUBLIC_URL is no address that browsers give passkeys to."
	route(s, signedIn.guarded(), op(http.MethodPost, "/register/start", "Get what a browser needs to make a passkey",
		"For PublicKeyCredential.parseCreationOptionsFromJSON. 409 where there are ten already."+unavailable), s.passkeyRegisterStart)
	route(s, signedIn.guarded(), created(op(http.MethodPost, "/register/finish", "Keep the passkey that a browser made",
		"By the session that started, within 5 minutes. Where the options were not answered as they ask, 422.")), s.passkeyRegisterFinish)
	route(s, public, op(http.MethodPost, "/login/start", "Get what a browser needs to sign in with a passkey",
		"For PublicKeyCredential.parseRequestOptionsFromJSON. Nobody has to say who they are."+unavailable), s.passkeyLoginStart)
	route(s, public, op(http.MethodPost, "/login/finish", "Sign in with a passkey",
		"Within 5 minutes, once. A passkey is two factors, so nothing else is asked for. Whatever is wrong with it, 401; 429 after too "+
			"many failures. The refresh token comes in a cookie."), s.passkeyLoginFinish)
	route(s, signedIn, op(http.MethodPost, "/reauth/start", "Get what a browser needs to confirm with a passkey that it is you",
		"For POST /api/auth/reauth. 409 where you have none."+unavailable), s.passkeyReauthStart)
	route(s, signedIn, op(http.MethodGet, "", "Own passkeys, the oldest first, at most ten", ""), s.passkeys)
	route(s, signedIn.guarded(), op(http.MethodDelete, "/{id}", "Delete one of one's own passkeys",
		"The sign-ins that were made with it end, except the one that asks. 409 where it is the only second factor and one is required."), s.deletePasskey)
}

// publicKeyCredential is what a browser gives, PublicKeyCredential.toJSON(), as it came. Browsers add
// fields to it, so those that this schema does not name are taken, and count for nothing.
type publicKeyCredential []byte

// UnmarshalJSON implements json.Unmarshaler.
func (c *publicKeyCredential) UnmarshalJSON(b []byte) error {
	*c = bytes.Clone(b)
	return nil
}

// Schema implements huma.SchemaProvider.
func (*publicKeyCredential) Schema(huma.Registry) *huma.Schema {
	text := func(about string) *huma.Schema {
		limit := account.MaxPasskeyAnswer
		return &huma.Schema{Type: huma.TypeString, Description: about, MaxLength: &limit}
	}
	return &huma.Schema{
		Type: huma.TypeObject, AdditionalProperties: true, Required: []string{"id", "rawId", "type", "response"},
		Description: "A PublicKeyCredential, by its toJSON() (WebAuthn Level 3); bytes are base64url",
		Properties: map[string]*huma.Schema{
			"id":    text("The credential's id"),
			"rawId": text("The same"),
			"type":  {Type: huma.TypeString, Enum: []any{"public-key"}},
			"response": {
				Type: huma.TypeObject, AdditionalProperties: true, Required: []string{"clientDataJSON"},
				Properties: map[string]*huma.Schema{
					"clientDataJSON":    text("Of both ceremonies"),
					"attestationObject": text("Of a registration"),
					"authenticatorData": text("Of a sign-in"),
					"signature":         text("Of a sign-in"),
					"userHandle":        {Type: huma.TypeString, Nullable: true, Description: "Of a sign-in"},
				},
			},
		},
	}
}

type passkeyCreationOutput struct {
	Body struct {
		PublicKey account.PasskeyCreation `json:"publicKey"`
	}
}

// passkeyRegisterStart handles POST /api/auth/passkeys/register/start.
func (s *Server) passkeyRegisterStart(ctx context.Context, in *struct{ Caller }) (*passkeyCreationOutput, error) {
	out := &passkeyCreationOutput{}
	var err error
	out.Body.PublicKey, err = s.Accounts.PasskeyRegisterStart(ctx, in.Principal)
	return out, err
}

type passkeyRegisterInput struct {
	Caller
	Body struct {
		Name       string              `json:"name" doc:"What its user calls it, at most 100 characters"`
		Credential publicKeyCredential `json:"credential"`
	}
}

type passkeyOutput struct {
	Body struct {
		Passkey account.Passkey `json:"passkey"`
	}
}

// passkeyRegisterFinish handles POST /api/auth/passkeys/register/finish.
func (s *Server) passkeyRegisterFinish(ctx context.Context, in *passkeyRegisterInput) (*passkeyOutput, error) {
	out := &passkeyOutput{}
	var err error
	out.Body.Passkey, err = s.Accounts.PasskeyRegisterFinish(ctx, in.Principal, in.Body.Name, in.Body.Credential)
	return out, err
}

type passkeyRequestOutput struct {
	Body struct {
		PublicKey account.PasskeyRequest `json:"publicKey"`
	}
}

func passkeyRequestOut(request account.PasskeyRequest, err error) (*passkeyRequestOutput, error) {
	out := &passkeyRequestOutput{}
	out.Body.PublicKey = request
	return out, err
}

// passkeyLoginStart handles POST /api/auth/passkeys/login/start.
func (s *Server) passkeyLoginStart(context.Context, *struct{}) (*passkeyRequestOutput, error) {
	return passkeyRequestOut(s.Accounts.PasskeyLoginStart())
}

type passkeyLoginInput struct {
	Caller
	Body struct {
		Credential publicKeyCredential `json:"credential"`
	}
}

// passkeyLoginFinish handles POST /api/auth/passkeys/login/finish.
func (s *Server) passkeyLoginFinish(ctx context.Context, in *passkeyLoginInput) (*signInOutput, error) {
	return s.signInOut(s.Accounts.PasskeyLoginFinish(ctx, in.Principal, in.Body.Credential))
}

// passkeyReauthStart handles POST /api/auth/passkeys/reauth/start.
func (s *Server) passkeyReauthStart(ctx context.Context, in *struct{ Caller }) (*passkeyRequestOutput, error) {
	return passkeyRequestOut(s.Accounts.PasskeyReauthStart(ctx, in.Principal))
}

type passkeysOutput struct {
	Body struct {
		Passkeys []account.Passkey `json:"passkeys"`
	}
}

// passkeys handles GET /api/auth/passkeys.
func (s *Server) passkeys(ctx context.Context, in *struct{ Caller }) (*passkeysOutput, error) {
	out := &passkeysOutput{}
	var err error
	out.Body.Passkeys, err = s.Accounts.Passkeys(ctx, in.Principal)
	return out, err
}

type deletePasskeyInput struct {
	Caller
	ID string `path:"id" maxLength:"64"`
}

// deletePasskey handles DELETE /api/auth/passkeys/{id}.
func (s *Server) deletePasskey(ctx context.Context, in *deletePasskeyInput) (*struct{}, error) {
	return nil, s.Accounts.DeletePasskey(ctx, in.Principal, in.ID)
}

// confirm is what POST /api/auth/reauth does: by a password, or by a passkey.
func (s *Server) confirm(ctx context.Context, in *reauthInput) (time.Time, error) {
	b := &in.Body
	if len(b.Passkey) > 0 {
		if b.Password != "" || b.MFACode != "" || b.BackupCode != "" {
			return time.Time{}, fault.New(fault.Invalid, "give a passkey or a password, not both")
		}
		return s.Accounts.ReauthPasskey(ctx, in.Principal, b.Passkey)
	}
	if b.Password == "" {
		return time.Time{}, fault.New(fault.Invalid, "give password or passkey")
	}
	return s.Accounts.Reauth(ctx, in.Principal, b.Password, account.Factor{MFACode: b.MFACode, BackupCode: b.BackupCode})
}
