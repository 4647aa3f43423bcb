package web

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"
)

// passwordRoutes are the two ways to a new password: for who knows the present one, and for whom an ADMIN
// has given a token (api_users.go).
func (s *Server) passwordRoutes() {
	op := func(path, summary, description string) huma.Operation {
		return huma.Operation{
			Method: http.MethodPost, Path: "/api/auth/" + path, Tags: []string{"auth"}, Summary: summary, Description: description,
		}
	}
	route(s, signedIn, op("password", "Change one's own password",
		"Other sessions end. 401 with details.currentPasswordWrong; 422 with details.issues, "+
			"every issue at once; 429 after too many failures."), s.changePassword)
	route(s, public, op("password/reset", "Choose a new password, with the token that an ADMIN has got",
		"Signs nobody in: the second factor is asked for at the next sign-in. 422 with details.issues leaves the token as it is; any "+
			"token that cannot be used is 401."), s.choosePassword)
}

type changePasswordInput struct {
	Caller
	Body struct {
		CurrentPassword string `json:"currentPassword"`
		NewPassword     string `json:"newPassword"`
	}
}

// changePassword handles POST /api/auth/password.
func (s *Server) changePassword(ctx context.Context, in *changePasswordInput) (*struct{}, error) {
	return nil, s.Accounts.ChangePassword(ctx, in.Principal, in.Body.CurrentPassword, in.Body.NewPassword)
}

type choosePasswordInput struct {
	Caller
	Body struct {
		ResetToken  string `json:"resetToken"`
		NewPassword string `json:"newPassword"`
	}
}

// choosePassword handles POST /api/auth/password/reset.
func (s *Server) choosePassword(ctx context.Context, in *choosePasswordInput) (*struct{}, error) {
	return nil, s.Accounts.ChoosePassword(ctx, in.Principal, in.Body.ResetToken, in.Body.NewPassword)
}

type resetPasswordInput struct {
	Caller
	ID   string `path:"id" maxLength:"64"`
	Body struct {
		Reason string `json:"reason" doc:"At most 500 characters; kept in the audit log"`
	}
}

type resetPasswordOutput struct {
	Body struct {
		ResetToken string    `json:"resetToken" doc:"For POST /api/auth/password/reset; shown this once"`
		ExpiresAt  time.Time `json:"expiresAt" doc:"In an hour"`
	}
}

// resetPassword handles POST /api/admin/users/{id}/password-reset.
func (s *Server) resetPassword(ctx context.Context, in *resetPasswordInput) (*resetPasswordOutput, error) {
	r, err := s.Accounts.ResetPassword(ctx, in.Principal, in.ID, in.Body.Reason)
	if err != nil {
		return nil, err
	}
	out := &resetPasswordOutput{}
	out.Body.ResetToken, out.Body.ExpiresAt = r.Token, r.ExpiresAt
	return out, nil
}
