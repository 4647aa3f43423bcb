package web

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"sealpost/audit"
	"sealpost/fault"
	"sealpost/store"
)

// AddTestRoutes adds routes that show what the frame does, to a server that New has made.
func AddTestRoutes(s *Server) {
	add := func(method, path string) huma.Operation {
		return huma.Operation{Method: method, Path: path, Summary: "test"}
	}
	route(s, public, add(http.MethodPost, "/test/echo"), func(_ context.Context, in *echoInput) (*echoOutput, error) {
		return &echoOutput{Body: in.Body}, nil
	})
	route(s, public, add(http.MethodPost, "/test/slow"), func(ctx context.Context, in *echoInput) (*echoOutput, error) {
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(60 * time.Second):
			return &echoOutput{Body: in.Body}, nil
		}
	})
	big := add(http.MethodPost, "/test/big")
	big.MaxBodyBytes = payloadBytes
	route(s, public, big, func(_ context.Context, in *struct {
		Body struct {
			Payload string `json:"payload"`
		}
	},
	) (*sizeOutput, error) {
		return sizeOf(in.Body.Payload), nil
	})
	route(s, public, add(http.MethodPost, "/test/optional"), func(_ context.Context, in *struct {
		Body *echoBody
	},
	) (*sizeOutput, error) {
		if in.Body == nil {
			return sizeOf(""), nil
		}
		return sizeOf(in.Body.Name), nil
	})
	route(s, signedIn, add(http.MethodGet, "/test/me"), func(_ context.Context, in *struct{ Caller }) (*meOutput, error) {
		out := &meOutput{}
		out.Body.UserID, out.Body.Role, out.Body.IP = in.Principal.UserID, in.Principal.Role, in.Principal.IP
		return out, nil
	})
	route(s, only(audit.Admin), add(http.MethodPost, "/test/admin"), func(_ context.Context, _ *struct {
		Caller
		Body echoBody
	},
	) (*struct{}, error) {
		return nil, nil
	})
	route(s, public, add(http.MethodGet, "/test/list"), func(_ context.Context, in *struct {
		Caller
		Paging
		At time.Time `query:"at"`
	},
	) (*listOutput, error) {
		return listOf(in.Page), nil
	})
	route(s, public, add(http.MethodGet, "/test/fail/{how}"), func(_ context.Context, in *struct {
		How string `path:"how"`
	},
	) (*struct{}, error) {
		return nil, failures[in.How]()
	})
	route(s, public, add(http.MethodPost, "/test/once"), func(_ context.Context, in *struct {
		Caller
		Idempotent
		Body echoBody
	},
	) (*onceOutput, error) {
		out := &onceOutput{}
		out.Body.Caller, out.Body.Route, out.Body.Key = in.Once.Caller, in.Once.Route, in.Once.Key
		out.Body.Bytes, out.Body.Keyed = string(in.Once.Body), in.Once.Keyed()
		return out, nil
	})
	s.raw(public, huma.Operation{Method: http.MethodGet, Path: "/test/half"}, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "100")
		_, _ = w.Write([]byte("half"))
		panic("in the middle")
	})
	s.raw(public, huma.Operation{Method: http.MethodGet, Path: "/test/address"}, func(w http.ResponseWriter, r *http.Request) {
		x := w.(*exchange)
		_ = json.NewEncoder(w).Encode(map[string]any{"ip": x.principal.IP, "direct": x.direct})
		_ = r
	})
}

type echoBody struct {
	Name   string            `json:"name" minLength:"1" maxLength:"20"`
	Email  string            `json:"email,omitempty" format:"email"`
	Count  int32             `json:"count,omitempty" minimum:"0"`
	Tags   []string          `json:"tags,omitempty" maxItems:"3"`
	Labels map[string]string `json:"labels,omitempty"`
	Nested *echoBody         `json:"nested,omitempty"`
	When   time.Time         `json:"when,omitzero" required:"false"`
	Site   string            `json:"site,omitempty" format:"uri"`
	Any    any               `json:"any,omitempty"`
}

type echoInput struct{ Body echoBody }

type echoOutput struct{ Body echoBody }

type sizeOutput struct {
	Body struct {
		Size int `json:"size"`
	}
}

func sizeOf(s string) *sizeOutput {
	out := &sizeOutput{}
	out.Body.Size = len(s)
	return out
}

type meOutput struct {
	Body struct {
		UserID string     `json:"userId"`
		Role   audit.Role `json:"role"`
		IP     string     `json:"ip"`
	}
}

type onceOutput struct {
	Body struct {
		Caller, Route, Key, Bytes string
		Keyed                     bool
	}
}

type listOutput struct {
	Body struct {
		Items    []string `json:"items"`
		PageInfo PageInfo `json:"pageInfo"`
	}
}

// listOf is a page of the words from "item-000" to "item-249".
func listOf(p store.Page) *listOutput {
	var rows []string
	for i := 0; i < 250 && len(rows) <= p.Limit; i++ {
		if word := "item-" + string([]byte{byte('0' + i/100), byte('0' + i/10%10), byte('0' + i%10)}); word > p.After {
			rows = append(rows, word)
		}
	}
	list := store.Cut(rows, p, func(s string) string { return s })
	out := &listOutput{}
	out.Body.Items, out.Body.PageInfo = items(list), pageInfo(list)
	return out
}

var failures = map[string]func() error{
	"internal":  func() error { return errors.New("password is hunter2") },
	"panic":     func() error { panic("password is hunter2") },
	"conflict":  func() error { return fault.New(fault.Conflict, "it is final").With("version", 3) },
	"throttled": func() error { return fault.New(fault.TooMany, "slow down").After(1500 * time.Millisecond) },
	"away":      func() error { return fault.Wrap(fault.Unavailable, errors.New("dial 10.0.0.7"), "try later") },
	"huma":      func() error { return huma.Error409Conflict("by huma") },
	"nodetails": func() error { return fault.New(fault.Conflict, "odd").With("odd", func() {}) },
	"wrapped": func() error {
		return errors.Join(errors.New("it could not be recorded"), fault.New(fault.NotFound, "not here"))
	},
	"preRequired": func() error { return fault.New(fault.PreconditionRequired, "name the version") },
}

// AddRouteWithoutAccess tries what New must refuse.
func AddRouteWithoutAccess(s *Server) {
	route(s, access{}, huma.Operation{Method: http.MethodGet, Path: "/test/open"}, func(context.Context, *struct{}) (*struct{}, error) {
		return nil, nil
	})
}

// API is huma's part of a server.
func API(s *Server) huma.API { return s.api }

// Routes are the names of all routes.
func Routes(s *Server) []string {
	var names []string
	for _, rt := range s.routes {
		names = append(names, strings.ReplaceAll(rt.name, "...}", "}")) // as OpenAPI has it
	}
	return names
}
