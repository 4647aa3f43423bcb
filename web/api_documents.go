package web

import (
	"context"
	"net/http"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"sealpost/audit"
	"sealpost/document"
)

// documentRoutes are for authors, who write, finalize and send their documents. An admin reads others'
// too, which is recorded.
func (s *Server) documentRoutes() {
	authors, tags := only(audit.Author, audit.Admin), []string{"documents"}
	route(s, authors, huma.Operation{
		Method: http.MethodPost, Path: "/api/documents", Tags: tags, Summary: "Create a document",
		DefaultStatus: http.StatusCreated,
	}, s.createDocument)
	route(s, authors, huma.Operation{
		Method: http.MethodGet, Path: "/api/documents", Tags: tags, Summary: "Own documents, the newest first, without their content",
	}, s.documents)
	route(s, authors, huma.Operation{
		Method: http.MethodGet, Path: "/api/documents/{id}", Tags: tags, Summary: "A document",
		Description: "An ADMIN may read other people's documents; the reading is itself audited.",
	}, s.document)
	route(s, authors, huma.Operation{
		Method: http.MethodPut, Path: "/api/documents/{id}", Tags: tags, Summary: "Revise a document",
		Description: "Needs If-Match with the ETag that the document was read with: 428 without, 412 when it has changed " +
			"since, 409 when it is final. A text that changes nothing makes no revision.",
	}, s.updateDocument)
	route(s, authors, huma.Operation{
		Method: http.MethodGet, Path: "/api/documents/{id}/revisions", Tags: tags, Summary: "What a document has said, the newest first",
		Description: "A page ends early when its texts are larger than 2 MiB.",
	}, s.revisions)
	route(s, authors, huma.Operation{
		Method: http.MethodPost, Path: "/api/documents/{id}/finalize", Tags: tags, Summary: "Seal a document and dispatch it",
		Description: "Canonical bytes, their hash, a signature and a job for each endpoint, all or none. A final document never changes.",
	}, s.finalizeDocument)
	route(s, authors, huma.Operation{
		Method: http.MethodPost, Path: "/api/documents/{id}/dispatch", Tags: tags, Summary: "Dispatch a final document to more receivers",
		Description: "409 for a draft, and for an endpoint that it was sent to already (details.sent): replay that job instead.",
	}, s.dispatchDocument)
}

// Document is a document as SPEC §4 shows it.
type Document struct {
	ID          string     `json:"id"`
	AuthorID    string     `json:"authorId"`
	Status      string     `json:"status" enum:"DRAFT,FINALIZED"`
	Revision    int64      `json:"revision" doc:"Counts from 1"`
	Title       string     `json:"title"`
	Content     *string    `json:"content,omitempty" doc:"Markdown; not in lists"`
	CreatedAt   time.Time  `json:"createdAt"`
	UpdatedAt   time.Time  `json:"updatedAt" doc:"When it was revised or finalized last"`
	FinalizedAt *time.Time `json:"finalizedAt"`
	ContentHash *string    `json:"contentHash" doc:"Of a final document: the SHA-256 of its canonical bytes, as sha256: and hex"`
}

func documentOf(d document.Document) Document {
	shown := Document{
		ID: d.ID, AuthorID: d.AuthorID, Status: d.Status(), Revision: d.Revision, Title: d.Text.Title, Content: &d.Text.Content,
		CreatedAt: d.CreatedAt, UpdatedAt: d.RevisedAt, FinalizedAt: optional(d.FinalizedAt), ContentHash: optional(d.ContentHash),
	}
	if d.Final() {
		shown.UpdatedAt = d.FinalizedAt
	}
	return shown
}

// Conditional is embedded in the input of a route that honours If-Match.
type Conditional struct {
	IfMatch string `header:"If-Match" doc:"The ETag that the document was read with"`

	Match document.Match
}

// Resolve implements huma.Resolver. A header that comes in several lines is one list (RFC 9110 §5.3).
func (c *Conditional) Resolve(ctx huma.Context) []error {
	var err error
	c.Match, err = document.ParseMatch(strings.Join(exchangeOf(ctx.Context()).request.Header["If-Match"], ", "))
	if err != nil {
		return []error{err}
	}
	return nil
}

type documentText struct {
	Title   string `json:"title" minLength:"1" maxLength:"300" doc:"One line"`
	Content string `json:"content" doc:"Markdown, at most 921600 bytes of UTF-8"`
}

func (t documentText) text() document.Text { return document.Text{Title: t.Title, Content: t.Content} }

type documentOutput struct {
	ETag string `header:"ETag" doc:"What If-Match takes"`
	Body struct {
		Document Document `json:"document"`
	}
}

func documentOut(d document.Document, err error) (*documentOutput, error) {
	if err != nil {
		return nil, err
	}
	out := &documentOutput{ETag: d.ETag()}
	out.Body.Document = documentOf(d)
	return out, nil
}

type createDocumentInput struct {
	Caller
	Idempotent
	Body documentText
}

// createDocument handles POST /api/documents.
func (s *Server) createDocument(ctx context.Context, in *createDocumentInput) (*documentOutput, error) {
	return documentOut(s.Documents.Create(ctx, in.Principal, in.Once, in.Body.text()))
}

type documentsInput struct {
	Caller
	Paging
}

type documentsOutput struct {
	Body struct {
		Documents []Document `json:"documents"`
		PageInfo  PageInfo   `json:"pageInfo"`
	}
}

// documents handles GET /api/documents.
func (s *Server) documents(ctx context.Context, in *documentsInput) (*documentsOutput, error) {
	list, err := s.Documents.List(ctx, in.Principal, in.Page)
	if err != nil {
		return nil, err
	}
	out := &documentsOutput{}
	out.Body.PageInfo, out.Body.Documents = pageInfo(list), make([]Document, len(list.Items))
	for i, d := range list.Items {
		out.Body.Documents[i] = documentOf(d)
		out.Body.Documents[i].Content = nil
	}
	return out, nil
}

type documentInput struct {
	Caller
	ID string `path:"id" maxLength:"64"`
}

// document handles GET /api/documents/{id}.
func (s *Server) document(ctx context.Context, in *documentInput) (*documentOutput, error) {
	return documentOut(s.Documents.Get(ctx, in.Principal, in.ID))
}

type updateDocumentInput struct {
	Caller
	Conditional
	ID   string `path:"id" maxLength:"64"`
	Body documentText
}

// updateDocument handles PUT /api/documents/{id}.
func (s *Server) updateDocument(ctx context.Context, in *updateDocumentInput) (*documentOutput, error) {
	return documentOut(s.Documents.Update(ctx, in.Principal, in.ID, in.Match, in.Body.text()))
}

// Revision is what a document said at a time.
type Revision struct {
	Number    int64     `json:"number"`
	Title     string    `json:"title"`
	Content   string    `json:"content"`
	CreatedAt time.Time `json:"createdAt"`
}

func revisionOf(r document.Revision) Revision {
	return Revision{Number: r.Number, Title: r.Text.Title, Content: r.Text.Content, CreatedAt: r.CreatedAt}
}

type revisionsInput struct {
	Caller
	Paging
	ID string `path:"id" maxLength:"64"`
}

type revisionsOutput struct {
	Body struct {
		Revisions []Revision `json:"revisions"`
		PageInfo  PageInfo   `json:"pageInfo"`
	}
}

// revisions handles GET /api/documents/{id}/revisions.
func (s *Server) revisions(ctx context.Context, in *revisionsInput) (*revisionsOutput, error) {
	list, err := s.Documents.Revisions(ctx, in.Principal, in.ID, in.Page)
	if err != nil {
		return nil, err
	}
	out := &revisionsOutput{}
	out.Body.PageInfo, out.Body.Revisions = pageInfo(list), make([]Revision, len(list.Items))
	for i, r := range list.Items {
		out.Body.Revisions[i] = revisionOf(r)
	}
	return out, nil
}

type finalizeDocumentInput struct {
	Caller
	Idempotent
	Conditional
	ID   string `path:"id" maxLength:"64"`
	Body struct {
		Attest      bool     `json:"attest" doc:"Must be true: the author vouches for the document"`
		EndpointIDs []string `json:"endpointIds" minItems:"1" maxItems:"64" doc:"Who receives it, each named once"`
	}
}

type finalizeDocumentOutput struct {
	Body struct {
		Status      string          `json:"status" enum:"FINALIZED"`
		ContentHash string          `json:"contentHash"`
		Dispatch    []document.Sent `json:"dispatch"`
	}
}

// finalizeDocument handles POST /api/documents/{id}/finalize.
func (s *Server) finalizeDocument(ctx context.Context, in *finalizeDocumentInput) (*finalizeDocumentOutput, error) {
	sealed, err := s.Documents.Finalize(ctx, in.Principal, in.Once, in.ID, document.Finalization{
		Attest: in.Body.Attest, EndpointIDs: in.Body.EndpointIDs, Match: in.Match,
	})
	if err != nil {
		return nil, err
	}
	out := &finalizeDocumentOutput{}
	out.Body.Status, out.Body.ContentHash, out.Body.Dispatch = document.Finalized, sealed.ContentHash, sealed.Dispatch
	return out, nil
}

type dispatchDocumentInput struct {
	Caller
	Idempotent
	ID   string `path:"id" maxLength:"64"`
	Body struct {
		EndpointIDs []string `json:"endpointIds" minItems:"1" maxItems:"64" doc:"Who else receives it, each named once"`
	}
}

type dispatchDocumentOutput struct {
	Body struct {
		Dispatch []document.Sent `json:"dispatch"`
	}
}

// dispatchDocument handles POST /api/documents/{id}/dispatch.
func (s *Server) dispatchDocument(ctx context.Context, in *dispatchDocumentInput) (*dispatchDocumentOutput, error) {
	sent, err := s.Documents.Dispatch(ctx, in.Principal, in.Once, in.ID, in.Body.EndpointIDs)
	if err != nil {
		return nil, err
	}
	out := &dispatchDocumentOutput{}
	out.Body.Dispatch = sent
	return out, nil
}
