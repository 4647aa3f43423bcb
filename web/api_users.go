package web

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"sealpost/account"
	"sealpost/audit"
	"sealpost/fault"
	"sealpost/store"
)

// userRoutes are an ADMIN's view of the people (runbook §1).
func (s *Server) userRoutes() {
	op := func(method, path, summary, description string) huma.Operation {
		return huma.Operation{Method: method, Path: "/api/admin/users" + path, Tags: []string{"users"}, Summary: summary, Description: description}
	}
	admin := only(audit.Admin)
	guarded := admin.guarded()
	route(s, admin.orOperator(), op(http.MethodGet, "", "All users, the oldest first", ""), s.users)
	route(s, guarded, op(http.MethodPatch, "/{id}", "Change a user's name or role, or disable them",
		"Disabling ends their sessions at once. The last enabled ADMIN stays one: 409."), s.changeUser)
	route(s, guarded.orOperator(), op(http.MethodPost, "/{id}/mfa/reset", "Take a user's second factor away, for a lost phone",
		"Their sessions end; they have 72 hours to enroll again."), s.resetMFA)
	route(s, guarded.orOperator(), op(http.MethodPost, "/{id}/password-reset", "Take a user's password away, and let them choose another",
		"Their sessions end. The token is in this answer and never again; it works once, for an hour, at POST /api/auth/password/reset. "+
			"409 for a disabled user, and for one's own password."), s.resetPassword)
}

type usersInput struct {
	Caller
	Paging
	Email string `query:"email" maxLength:"254" doc:"Only the user with this address, however it is spelt"`
}

type usersOutput struct {
	Body struct {
		Users    []account.User `json:"users"`
		PageInfo PageInfo       `json:"pageInfo"`
	}
}

// users handles GET /api/admin/users.
func (s *Server) users(ctx context.Context, in *usersInput) (*usersOutput, error) {
	var list store.List[account.User]
	var err error
	if in.Email == "" {
		list, err = s.Accounts.Users(ctx, in.Page)
	} else if u, e := s.Accounts.UserByEmail(ctx, in.Email); e == nil {
		list.Items = []account.User{u}
	} else if !fault.Is(e, fault.NotFound) {
		err = e
	}
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
