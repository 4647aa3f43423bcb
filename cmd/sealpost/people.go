package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"sealpost/account"
	"sealpost/audit"
	"sealpost/client"
	"sealpost/config"
	"sealpost/fault"
	"sealpost/store"
)

// people is whom `sealpost user` asks: the server that runs here, or the database where none does.
type people interface {
	where() string
	find(ctx context.Context, email string) (id string, err error)
	create(context.Context, account.NewUser) (account.User, error)
	resetMFA(ctx context.Context, id, reason string) (account.User, error)
	resetPassword(ctx context.Context, id, reason string) (token string, until time.Time, err error)
	choose(ctx context.Context, token, password string) error
	revoke(context.Context, account.Whose) error
	close() error
}

// reachPeople finds whom to ask.
func reachPeople(ctx context.Context, p program, c *config.Config) (people, error) {
	api := &client.Client{URL: "http://operator", HTTP: operatorClient(operatorPath(c.DataDir), verifyTimeout)}
	err := api.Call(ctx, http.MethodGet, "/livez", nil, nil)
	switch {
	case err == nil:
		return &peopleOverSocket{api}, nil
	case errors.Is(err, fs.ErrPermission):
		return nil, fmt.Errorf("%w: run this as the server's own account or as root", err)
	case !nobodyThere(err):
		return nil, err
	}
	api.HTTP.CloseIdleConnections()
	if path, ok := strings.CutPrefix(string(c.DatabaseURL.Reveal()), "sqlite:"); ok {
		if _, err := os.Stat(path); err != nil { // a new one, in the wrong place, would be no help at all
			return nil, fmt.Errorf("%w: are this installation's variables set here? (its environment file, DATA_DIR, DATABASE_URL)", err)
		}
	}
	for name, s := range map[string]config.Secret{"JWT_SECRET": c.Secrets.JWT, "DATA_ENCRYPTION_KEY": c.Secrets.Data, "AUDIT_SIGNING_KEY": c.Secrets.Audit} {
		if !s.IsSet() {
			return nil, fmt.Errorf("%s is not set: are this installation's variables set here? (its environment file, DATA_DIR)", name)
		}
	}
	db, err := openDatabase(ctx, c, slog.New(slog.NewTextHandler(p.stderr, &slog.HandlerOptions{Level: slog.LevelWarn})))
	if errors.Is(err, store.ErrLocked) {
		err = fmt.Errorf("%w, and does not answer on the operator's socket %s", err, operatorPath(c.DataDir))
	}
	if err != nil {
		return nil, err
	}
	return &peopleInDatabase{db, account.New(db.log, db.keeper.Keys(), accountOptions(c))}, nil
}

// peopleOverSocket asks the server that runs here.
type peopleOverSocket struct{ api *client.Client }

func (s *peopleOverSocket) where() string { return "the server that runs here" }

func (s *peopleOverSocket) call(ctx context.Context, method, path string, body, answer any) error {
	err := s.api.Call(ctx, method, path, body, answer)
	if p, ok := errors.AsType[*client.Problem](err); ok {
		var issues []account.Issue
		if text, e := json.Marshal(p.Details["issues"]); e == nil {
			_ = json.Unmarshal(text, &issues) // there are none where it is something else
		}
		return weak(errors.New(p.Message), issues)
	}
	return err
}

func (s *peopleOverSocket) find(ctx context.Context, email string) (string, error) {
	var answer struct{ Users []account.User }
	err := s.call(ctx, http.MethodGet, "/api/admin/users?email="+url.QueryEscape(email), nil, &answer)
	if err == nil && len(answer.Users) == 0 {
		err = noUser(email)
	}
	if err != nil {
		return "", err
	}
	return answer.Users[0].ID, nil
}

func noUser(email string) error {
	return fmt.Errorf("there is no account with the address %s", plain(email))
}

func (s *peopleOverSocket) create(ctx context.Context, n account.NewUser) (account.User, error) {
	var answer struct{ User account.User }
	err := s.call(ctx, http.MethodPost, "/api/auth/register", map[string]any{
		"email": n.Email, "name": n.Name, "password": n.Password, "role": n.Role, "reason": n.Reason,
	}, &answer)
	return answer.User, err
}

func (s *peopleOverSocket) resetMFA(ctx context.Context, id, reason string) (account.User, error) {
	var answer struct{ User account.User }
	err := s.call(ctx, http.MethodPost, "/api/admin/users/"+id+"/mfa/reset", map[string]any{"reason": reason}, &answer)
	return answer.User, err
}

func (s *peopleOverSocket) resetPassword(ctx context.Context, id, reason string) (string, time.Time, error) {
	var answer struct {
		ResetToken string
		ExpiresAt  time.Time
	}
	err := s.call(ctx, http.MethodPost, "/api/admin/users/"+id+"/password-reset", map[string]any{"reason": reason}, &answer)
	return answer.ResetToken, answer.ExpiresAt, err
}

func (s *peopleOverSocket) choose(ctx context.Context, token, password string) error {
	return s.call(ctx, http.MethodPost, "/api/auth/password/reset", map[string]any{"resetToken": token, "newPassword": password}, nil)
}

func (s *peopleOverSocket) revoke(ctx context.Context, whose account.Whose) error {
	body := map[string]any{"reason": whose.Reason}
	if whose.Everyone {
		body["everyone"] = true
	} else {
		body["userId"] = whose.UserID
	}
	return s.call(ctx, http.MethodPost, "/api/auth/logout-all", body, nil)
}

func (s *peopleOverSocket) close() error {
	s.api.HTTP.CloseIdleConnections()
	return nil
}

// peopleInDatabase does it in this process. Servers elsewhere on the same database see it at once.
type peopleInDatabase struct {
	db       *inDatabase
	accounts *account.Accounts
}

func (s *peopleInDatabase) where() string { return "this command, in the database" }

var theOperator = audit.Itself("operator")

// explained gives an error the issues of a weak password, which are its details.
func explained(err error) error {
	if f, ok := errors.AsType[*fault.Error](err); ok {
		issues, _ := f.Details["issues"].([]account.Issue)
		return weak(err, issues)
	}
	return err
}

func (s *peopleInDatabase) find(ctx context.Context, email string) (string, error) {
	u, err := s.accounts.UserByEmail(ctx, email)
	if fault.Is(err, fault.NotFound) {
		err = noUser(email)
	}
	return u.ID, err
}

func (s *peopleInDatabase) create(ctx context.Context, n account.NewUser) (account.User, error) {
	u, err := s.accounts.Register(ctx, theOperator, n)
	return u, explained(err)
}

func (s *peopleInDatabase) resetMFA(ctx context.Context, id, reason string) (account.User, error) {
	return s.accounts.ResetMFA(ctx, theOperator, id, reason)
}

func (s *peopleInDatabase) resetPassword(ctx context.Context, id, reason string) (string, time.Time, error) {
	r, err := s.accounts.ResetPassword(ctx, theOperator, id, reason)
	return r.Token, r.ExpiresAt, err
}

func (s *peopleInDatabase) choose(ctx context.Context, token, password string) error {
	return explained(s.accounts.ChoosePassword(ctx, theOperator, token, password))
}

func (s *peopleInDatabase) revoke(ctx context.Context, whose account.Whose) error {
	return s.accounts.LogoutAll(ctx, theOperator, whose)
}

func (s *peopleInDatabase) close() error {
	ctx, cancel := context.WithTimeout(context.Background(), closeFor)
	defer cancel()
	return errors.Join(s.accounts.Close(ctx), s.db.close())
}
