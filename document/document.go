// Package document keeps what authors write until it is sealed and sent (SPEC §1, runbook §5 for what
// follows).
//
// A document is a row that points at its current revision; a revision is a title and a Markdown text
// that never change once written. An author revises by naming the version that was read (its ETag),
// so two windows cannot overwrite each other unseen.
//
// Finalizing makes canonical bytes of the current revision (canonical.go), their SHA-256 and a
// signature (seal.go), and one job for each receiver, in one transaction: a document is final with
// its jobs and its audit events or not at all. From then on nothing about it changes; it can only be
// sent to more receivers.
//
// AI can write a revision (compose.go) or suggest changes, each of which the author takes or dismisses
// (refresh.go, suggestion.go). Each call of it leaves a trace (trace.go).
package document

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"sealpost/assist"
	"sealpost/audit"
	"sealpost/dispatch"
	"sealpost/fault"
	"sealpost/keys"
	"sealpost/store"
)

// The states of a document.
const (
	Draft     = "DRAFT"
	Finalized = "FINALIZED"
)

// Document is a document with the text of its current revision.
type Document struct {
	ID          string
	AuthorID    string
	Revision    int64 // counts from 1
	Text        Text
	CreatedAt   time.Time
	RevisedAt   time.Time // when the current revision was written
	FinalizedAt time.Time // zero: a draft
	ContentHash string    // of a final document: "sha256:" and 64 hex digits
}

// Final tells whether the document is sealed.
func (d Document) Final() bool { return !d.FinalizedAt.IsZero() }

// Status is Draft or Finalized.
func (d Document) Status() string {
	if d.Final() {
		return Finalized
	}
	return Draft
}

// Documents reads and changes documents.
type Documents struct {
	log      *audit.Log
	set      *keys.Set
	dispatch *dispatch.Dispatcher
	assist   *assist.Assistant
}

// New makes the documents of a log's database. Finalized ones are sealed with a key derived from the
// set's audit key, and sent by the dispatcher. The assistant, which may be off, helps to write them.
func New(log *audit.Log, set *keys.Set, d *dispatch.Dispatcher, a *assist.Assistant) *Documents {
	return &Documents{log: log, set: set, dispatch: d, assist: a}
}

// Create makes a document with its first revision, for its author. A repeated request (once) gets
// the same document as it was created. fault.Forbidden, fault.Invalid, fault.Conflict.
func (d *Documents) Create(ctx context.Context, by audit.Principal, once audit.Once, text Text) (Document, error) {
	if err := d.enter(ctx, by); err != nil {
		return Document{}, err
	}
	if err := text.check(); err != nil {
		return Document{}, err
	}
	var doc Document
	again := func(tx *store.Tx, kept created) (err error) {
		doc, err = asCreated(ctx, tx, kept.ID)
		return err
	}
	err := changeOnce(ctx, d.log, by, once, again, func(tx *store.Tx) (created, []audit.Event, error) {
		now, err := tx.Now(ctx)
		if err != nil {
			return created{}, nil, err
		}
		doc = Document{ID: store.NewID(), AuthorID: by.UserID, Revision: 1, Text: text, CreatedAt: now, RevisedAt: now}
		_, err = tx.Exec(ctx, `insert into document (id, author_id, revision, created_at) values ($1, $2, $3, $4)`,
			doc.ID, doc.AuthorID, doc.Revision, now.UnixMicro())
		if err != nil {
			return created{}, nil, fmt.Errorf("insert the document: %w", err)
		}
		if err := insertRevision(ctx, tx, doc); err != nil {
			return created{}, nil, err
		}
		return created{doc.ID}, []audit.Event{event("document.created", doc)}, nil
	})
	return doc, err
}

// created is what is kept of an answer to Create. The text is not copied: the first revision has it.
type created struct {
	ID string `json:"id"`
}

// Get gives a document. An admin's reading of another person's is itself audited, before it is
// answered. fault.Forbidden, fault.NotFound.
func (d *Documents) Get(ctx context.Context, by audit.Principal, id string) (Document, error) {
	doc, err := d.read(ctx, id)
	if err != nil {
		return Document{}, err
	}
	return doc, d.admit(ctx, by, reading, doc)
}

// Update writes a new revision, if match names the current version. A text that says what the current
// revision says is no change and makes none. fault.Forbidden, fault.Invalid,
// fault.PreconditionRequired, fault.NotFound, fault.Conflict (it is final), fault.PreconditionFailed.
func (d *Documents) Update(ctx context.Context, by audit.Principal, id string, match Match, text Text) (Document, error) {
	if err := d.enter(ctx, by); err != nil {
		return Document{}, err
	}
	if match.Absent() {
		return Document{}, fault.New(fault.PreconditionRequired, "say in If-Match which version is to be revised: the ETag that it was read with")
	}
	if err := text.check(); err != nil {
		return Document{}, err
	}
	if err := d.own(ctx, by, id); err != nil {
		return Document{}, err
	}
	var doc Document
	err := d.log.Change(ctx, by, func(tx *store.Tx) ([]audit.Event, error) {
		var err error
		if doc, err = lock(ctx, tx, id); err != nil {
			return nil, err
		}
		if doc.Final() {
			return nil, isFinal()
		}
		if err := match.check(doc); err != nil {
			return nil, err
		}
		if doc.Text == text {
			return nil, audit.ErrNothing
		}
		if err := revise(ctx, tx, &doc, text); err != nil {
			return nil, err
		}
		return []audit.Event{event("document.revised", doc)}, nil
	})
	return doc, err
}

// List lists the caller's own documents, the latest first, without their content. The cursor is a
// document's id. fault.Forbidden.
func (d *Documents) List(ctx context.Context, by audit.Principal, page store.Page) (store.List[Document], error) {
	if err := d.enter(ctx, by); err != nil {
		return store.List[Document]{}, err
	}
	before := page.After
	if before == "" {
		before = "~" // behind every id
	}
	var docs []Document
	err := d.log.Store().Read(ctx, func(tx *store.Tx) error {
		return tx.Each(ctx, func(scan func(...any) error) error {
			var doc Document
			err := scan(doc.columns()...)
			docs = append(docs, doc)
			return err
		}, selectDocument("''")+` where d.author_id = $1 and d.id < $2 order by d.id desc limit $3`,
			by.UserID, before, page.Limit+1)
	})
	if err != nil {
		return store.List[Document]{}, fmt.Errorf("list documents: %w", err)
	}
	return store.Cut(docs, page, func(doc Document) string { return doc.ID }), nil
}

// maxRevisionsText bounds the bytes of content in one page of revisions, which ends early rather
// than being a hundred times 900 KiB. The first of a page is always in it.
const maxRevisionsText = 2 << 20

// Revisions lists what a document has said, the latest first, with the text. The cursor is a
// revision's number. Reading is as for Get. fault.Forbidden, fault.NotFound, fault.BadRequest (the
// cursor).
func (d *Documents) Revisions(ctx context.Context, by audit.Principal, id string, page store.Page) (store.List[Revision], error) {
	before := int64(1) << 62
	if page.After != "" {
		var err error
		if before, err = strconv.ParseInt(page.After, 10, 64); err != nil {
			return store.List[Revision]{}, fault.New(fault.BadRequest, "the cursor is none of this list's")
		}
	}
	doc, err := d.read(ctx, id)
	if err != nil {
		return store.List[Revision]{}, err
	}
	if err := d.admit(ctx, by, reading, doc); err != nil {
		return store.List[Revision]{}, err
	}
	var list store.List[Revision]
	bytes, full := 0, errors.New("the page is full")
	err = d.log.Store().Read(ctx, func(tx *store.Tx) error {
		return tx.Each(ctx, func(scan func(...any) error) error {
			var r Revision
			if err := scan(&r.Number, store.Time(&r.CreatedAt), &r.Text.Title, &r.Text.Content); err != nil {
				return err
			}
			n := len(list.Items)
			if bytes += len(r.Text.Content); n == page.Limit || (n > 0 && bytes > maxRevisionsText) {
				list.Next = strconv.FormatInt(list.Items[n-1].Number, 10)
				return full
			}
			list.Items = append(list.Items, r)
			return nil
		}, `select number, created_at, title, content from document_revision
		     where document_id = $1 and number < $2 order by number desc limit $3`, id, before, page.Limit+1)
	})
	if err != nil && !errors.Is(err, full) {
		return store.List[Revision]{}, fmt.Errorf("list revisions: %w", err)
	}
	return list, nil
}

// event tells of a change to a document. It holds no text, and no title either.
func event(action string, doc Document) audit.Event {
	return audit.Event{
		Action: action, Entity: "Document", EntityID: doc.ID,
		Details: map[string]any{"revision": doc.Revision, "contentBytes": len(doc.Text.Content)},
	}
}
