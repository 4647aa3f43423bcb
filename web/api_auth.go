package web

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"sealpost/account"
	"sealpost/audit"
	"sealpost/fault"
)

// authRoutes are how people get in, stay in and get out (runbook §1, §2, §4).
func (s *Server) authRoutes() {
	op := func(method, path, summary, description string) huma.Operation {
		return huma.Operation{Method: method, Path: "/api/auth/" + path, Tags: []string{"auth"}, Summary: summary, Description: description}
	}
	created := func(o huma.Operation) huma.Operation {
		o.DefaultStatus = http.StatusCreated
		return o
	}
	route(s, public, op(http.MethodGet, "policy", "What a password must be, and how one signs in here", ""), s.authPolicy)
	route(s, public, op(http.MethodGet, "bootstrap-status", "Whether there is an account yet", ""), s.bootstrapStatus)
	route(s, public, created(op(http.MethodPost, "register-first", "Make the first account, an ADMIN, once ever",
		"409 once it is made. In production it comes straight from the server's own machine, or with X-Bootstrap-Token. "+
			"Where MFA is required there is no access token but an enrollmentToken.")), s.registerFirst)
	route(s, only(audit.Admin).guarded().orOperator(), created(op(http.MethodPost, "register", "Make an account",
		"A weak password is 422 with details.issues, every issue at once.")), s.register)
	route(s, public, op(http.MethodPost, "login", "Sign in",
		"401 with details.mfaRequired when the password was right and a second factor is missing or wrong; 403 with "+
			"details.mfaEnrollmentRequired and details.enrollmentToken when one has to be enrolled; 429 after too many failures. "+
			"The refresh token comes in a cookie."), s.login)
	if s.Config.Auth.AllowDevLogin && !s.Config.Production() {
		route(s, public, op(http.MethodPost, "dev-login", "Sign in without a password", "For development: ALLOW_DEV_LOGIN."), s.devLogin)
	}
	route(s, public, op(http.MethodPost, "refresh", "Get a new access token",
		"By the cookie, or by refreshToken in the body. The refresh token is replaced; for 10 s a spent one gives the same "+
			"successor again, after that it ends the whole session."), s.refresh)
	route(s, signedIn, op(http.MethodPost, "logout", "End this session", ""), s.logout)
	route(s, signedIn.orOperator(), op(http.MethodPost, "logout-all", "End all own sessions, or, as an ADMIN, other people's",
		"Access tokens end at once. userId and everyone are for an ADMIN with a fresh sign-in."), s.logoutAll)
	route(s, signedIn, op(http.MethodPost, "reauth", "Confirm that it is you, for what needs a fresh sign-in",
		"By password, and a second factor where there is one; or by a passkey."), s.reauth)
	route(s, signedIn, op(http.MethodGet, "me", "Who is signed in", ""), s.me)
	route(s, signedIn, op(http.MethodGet, "sessions", "Own sessions, the newest first, at most 200", ""), s.sessions)
	route(s, signedIn, op(http.MethodDelete, "sessions/{id}", "End one of one's own sessions", ""), s.endSession)
}

type authPolicyOutput struct {
	Body struct {
		PasswordPolicy struct {
			MinLength          int  `json:"minLength" doc:"In code points"`
			MaxLength          int  `json:"maxLength" doc:"In code points"`
			RequireUppercase   bool `json:"requireUppercase"`
			RequireLowercase   bool `json:"requireLowercase"`
			RequireNumber      bool `json:"requireNumber"`
			RequireSymbol      bool `json:"requireSymbol"`
			AllowWhitespace    bool `json:"allowWhitespace"`
			RejectWeakPatterns bool `json:"rejectWeakPatterns"`
		} `json:"passwordPolicy"`
		MFARequired     bool `json:"mfaRequired"`
		DevLoginEnabled bool `json:"devLoginEnabled"`
	}
}

// authPolicy handles GET /api/auth/policy. All but the length is fixed (runbook §2).
func (s *Server) authPolicy(context.Context, *struct{}) (*authPolicyOutput, error) {
	out := &authPolicyOutput{}
	p := &out.Body.PasswordPolicy
	p.MinLength, p.MaxLength = s.Config.Auth.PasswordMinLength, account.MaxPasswordLength
	p.RequireUppercase, p.RequireLowercase, p.RequireNumber, p.RequireSymbol, p.RejectWeakPatterns = true, true, true, true, true
	out.Body.MFARequired = s.Config.Auth.MFARequired
	out.Body.DevLoginEnabled = s.Config.Auth.AllowDevLogin && !s.Config.Production()
	return out, nil
}

type bootstrapStatusOutput struct {
	Body struct {
		HasUsers bool `json:"hasUsers"`
	}
}

// bootstrapStatus handles GET /api/auth/bootstrap-status.
func (s *Server) bootstrapStatus(ctx context.Context, _ *struct{}) (*bootstrapStatusOutput, error) {
	out := &bootstrapStatusOutput{}
	var err error
	out.Body.HasUsers, err = s.Accounts.HasUsers(ctx)
	return out, err
}

type registerFirstInput struct {
	Caller
	Token string `header:"X-Bootstrap-Token" doc:"In production: what BOOTSTRAP_TOKEN holds"`
	Body  struct {
		Email    string `json:"email"`
		Name     string `json:"name"`
		Password string `json:"password"`
		Role     string `json:"role,omitempty" doc:"ADMIN, or left out"`
	}
}

type registerFirstOutput struct {
	SetCookie []string `header:"Set-Cookie"`
	Body      struct {
		User                  account.User `json:"user"`
		Token                 string       `json:"token,omitempty" doc:"The access token"`
		ExpiresAt             *time.Time   `json:"expiresAt,omitempty"`
		MFAEnrollmentRequired bool         `json:"mfaEnrollmentRequired,omitempty"`
		EnrollmentToken       string       `json:"enrollmentToken,omitempty" doc:"For /api/auth/mfa/enroll/start; lives 15 minutes"`
	}
}

// registerFirst handles POST /api/auth/register-first.
func (s *Server) registerFirst(ctx context.Context, in *registerFirstInput) (*registerFirstOutput, error) {
	r, err := s.Accounts.RegisterFirst(ctx, in.Principal,
		account.NewUser{Email: in.Body.Email, Name: in.Body.Name, Password: in.Body.Password, Role: in.Body.Role},
		account.Bootstrap{Token: in.Token, Direct: exchangeOf(ctx).direct})
	if err != nil {
		return nil, err
	}
	out := &registerFirstOutput{}
	out.Body.User = r.User
	if r.EnrollmentToken != "" {
		out.Body.MFAEnrollmentRequired, out.Body.EnrollmentToken = true, r.EnrollmentToken
		return out, nil
	}
	out.SetCookie = s.signInCookies(r.SignIn)
	out.Body.Token, out.Body.ExpiresAt = r.SignIn.Token, &r.SignIn.ExpiresAt
	return out, nil
}

type registerInput struct {
	Caller
	Body struct {
		Email    string `json:"email"`
		Name     string `json:"name"`
		Password string `json:"password" doc:"To be replaced by its user at enrollment"`
		Role     string `json:"role" doc:"ADMIN, AUTHOR or AUDITOR"`
		Reason   string `json:"reason,omitempty" doc:"At most 500 characters, for the audit log; by the operator's socket it is needed"`
	}
}

type userOutput struct {
	Body struct {
		User account.User `json:"user"`
	}
}

func userOut(u account.User, err error) (*userOutput, error) {
	if err != nil {
		return nil, err
	}
	out := &userOutput{}
	out.Body.User = u
	return out, nil
}

// register handles POST /api/auth/register.
func (s *Server) register(ctx context.Context, in *registerInput) (*userOutput, error) {
	return userOut(s.Accounts.Register(ctx, in.Principal,
		account.NewUser{Email: in.Body.Email, Name: in.Body.Name, Password: in.Body.Password, Role: in.Body.Role, Reason: in.Body.Reason}))
}

// signInBody is what everybody gets who has signed in or refreshed.
type signInBody struct {
	Token     string       `json:"token" doc:"The access token"`
	ExpiresAt time.Time    `json:"expiresAt" doc:"The access token's end"`
	User      account.User `json:"user"`
}

type signInOutput struct {
	SetCookie []string `header:"Set-Cookie"`
	Body      signInBody
}

func (s *Server) signInOut(in account.SignIn, err error) (*signInOutput, error) {
	if err != nil {
		return nil, err
	}
	return &signInOutput{SetCookie: s.signInCookies(in), Body: signInBody{Token: in.Token, ExpiresAt: in.ExpiresAt, User: in.User}}, nil
}

type loginInput struct {
	Caller
	Body struct {
		Email      string `json:"email"`
		Password   string `json:"password"`
		MFACode    string `json:"mfaCode,omitempty" doc:"Six digits of the authenticator app"`
		BackupCode string `json:"backupCode,omitempty" doc:"Instead of mfaCode, once"`
	}
}

// login handles POST /api/auth/login.
func (s *Server) login(ctx context.Context, in *loginInput) (*signInOutput, error) {
	return s.signInOut(s.Accounts.Login(ctx, in.Principal, account.Credentials{
		Email: in.Body.Email, Password: in.Body.Password,
		Factor: account.Factor{MFACode: in.Body.MFACode, BackupCode: in.Body.BackupCode},
		Device: s.deviceOf(exchangeOf(ctx).request),
	}))
}

type devLoginInput struct {
	Caller
	Body struct {
		Email string `json:"email"`
		Name  string `json:"name"`
		Role  string `json:"role" doc:"ADMIN, AUTHOR or AUDITOR"`
	}
}

// devLogin handles POST /api/auth/dev-login.
func (s *Server) devLogin(ctx context.Context, in *devLoginInput) (*signInOutput, error) {
	return s.signInOut(s.Accounts.DevLogin(ctx, in.Principal, account.NewDevUser{Email: in.Body.Email, Name: in.Body.Name, Role: in.Body.Role}))
}

type refreshInput struct {
	Caller
	Body *struct {
		RefreshToken string `json:"refreshToken"`
	}
}

// refresh handles POST /api/auth/refresh.
func (s *Server) refresh(ctx context.Context, in *refreshInput) (*signInOutput, error) {
	var token string
	if in.Body != nil {
		token = in.Body.RefreshToken
	} else {
		var err error
		if token, err = s.refreshTokenOf(exchangeOf(ctx).request); err != nil {
			return nil, err
		}
	}
	return s.signInOut(s.Accounts.Refresh(ctx, in.Principal, token))
}

type signedOutOutput struct {
	SetCookie string `header:"Set-Cookie"`
}

// logout handles POST /api/auth/logout.
func (s *Server) logout(ctx context.Context, in *struct{ Caller }) (*signedOutOutput, error) {
	return &signedOutOutput{SetCookie: s.noRefreshCookie()}, s.Accounts.Logout(ctx, in.Principal)
}

type logoutAllInput struct {
	Caller
	Body *struct {
		UserID   string `json:"userId,omitempty" maxLength:"64" doc:"Whose sessions, as an ADMIN"`
		Everyone bool   `json:"everyone,omitempty" doc:"Everyone's, one's own too, as an ADMIN"`
		Reason   string `json:"reason,omitempty" doc:"At most 500 characters, for the audit log; by the operator's socket it is needed"`
	}
}

// logoutAll handles POST /api/auth/logout-all.
func (s *Server) logoutAll(ctx context.Context, in *logoutAllInput) (*signedOutOutput, error) {
	var whose account.Whose
	if in.Body != nil {
		whose = account.Whose{UserID: in.Body.UserID, Everyone: in.Body.Everyone, Reason: in.Body.Reason}
	}
	out := &signedOutOutput{}
	if whose.UserID == "" {
		out.SetCookie = s.noRefreshCookie()
	}
	return out, s.Accounts.LogoutAll(ctx, in.Principal, whose)
}

type reauthInput struct {
	Caller
	Body struct {
		Password   string              `json:"password,omitempty"`
		MFACode    string              `json:"mfaCode,omitempty"`
		BackupCode string              `json:"backupCode,omitempty"`
		Passkey    publicKeyCredential `json:"passkey,omitempty" doc:"Instead of a password: the answer to passkeys/reauth/start"`
	}
}

type reauthOutput struct {
	Body struct {
		ReauthenticatedAt time.Time `json:"reauthenticatedAt"`
	}
}

// reauth handles POST /api/auth/reauth.
func (s *Server) reauth(ctx context.Context, in *reauthInput) (*reauthOutput, error) {
	out := &reauthOutput{}
	var err error
	out.Body.ReauthenticatedAt, err = s.confirm(ctx, in)
	return out, err
}

// me handles GET /api/auth/me: who was read to admit the request.
func (s *Server) me(ctx context.Context, _ *struct{}) (*userOutput, error) {
	return userOut(exchangeOf(ctx).user, nil)
}

type sessionsOutput struct {
	Body struct {
		Sessions []account.Session `json:"sessions"`
	}
}

// sessions handles GET /api/auth/sessions.
func (s *Server) sessions(ctx context.Context, in *struct{ Caller }) (*sessionsOutput, error) {
	out := &sessionsOutput{}
	var err error
	out.Body.Sessions, err = s.Accounts.Sessions(ctx, in.Principal)
	return out, err
}

type endSessionInput struct {
	Caller
	ID string `path:"id" maxLength:"64"`
}

// endSession handles DELETE /api/auth/sessions/{id}.
func (s *Server) endSession(ctx context.Context, in *endSessionInput) (*struct{}, error) {
	return nil, s.Accounts.EndSession(ctx, in.Principal, in.ID)
}

// The refresh token's cookie. No page's script can read it, no other site's request carries it, and it
// goes to no route but those of signing in.
const (
	refreshCookieName = "sealpost_refresh"
	refreshCookiePath = "/api/auth"
)

func (s *Server) refreshCookie(in account.SignIn) string {
	return s.cookie(in.RefreshToken, in.RefreshExpiresAt, 0)
}

// noRefreshCookie takes the cookie away.
func (s *Server) noRefreshCookie() string { return s.cookie("", time.Time{}, -1) }

func (s *Server) cookie(value string, expires time.Time, maxAge int) string {
	return (&http.Cookie{ //nolint:gosec // Secure wherever there is TLS: a pilot on http://localhost has none
		Name: refreshCookieName, Value: value, Path: refreshCookiePath, Expires: expires, MaxAge: maxAge,
		HttpOnly: true, SameSite: http.SameSiteStrictMode,
		Secure: s.secureCookies(),
	}).String()
}

func (s *Server) secureCookies() bool {
	return s.Config.Production() || s.Config.PublicURL.Scheme == "https"
}

// crossOrigin refuses what a page of another site has made a browser send (SPEC §3). SameSite does that
// too, but takes a sibling domain for the same site.
var crossOrigin = http.NewCrossOriginProtection()

// refreshTokenOf gives the token of a request's cookie. Of two cookies of that name one has been set by
// somebody else, and nobody can tell which.
func (s *Server) refreshTokenOf(r *http.Request) (string, error) {
	cookies := r.CookiesNamed(refreshCookieName)
	if len(cookies) != 1 {
		return "", fault.New(fault.Unauthenticated, "there is no refresh token: give its cookie, or refreshToken in the body")
	}
	if err := crossOrigin.Check(r); err != nil {
		return "", fault.Wrap(fault.Forbidden, err, "this request comes from another site's page")
	}
	return cookies[0].Value, nil
}
