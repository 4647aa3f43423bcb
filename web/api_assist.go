package web

import (
	"context"
	"net/http"
	"reflect"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"sealpost/audit"
	"sealpost/document"
)

// assistRoutes are for authors whom AI helps with their documents. Without OPENAI_API_KEY those that
// ask it answer 503 "AI is not enabled".
func (s *Server) assistRoutes() {
	authors, tags := only(audit.Author, audit.Admin), []string{"documents"}
	route(s, authors, huma.Operation{
		Method: http.MethodPost, Path: "/api/documents/{id}/compose", Tags: tags, Summary: "Have AI write a document's content",
		Description: "Makes a revision when the text is whole, and none otherwise. With Accept: text/event-stream the text comes as it is " +
			"written: events delta {text}, and one of done (the same as the JSON) and error (a problem). The revision that was read must " +
			"still be current at the end: else 412, or 409 where the document has become final, with the text in details.content.",
		Responses: map[string]*huma.Response{"200": {
			Description: "The new revision",
			Headers:     map[string]*huma.Param{"ETag": {Description: "What If-Match takes", Schema: &huma.Schema{Type: huma.TypeString}}},
			Content: map[string]*huma.MediaType{
				"application/json":  {Schema: s.schemaOf(reflect.TypeFor[Composed]())},
				"text/event-stream": {Schema: &huma.Schema{Type: huma.TypeString}},
			},
		}},
	}, s.compose)
	route(s, authors, huma.Operation{
		Method: http.MethodPost, Path: "/api/documents/{id}/suggestions/refresh", Tags: tags, Summary: "Have AI suggest changes to a document",
		Description: "Each suggestion has the exact quote that it is about and, where it adds a fact, the quote of the source. What matched " +
			"neither text is dropped and counted. Suggestions that were open become stale.",
	}, s.refreshSuggestions)
	route(s, authors, huma.Operation{
		Method: http.MethodGet, Path: "/api/documents/{id}/suggestions", Tags: tags, Summary: "What AI suggested last, and what became of it",
	}, s.suggestions)
	route(s, authors, huma.Operation{
		Method: http.MethodPost, Path: "/api/documents/{id}/suggestions/{sid}/accept", Tags: tags, Summary: "Take a suggestion into the document",
		Description: "Makes a revision. 409 where the quote no longer stands there exactly once; the suggestion is then stale.",
	}, s.acceptSuggestion)
	route(s, authors, huma.Operation{
		Method: http.MethodPost, Path: "/api/documents/{id}/suggestions/{sid}/dismiss", Tags: tags, Summary: "Turn a suggestion down",
	}, s.dismissSuggestion)
}

type composeInput struct {
	Caller
	Conditional
	ID   string `path:"id" maxLength:"64"`
	Body struct {
		Instructions string `json:"instructions" minLength:"1" maxLength:"4000" doc:"What is to be written"`
		Source       string `json:"source,omitempty" doc:"What it may be based on. All texts together have at most 262144 bytes"`
	}
}

// Composed is the revision that AI has written.
type Composed struct {
	Revision        Revision `json:"revision"`
	ETag            string   `json:"etag" doc:"What If-Match takes"`
	TraceID         string   `json:"traceId" doc:"Of the call: the audit log names it"`
	PromptVersionID string   `json:"promptVersionId"`
}

func composedOf(c document.Composed) Composed {
	return Composed{Revision: revisionOf(c.Revision), ETag: c.ETag, TraceID: c.TraceID, PromptVersionID: c.PromptVersion}
}

// waitForAI is how much longer than the call of AI itself the answer to a request may take.
const waitForAI = 30 * time.Second

// compose handles POST /api/documents/{id}/compose.
func (s *Server) compose(ctx context.Context, in *composeInput) (*huma.StreamResponse, error) {
	x := exchangeOf(ctx)
	c := document.Composition{Instructions: in.Body.Instructions, Source: in.Body.Source, Match: in.Match}
	if wantsEvents(x.request.Header["Accept"]) {
		return &huma.StreamResponse{Body: func(huma.Context) { s.composeEvents(ctx, x, in, c) }}, nil
	}
	s.allowForAI(x)
	got, err := s.Documents.Compose(ctx, in.Principal, in.ID, c, nil)
	if err != nil {
		return nil, err
	}
	return &huma.StreamResponse{Body: func(out huma.Context) {
		out.SetHeader("Content-Type", "application/json")
		out.SetHeader("ETag", got.ETag)
		out.SetStatus(http.StatusOK)
		_ = strictAPI{}.Marshal(out.BodyWriter(), "", composedOf(got))
	}}, nil
}

// composeEvents is compose as a stream.
func (s *Server) composeEvents(ctx context.Context, x *exchange, in *composeInput, c document.Composition) {
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	e := &eventStream{x: x}
	leave := s.attend(ctx, e, end)
	got, err := s.Documents.Compose(ctx, in.Principal, in.ID, c, func(text string) error {
		return e.send("delta", struct {
			Text string `json:"text"`
		}{text})
	})
	leave()
	switch cause := context.Cause(ctx); {
	case err == nil:
		_ = e.send("done", composedOf(got))
	case cause != nil:
		e.fail(cause)
	default:
		e.fail(err)
	}
}

// allowForAI lets an answer take as long as a call of AI may.
func (s *Server) allowForAI(x *exchange) {
	_ = http.NewResponseController(x).SetWriteDeadline(time.Now().Add(s.Documents.AITimeout() + waitForAI))
}

// Suggestion is a change that AI suggests.
type Suggestion struct {
	ID          string `json:"id"`
	Kind        string `json:"kind" enum:"CORRECTION,CLARITY,CONSISTENCY,FACT"`
	Quote       string `json:"quote" doc:"What it is about, exactly as the document has it"`
	Replacement string `json:"replacement" doc:"What is to stand there; empty: nothing"`
	Reason      string `json:"reason"`
	Source      string `json:"source,omitempty" doc:"The quote of the source that supports it; only where it adds a fact"`
	Status      string `json:"status" enum:"OPEN,ACCEPTED,DISMISSED,STALE"`
}

func suggestionOf(s document.Suggestion) Suggestion { return Suggestion(s) }

type suggestionsOutput struct {
	Body struct {
		Suggestions     []Suggestion `json:"suggestions"`
		PromptVersionID *string      `json:"promptVersionId" doc:"null where there was no call yet"`
		TraceID         *string      `json:"traceId" doc:"Of the call: the audit log names it"`
		Dropped         int          `json:"dropped" doc:"How many more there were, which did not match the texts"`
	}
}

func suggestionsOut(list document.Suggestions, err error) (*suggestionsOutput, error) {
	if err != nil {
		return nil, err
	}
	out := &suggestionsOutput{}
	out.Body.PromptVersionID, out.Body.TraceID, out.Body.Dropped = optional(list.PromptVersion), optional(list.TraceID), list.Dropped
	out.Body.Suggestions = make([]Suggestion, len(list.Items))
	for i, item := range list.Items {
		out.Body.Suggestions[i] = suggestionOf(item)
	}
	return out, nil
}

type refreshSuggestionsInput struct {
	Caller
	ID   string `path:"id" maxLength:"64"`
	Body *struct {
		Source string `json:"source,omitempty" doc:"What facts may be taken from. All texts together have at most 262144 bytes"`
	}
}

// refreshSuggestions handles POST /api/documents/{id}/suggestions/refresh.
func (s *Server) refreshSuggestions(ctx context.Context, in *refreshSuggestionsInput) (*suggestionsOutput, error) {
	var source string
	if in.Body != nil {
		source = in.Body.Source
	}
	s.allowForAI(exchangeOf(ctx))
	return suggestionsOut(s.Documents.Refresh(ctx, in.Principal, in.ID, source))
}

// suggestions handles GET /api/documents/{id}/suggestions.
func (s *Server) suggestions(ctx context.Context, in *documentInput) (*suggestionsOutput, error) {
	return suggestionsOut(s.Documents.ListSuggestions(ctx, in.Principal, in.ID))
}

type acceptSuggestionInput struct {
	Caller
	Conditional
	ID           string `path:"id" maxLength:"64"`
	SuggestionID string `path:"sid" maxLength:"64"`
}

// acceptSuggestion handles POST /api/documents/{id}/suggestions/{sid}/accept.
func (s *Server) acceptSuggestion(ctx context.Context, in *acceptSuggestionInput) (*documentOutput, error) {
	return documentOut(s.Documents.Accept(ctx, in.Principal, in.ID, in.SuggestionID, in.Match))
}

type dismissSuggestionInput struct {
	Caller
	ID           string `path:"id" maxLength:"64"`
	SuggestionID string `path:"sid" maxLength:"64"`
	Body         *struct {
		Reason string `json:"reason,omitempty" maxLength:"1000" doc:"Kept with the suggestion, not in the audit log"`
	}
}

type suggestionOutput struct {
	Body struct {
		Suggestion Suggestion `json:"suggestion"`
	}
}

// dismissSuggestion handles POST /api/documents/{id}/suggestions/{sid}/dismiss.
func (s *Server) dismissSuggestion(ctx context.Context, in *dismissSuggestionInput) (*suggestionOutput, error) {
	var reason string
	if in.Body != nil {
		reason = in.Body.Reason
	}
	dismissed, err := s.Documents.Dismiss(ctx, in.Principal, in.ID, in.SuggestionID, reason)
	if err != nil {
		return nil, err
	}
	out := &suggestionOutput{}
	out.Body.Suggestion = suggestionOf(dismissed)
	return out, nil
}
