package web

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"sealpost/account"
)

// mfaRoutes are the two ways to a second factor (runbook §1): setup and enable for who is signed in,
// enroll for who may not be before.
func (s *Server) mfaRoutes() {
	op := func(path, summary, description string) huma.Operation {
		return huma.Operation{
			Method: http.MethodPost, Path: "/api/auth/mfa/" + path, Tags: []string{"auth"}, Summary: summary, Description: description,
		}
	}
	route(s, public, op("enroll/start", "Get a TOTP secret, with an enrollment token",
		"Each call gives a new secret; an earlier one is void."), s.enrollStart)
	route(s, public, op("enroll/complete", "Enroll a second factor and sign in",
		"422 with details.newPasswordRequired where an ADMIN had set the password. The code cannot be used again."), s.enrollComplete)
	route(s, signedIn, op("setup", "Get a TOTP secret to be enabled within 15 minutes",
		"For an enrolled user, who needs a fresh sign-in, the old one works until then."), s.mfaSetup)
	route(s, signedIn, op("enable", "Make the secret of setup the second factor", "Other sessions end."), s.mfaEnable)
	route(s, signedIn, op("disable", "Give the second factor up", "409 where MFA is required. Needs a fresh sign-in."), s.mfaDisable)
	route(s, signedIn, op("backup-codes/regenerate", "Get eight new backup codes; the old ones are void",
		"Needs a fresh sign-in."), s.regenerateBackupCodes)
}

type setupOutput struct {
	Body struct {
		Setup account.Setup `json:"setup"`
	}
}

func setupOut(setup account.Setup, err error) (*setupOutput, error) {
	if err != nil {
		return nil, err
	}
	out := &setupOutput{}
	out.Body.Setup = setup
	return out, nil
}

type enrollStartInput struct {
	Body struct {
		EnrollmentToken string `json:"enrollmentToken"`
	}
}

// enrollStart handles POST /api/auth/mfa/enroll/start.
func (s *Server) enrollStart(ctx context.Context, in *enrollStartInput) (*setupOutput, error) {
	return setupOut(s.Accounts.EnrollStart(ctx, in.Body.EnrollmentToken))
}

type enrollCompleteInput struct {
	Caller
	Body struct {
		EnrollmentToken string `json:"enrollmentToken"`
		MFACode         string `json:"mfaCode"`
		NewPassword     string `json:"newPassword,omitempty" doc:"Where an ADMIN had set the password"`
	}
}

type enrollCompleteOutput struct {
	SetCookie []string `header:"Set-Cookie"`
	Body      struct {
		signInBody
		BackupCodes []string `json:"backupCodes" doc:"Eight, shown this once"`
	}
}

// enrollComplete handles POST /api/auth/mfa/enroll/complete.
func (s *Server) enrollComplete(ctx context.Context, in *enrollCompleteInput) (*enrollCompleteOutput, error) {
	r, err := s.Accounts.EnrollComplete(ctx, in.Principal, in.Body.EnrollmentToken, in.Body.MFACode, in.Body.NewPassword)
	if err != nil {
		return nil, err
	}
	out := &enrollCompleteOutput{SetCookie: s.signInCookies(r)}
	out.Body.signInBody = signInBody{Token: r.Token, ExpiresAt: r.ExpiresAt, User: r.User}
	out.Body.BackupCodes = r.BackupCodes
	return out, nil
}

// mfaSetup handles POST /api/auth/mfa/setup.
func (s *Server) mfaSetup(ctx context.Context, in *struct{ Caller }) (*setupOutput, error) {
	return setupOut(s.Accounts.MFASetup(ctx, in.Principal))
}

type mfaCodeInput struct {
	Caller
	Body struct {
		MFACode string `json:"mfaCode"`
	}
}

type mfaEnableOutput struct {
	Body struct {
		Enabled     bool     `json:"enabled"`
		BackupCodes []string `json:"backupCodes" doc:"Eight, shown this once"`
	}
}

// mfaEnable handles POST /api/auth/mfa/enable.
func (s *Server) mfaEnable(ctx context.Context, in *mfaCodeInput) (*mfaEnableOutput, error) {
	codes, err := s.Accounts.MFAEnable(ctx, in.Principal, in.Body.MFACode)
	out := &mfaEnableOutput{}
	out.Body.Enabled, out.Body.BackupCodes = true, codes
	return out, err
}

type mfaDisableInput struct {
	Caller
	Body struct {
		MFACode    string `json:"mfaCode,omitempty"`
		BackupCode string `json:"backupCode,omitempty"`
	}
}

type mfaDisableOutput struct {
	Body struct {
		Enabled bool `json:"enabled"`
	}
}

// mfaDisable handles POST /api/auth/mfa/disable.
func (s *Server) mfaDisable(ctx context.Context, in *mfaDisableInput) (*mfaDisableOutput, error) {
	return &mfaDisableOutput{}, s.Accounts.MFADisable(ctx, in.Principal,
		account.Factor{MFACode: in.Body.MFACode, BackupCode: in.Body.BackupCode})
}

type backupCodesOutput struct {
	Body struct {
		BackupCodes []string `json:"backupCodes" doc:"Eight, shown this once"`
	}
}

// regenerateBackupCodes handles POST /api/auth/mfa/backup-codes/regenerate.
func (s *Server) regenerateBackupCodes(ctx context.Context, in *mfaCodeInput) (*backupCodesOutput, error) {
	out := &backupCodesOutput{}
	var err error
	out.Body.BackupCodes, err = s.Accounts.RegenerateBackupCodes(ctx, in.Principal, in.Body.MFACode)
	return out, err
}
