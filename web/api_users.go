package web

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"sealpost/account"
	"sealpost/audit"
)

// userRoutes are an ADMIN's view of the people (runbook §1).
func (s *Server) userRoutes() {
	op := func(method, path, summary, description string) huma.Operation {
		return huma.Operation{Method: method, Path: "/api/admin/users" + path, Tags: []string{"users"}, Summary: summary, Description: description}
	}
	route(s, only(audit.Admin), op(http.MethodGet, "", "All users, the oldest first", ""), s.users)
	route(s, only(audit.Admin), op(http.MethodPatch, "/{id}", "Change a user's name or role, or disable them",
		"Needs a fresh sign-in. Disabling ends their sessions at once. The last enabled ADMIN stays one: 409."), s.changeUser)
	route(s, only(audit.Admin), op(http.MethodPost, "/{id}/mfa/reset", "Take a user's second factor away, for a lost phone",
		"Needs a fresh sign-in. Their sessions end; they have 72 hours to enroll again."), s.resetMFA)
}

type usersInput struct {
	Caller
	Paging
}

type usersOutput struct {
	Body struct {
		Users    []account.User `json:"users"`
		PageInfo PageInfo       `json:"pageInfo"`
	}
}

// users handles GET /api/admin/users.
func (s *Server) users(ctx context.Context, in *usersInput) (*usersOutput, error) {
	list, err := s.Accounts.Users(ctx, in.Page)
	if err != nil {
		return nil, err
	}
	out := &usersOutput{}
	out.Body.Users, out.Body.PageInfo = items(list), pageInfo(list)
	return out, nil
}

type changeUserInput struct {
	Caller
	ID   string `path:"id" maxLength:"64"`
	Body struct {
		Name     *string `json:"name,omitempty"`
		Role     *string `json:"role,omitempty" doc:"ADMIN, AUTHOR or AUDITOR"`
		Disabled *bool   `json:"disabled,omitempty"`
	}
}

// changeUser handles PATCH /api/admin/users/{id}.
func (s *Server) changeUser(ctx context.Context, in *changeUserInput) (*userOutput, error) {
	return userOut(s.Accounts.ChangeUser(ctx, in.Principal, in.ID,
		account.UserPatch{Name: in.Body.Name, Role: in.Body.Role, Disabled: in.Body.Disabled}))
}

type resetMFAInput struct {
	Caller
	ID   string `path:"id" maxLength:"64"`
	Body struct {
		Reason string `json:"reason" doc:"At most 500 characters; kept in the audit log"`
	}
}

// resetMFA handles POST /api/admin/users/{id}/mfa/reset.
func (s *Server) resetMFA(ctx context.Context, in *resetMFAInput) (*userOutput, error) {
	return userOut(s.Accounts.ResetMFA(ctx, in.Principal, in.ID, in.Body.Reason))
}
