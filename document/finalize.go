package document

import (
	"context"
	"crypto/rand"
	"fmt"
	"slices"
	"strings"

	"sealpost/audit"
	"sealpost/dispatch"
	"sealpost/fault"
	"sealpost/store"
)

// MaxReceivers bounds the endpoints that one request names.
const MaxReceivers = 64

// Finalization is an author's will to seal a document.
type Finalization struct {
	Attest      bool     // that the author has read it and means it: must be true
	EndpointIDs []string // who receives it: 1 to 64, each once
	Match       Match    // optional: the version that was read
}

// Sealed is a document that is final, and the jobs that carry it.
type Sealed struct {
	ContentHash string `json:"contentHash"`
	Dispatch    []Sent `json:"dispatch"`
}

// Sent is one job: a document on its way to one endpoint.
type Sent struct {
	ID     string `json:"id"`
	Status string `json:"status"`
}

// Finalize seals a document and sends it to its receivers: canonical bytes, hash, signature, jobs and
// events are one transaction. A repeated request (once) gets the first answer. fault.Forbidden,
// fault.Invalid (no attestation; a receiver that does not exist, in details.endpointId), fault.NotFound,
// fault.Conflict (it is final already), fault.PreconditionFailed.
func (d *Documents) Finalize(ctx context.Context, by audit.Principal, once audit.Once, id string, f Finalization) (Sealed, error) {
	if err := d.enter(ctx, by); err != nil {
		return Sealed{}, err
	}
	if !f.Attest {
		return Sealed{}, fault.New(fault.Invalid, "attest must be true: the author vouches for a final document")
	}
	if err := checkReceivers(f.EndpointIDs); err != nil {
		return Sealed{}, err
	}
	if err := d.own(ctx, by, id); err != nil {
		return Sealed{}, err
	}
	var sealed Sealed
	again := func(_ *store.Tx, kept Sealed) error {
		sealed = kept
		return nil
	}
	err := changeOnce(ctx, d.log, by, once, again, func(tx *store.Tx) (Sealed, []audit.Event, error) {
		sealed = Sealed{}
		doc, err := lock(ctx, tx, id)
		if err != nil {
			return sealed, nil, err
		}
		if doc.Final() {
			return sealed, nil, fault.New(fault.Conflict, "the document is final already")
		}
		if err := f.Match.check(doc); err != nil {
			return sealed, nil, err
		}
		s, err := d.finalize(ctx, tx, by, &doc)
		if err != nil {
			return sealed, nil, err
		}
		sent, events, err := d.send(ctx, tx, by, doc, s, f.EndpointIDs)
		if err != nil {
			return sealed, nil, err
		}
		sealed = Sealed{ContentHash: s.ContentHash, Dispatch: sent}
		final := event("document.finalized", doc)
		final.Details["attested"], final.Details["contentHash"], final.Details["keyId"] = true, s.ContentHash, s.KeyID
		return sealed, append([]audit.Event{final}, events...), nil
	})
	if err != nil {
		return Sealed{}, err
	}
	d.dispatch.Wake()
	return sealed, nil
}

// finalize seals the document's current revision and marks the document.
func (d *Documents) finalize(ctx context.Context, tx *store.Tx, by audit.Principal, doc *Document) (Seal, error) {
	now, err := tx.Now(ctx)
	if err != nil {
		return Seal{}, err
	}
	doc.FinalizedAt = now
	c := Canonical{
		ID: doc.ID, AuthorID: by.UserID, AuthorEmail: by.Email, Revision: doc.Revision, Text: doc.Text,
		CreatedAt: doc.CreatedAt, FinalizedAt: now,
	}
	_, _ = rand.Read(c.Salt[:])
	canonical, err := c.Bytes()
	if err != nil {
		return Seal{}, err
	}
	s := seal(d.set.Audit.Current(), canonical)
	doc.ContentHash = s.ContentHash
	if err := insertSeal(ctx, tx, doc.ID, s); err != nil {
		return Seal{}, err
	}
	if _, err := tx.Exec(ctx, `update document set finalized_at = $2 where id = $1`, doc.ID, now.UnixMicro()); err != nil {
		return Seal{}, fmt.Errorf("mark the document final: %w", err)
	}
	return s, nil
}

// Dispatch sends a final document to more receivers. One that has it already, or on its way, is
// refused: its job can be replayed, which the receiver can tell from a second document.
// fault.Forbidden, fault.Invalid, fault.NotFound, fault.Conflict (a draft; receivers that have it, in
// details.sent).
func (d *Documents) Dispatch(ctx context.Context, by audit.Principal, once audit.Once, id string, endpointIDs []string) ([]Sent, error) {
	if err := d.enter(ctx, by); err != nil {
		return nil, err
	}
	if err := checkReceivers(endpointIDs); err != nil {
		return nil, err
	}
	if err := d.own(ctx, by, id); err != nil {
		return nil, err
	}
	var sent []Sent
	again := func(_ *store.Tx, kept []Sent) error {
		sent = kept
		return nil
	}
	err := changeOnce(ctx, d.log, by, once, again, func(tx *store.Tx) ([]Sent, []audit.Event, error) {
		sent = nil
		doc, err := lock(ctx, tx, id)
		if err != nil {
			return nil, nil, err
		}
		if !doc.Final() {
			return nil, nil, fault.New(fault.Conflict, "the document is a draft: finalize it first")
		}
		if err := refuseSent(ctx, tx, id, endpointIDs); err != nil {
			return nil, nil, err
		}
		s, err := findSeal(ctx, tx, id)
		if err != nil {
			return nil, nil, err
		}
		var events []audit.Event
		sent, events, err = d.send(ctx, tx, by, doc, s, endpointIDs)
		if err != nil {
			return nil, nil, err
		}
		more := event("document.dispatched", doc)
		more.Details["contentHash"], more.Details["receivers"] = s.ContentHash, len(sent)
		return sent, append([]audit.Event{more}, events...), nil
	})
	if err != nil {
		return nil, err
	}
	d.dispatch.Wake()
	return sent, nil
}

// checkReceivers refuses what cannot be a list of endpoints. fault.Invalid.
func checkReceivers(ids []string) error {
	if len(ids) == 0 || len(ids) > MaxReceivers {
		return fault.New(fault.Invalid, "endpointIds has %d endpoints; it takes 1 to %d", len(ids), MaxReceivers)
	}
	seen := make(map[string]bool, len(ids))
	for _, id := range ids {
		if !store.ValidID(id) {
			return fault.New(fault.Invalid, "endpointIds has an entry that is no endpoint's id")
		}
		if seen[id] {
			return fault.New(fault.Invalid, "endpointIds names endpoint %s twice", id).With("endpointId", id)
		}
		seen[id] = true
	}
	return nil
}

// refuseSent refuses receivers to whom the document has been sent. fault.Conflict with details.sent.
func refuseSent(ctx context.Context, tx *store.Tx, id string, endpointIDs []string) error {
	var sent []string
	err := tx.Each(ctx, func(scan func(...any) error) error {
		var endpoint string
		if err := scan(&endpoint); err != nil {
			return err
		}
		if slices.Contains(endpointIDs, endpoint) {
			sent = append(sent, endpoint)
		}
		return nil
	}, `select endpoint_id from document_dispatch where document_id = $1 order by endpoint_id`, id)
	if err != nil {
		return fmt.Errorf("read the document's receivers: %w", err)
	}
	if len(sent) == 0 {
		return nil
	}
	return fault.New(fault.Conflict, "the document has been sent to %s: replay that job to send it again", strings.Join(sent, ", ")).
		With("sent", sent)
}

// send inserts a job for each receiver, and remembers who they are.
func (d *Documents) send(ctx context.Context, tx *store.Tx, by audit.Principal, doc Document, s Seal, endpointIDs []string) (
	[]Sent, []audit.Event, error,
) {
	payload := s.message(doc.FinalizedAt)
	jobs := make([]dispatch.NewJob, len(endpointIDs))
	for i, endpoint := range endpointIDs {
		jobs[i] = dispatch.NewJob{EndpointID: endpoint, DocumentID: doc.ID, ContentType: contentType, Payload: payload}
	}
	inserted, events, err := d.dispatch.Insert(ctx, tx, by, jobs)
	if err != nil {
		return nil, nil, err
	}
	now, err := tx.Now(ctx)
	if err != nil {
		return nil, nil, err
	}
	sent := make([]Sent, len(inserted))
	rows := make([][]any, len(inserted))
	for i, job := range inserted {
		sent[i] = Sent{ID: job.ID, Status: string(job.Status)}
		rows[i] = []any{doc.ID, job.EndpointID, job.ID, now.UnixMicro()}
	}
	err = tx.Insert(ctx, "document_dispatch", []string{"document_id", "endpoint_id", "job_id", "created_at"}, rows)
	if err != nil {
		return nil, nil, err
	}
	return sent, events, nil
}
