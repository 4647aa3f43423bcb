package web

import (
	"context"
	"net/http"
	"slices"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"sealpost/audit"
	"sealpost/fault"
)

// access says who may use a route. The zero access is none: a route that has it is not made.
type access struct {
	declared bool
	public   bool
	roles    []audit.Role // empty: every role
	scope    string       // of the API keys that may, too; "": none may
	loopback bool         // also whoever asks straight from this machine
	operator bool         // also whoever reaches the operator's socket (operator.go)
	fresh    bool         // only with a sign-in or reauth within REAUTH_MAX_AGE_MINUTES
}

var (
	// public is for everybody, signed in or not. A token that comes along is not looked at.
	public = access{declared: true, public: true}
	// signedIn is for every person who is signed in.
	signedIn = access{declared: true}
)

// only is for people of these roles.
func only(roles ...audit.Role) access { return access{declared: true, roles: roles} }

// scoped also admits API keys that have a scope, of owners whose role the rule names.
func (a access) scoped(scope string) access {
	a.scope = scope
	return a
}

// orLoopback also admits whoever asks straight from this machine, who is then nobody in particular.
func (a access) orLoopback() access {
	a.loopback = true
	return a
}

// orOperator also admits whoever comes by the operator's socket, who is then the operator.
func (a access) orOperator() access {
	a.operator = true
	return a
}

// guarded also asks for a fresh sign-in (SPEC §5.6).
func (a access) guarded() access {
	a.fresh = true
	return a
}

// security is the access rule as OpenAPI says it.
func (a access) security() []map[string][]string {
	if a.public {
		return []map[string][]string{} // says so, where leaving it out would mean "as everywhere"
	}
	ways := []map[string][]string{{"bearer": {}}}
	if a.scope != "" {
		ways = append(ways, map[string][]string{"apiKey": {a.scope}})
	}
	if a.loopback {
		ways = append(ways, map[string][]string{})
	}
	return ways
}

// describe says in words who may use a route.
func (a access) describe() string {
	var who string
	switch {
	case a.public:
		return "Public."
	case len(a.roles) == 0:
		who = "For everyone who is signed in"
	default:
		names := make([]string, len(a.roles))
		for i, r := range a.roles {
			names[i] = string(r)
		}
		who = "For " + strings.Join(names, " or ")
	}
	if a.scope != "" {
		who += ", also by an API key with the scope " + a.scope
	}
	if a.loopback {
		who += ", or straight from the server's own machine"
	}
	if a.operator {
		who += ", or by the operator's socket in DATA_DIR"
	}
	if a.fresh {
		who += ", with a fresh sign-in: otherwise 401 with details.reauthRequired"
	}
	return who + "."
}

// admits tells whether a principal may use the route. API keys reach only what their scopes name, so
// a rule that names no scope is for people; and what asks for a fresh sign-in is for people always.
func (a access) admits(p audit.Principal) bool {
	switch {
	case a.public:
		return true
	case p.Kind == audit.Service:
		if a.scope == "" || a.fresh || !slices.Contains(p.Scopes, a.scope) {
			return false
		}
	case p.Kind != audit.User:
		return false
	}
	return len(a.roles) == 0 || slices.Contains(a.roles, p.Role)
}

// refusal tells a principal whom the rule does not admit why.
func (a access) refusal(p audit.Principal) error {
	switch {
	case p.Kind != audit.Service:
		return fault.New(fault.Forbidden, "your role does not allow this")
	case a.scope == "" || a.fresh:
		return fault.New(fault.Forbidden, "this is for people: an API key cannot do it")
	case !slices.Contains(p.Scopes, a.scope):
		return fault.New(fault.Forbidden, "the API key has not the scope %s", a.scope).With("scope", a.scope)
	}
	return fault.New(fault.Forbidden, "the role of the API key's owner does not allow this")
}

// admit finds out who is asking and whether they may. It reads nothing of the body.
func (s *Server) admit(ctx context.Context, x *exchange, r *http.Request) error {
	a := x.route.access
	if a.public {
		return nil
	}
	if a.operator && fromOperator(ctx) {
		x.principal = asOperator(x.principal)
		return nil
	}
	token, err := bearerToken(r)
	if err != nil {
		return err
	}
	if token == "" {
		if a.loopback && x.direct {
			return nil
		}
		return fault.New(fault.Unauthenticated, "sign in first: this needs an access token")
	}
	p, user, err := s.Accounts.AuthenticateUser(ctx, token, x.principal)
	if err != nil {
		return err
	}
	x.principal, x.user = p, user
	denied := audit.Event{Action: "access.denied", Entity: "Route", EntityID: x.route.name}
	if !a.admits(p) {
		return s.Log.Refused(ctx, p, denied, a.refusal(p))
	}
	if a.fresh {
		if err := s.Accounts.Guard(p); err != nil {
			denied.Details = map[string]any{"reason": "reauthRequired"}
			return s.Log.Refused(ctx, p, denied, err)
		}
	}
	return nil
}

// bearerToken gives the token of "Authorization: Bearer …" (RFC 6750), "" where there is no such header.
func bearerToken(r *http.Request) (string, error) {
	switch values := r.Header["Authorization"]; len(values) {
	case 0:
		return "", nil
	case 1:
		scheme, token, ok := strings.Cut(values[0], " ")
		if token = strings.TrimLeft(token, " "); ok && strings.EqualFold(scheme, "Bearer") && token != "" {
			return token, nil
		}
	}
	return "", fault.New(fault.Unauthenticated, "the Authorization header is not one of the form: Bearer TOKEN")
}

// Caller is embedded in a handler's input for who is asking. (huma sees exported types only.)
type Caller struct {
	Principal audit.Principal
}

// Resolve implements huma.Resolver.
func (c *Caller) Resolve(ctx huma.Context) []error {
	c.Principal = exchangeOf(ctx.Context()).principal
	return nil
}
