package web

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"sealpost/account"
	"sealpost/audit"
)

// apiKeyRoutes are how an ADMIN gives programs a way in (SPEC §1). Which routes a scope opens is said at
// those routes (access.scoped), and by each of them in the OpenAPI document.
func (s *Server) apiKeyRoutes() {
	const path = "/api/admin/api-keys"
	admin, tags := only(audit.Admin), []string{"api keys"}
	route(s, admin, huma.Operation{
		Method: http.MethodGet, Path: path, Tags: tags, Summary: "API keys, also those that have ended, the oldest first",
	}, s.listAPIKeys)
	route(s, admin.guarded(), huma.Operation{
		Method: http.MethodPost, Path: path, Tags: tags, Summary: "Make an API key",
		Description: "The secret is in this answer and never again. The key acts for its owner: it may do what one of its scopes names " +
			"and its owner's role allows, as that is then, and no guarded action. 409 for an owner who is disabled, has yet to enroll, " +
			"or has 25 keys that count.",
		DefaultStatus: http.StatusCreated,
	}, s.createAPIKey)
	route(s, admin.guarded(), huma.Operation{
		Method: http.MethodDelete, Path: path + "/{id}", Tags: tags, Summary: "Revoke an API key, at once",
		Description: "It stays in the list. 404 where it is revoked already.",
	}, s.revokeAPIKey)
}

type apiKeysInput struct {
	Caller
	Paging
}

type apiKeysOutput struct {
	Body struct {
		APIKeys  []account.APIKey `json:"apiKeys"`
		PageInfo PageInfo         `json:"pageInfo"`
	}
}

// listAPIKeys handles GET /api/admin/api-keys.
func (s *Server) listAPIKeys(ctx context.Context, in *apiKeysInput) (*apiKeysOutput, error) {
	list, err := s.Accounts.APIKeys(ctx, in.Page)
	if err != nil {
		return nil, err
	}
	out := &apiKeysOutput{}
	out.Body.APIKeys, out.Body.PageInfo = items(list), pageInfo(list)
	return out, nil
}

type createAPIKeyInput struct {
	Caller
	Body struct {
		Name      string    `json:"name" doc:"What people call it, at most 100 characters"`
		Scopes    []string  `json:"scopes" maxItems:"5" doc:"Of dispatch:write, dispatch:read, audit:read, posture:read and posture:run"`
		ExpiresAt time.Time `json:"expiresAt" doc:"Its end, at most 365 days from now"`
		OwnerID   string    `json:"ownerId,omitempty" maxLength:"64" doc:"The user it acts for, whose jobs are its jobs; without it, the caller"`
	}
}

type createAPIKeyOutput struct {
	Body struct {
		APIKey account.APIKey `json:"apiKey"`
		Secret string         `json:"secret" doc:"The key itself, shown this once"`
	}
}

// createAPIKey handles POST /api/admin/api-keys.
func (s *Server) createAPIKey(ctx context.Context, in *createAPIKeyInput) (*createAPIKeyOutput, error) {
	out := &createAPIKeyOutput{}
	var err error
	out.Body.APIKey, out.Body.Secret, err = s.Accounts.CreateAPIKey(ctx, in.Principal, account.NewKey{
		Name: in.Body.Name, Scopes: in.Body.Scopes, ExpiresAt: in.Body.ExpiresAt, OwnerID: in.Body.OwnerID,
	})
	return out, err
}

type apiKeyInput struct {
	Caller
	ID string `path:"id" maxLength:"64"`
}

// revokeAPIKey handles DELETE /api/admin/api-keys/{id}.
func (s *Server) revokeAPIKey(ctx context.Context, in *apiKeyInput) (*struct{}, error) {
	return nil, s.Accounts.RevokeAPIKey(ctx, in.Principal, in.ID)
}
