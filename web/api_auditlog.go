package web

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"sealpost/account"
	"sealpost/audit"
)

// auditLogRoutes serve the sealed log as C2SP tlog-tiles, so that tools that others wrote can check it, and
// proofs of single events (runbook §6).
func (s *Server) auditLogRoutes() {
	readers, tags := only(audit.Admin, audit.Auditor).scoped(account.AuditRead), []string{"audit"}
	s.raw(readers, huma.Operation{
		Method: http.MethodGet, Path: "/audit/log/checkpoint", Tags: tags, Summary: "The newest checkpoint",
		Description: "A signed note (C2SP tlog-checkpoint), with the witnesses' cosignatures.",
		Responses:   textResponse("text/plain", "A signed note"),
	}, s.logCheckpoint)
	s.raw(readers, huma.Operation{
		Method: http.MethodGet, Path: "/audit/log/tile/{path...}", Tags: tags, Summary: "A tile of the log, or a bundle of its entries",
		Description: "C2SP tlog-tiles: {path} is LEVEL/N or entries/N, N in groups of three digits (x001/x234/067), with .p/WIDTH for a partial one. " +
			"An entry is an event's envelope.",
		Parameters: []*huma.Param{{Name: "path", In: "path", Required: true, Schema: &huma.Schema{Type: huma.TypeString}}},
		Responses:  textResponse("application/octet-stream", "Hashes of 32 bytes, or entries behind their lengths (uint16, big-endian)"),
	}, s.logTile)
	s.raw(readers, huma.Operation{
		Method: http.MethodGet, Path: "/api/admin/audit/events/{id}/proof", Tags: tags, Summary: "The proof that an event was logged",
		Description: "C2SP tlog-proof; its extra data is JSON with the log's entry, the salt and the event's body. 503 with Retry-After " +
			"while the event is not under a checkpoint yet; 409 where its row is not what was sealed.",
		Parameters: []*huma.Param{{Name: "id", In: "path", Required: true, Schema: &huma.Schema{Type: huma.TypeString}}},
		Responses:  textResponse("text/plain", "A proof"),
	}, s.eventProof)
	route(s, readers, huma.Operation{
		Method: http.MethodGet, Path: "/api/admin/audit/checkpoint", Tags: tags, Summary: "The newest checkpoint, and the key that verifies it",
	}, s.auditCheckpoint)
}

func textResponse(contentType, what string) map[string]*huma.Response {
	return map[string]*huma.Response{"200": {
		Description: what, Content: map[string]*huma.MediaType{contentType: {Schema: &huma.Schema{Type: huma.TypeString}}},
	}}
}

// forEver is how long what cannot change may be kept, by its reader alone: it takes a token to read it.
const forEver = "private, max-age=31536000, immutable"

// logCheckpoint handles GET /audit/log/checkpoint.
func (s *Server) logCheckpoint(w http.ResponseWriter, r *http.Request) {
	c, err := s.Log.Checkpoint(r.Context())
	if err != nil {
		w.(*exchange).fail(err)
		return
	}
	answerBytes(w, "text/plain; charset=utf-8", "no-cache", []byte(c.Note))
}

// logTile handles GET /audit/log/tile/….
func (s *Server) logTile(w http.ResponseWriter, r *http.Request) {
	t, err := audit.ParseTilePath(r.PathValue("path"))
	if err != nil {
		w.(*exchange).fail(err)
		return
	}
	b, err := s.Log.Tile(r.Context(), t)
	if err != nil {
		w.(*exchange).fail(err)
		return
	}
	answerBytes(w, "application/octet-stream", forEver, b)
}

// eventProof handles GET /api/admin/audit/events/{id}/proof.
func (s *Server) eventProof(w http.ResponseWriter, r *http.Request) {
	proof, err := s.Log.Prove(r.Context(), r.PathValue("id"))
	if err != nil {
		w.(*exchange).fail(err)
		return
	}
	text, err := proof.Text()
	if err != nil {
		w.(*exchange).fail(err)
		return
	}
	answerBytes(w, "text/plain; charset=utf-8", "no-store", []byte(text))
}

func answerBytes(w http.ResponseWriter, contentType, caching string, b []byte) {
	w.Header().Set("Content-Type", contentType)
	w.Header().Set("Cache-Control", caching)
	_, _ = w.Write(b) //nolint:gosec // text/plain or bytes, with nosniff; who does not read the answer does not get it
}

type auditCheckpointOutput struct {
	Body struct {
		Checkpoint  string `json:"checkpoint" doc:"The signed note (C2SP tlog-checkpoint)"`
		VerifierKey string `json:"verifierKey" doc:"The key that signed it, as a note verifier (C2SP signed-note)"`
	}
}

// auditCheckpoint handles GET /api/admin/audit/checkpoint.
func (s *Server) auditCheckpoint(ctx context.Context, _ *struct{ Caller }) (*auditCheckpointOutput, error) {
	c, err := s.Log.Checkpoint(ctx)
	if err != nil {
		return nil, err
	}
	verifier, err := s.Log.VerifierOf(ctx, c)
	if err != nil {
		return nil, err
	}
	out := &auditCheckpointOutput{}
	out.Body.Checkpoint, out.Body.VerifierKey = c.Note, verifier
	return out, nil
}
