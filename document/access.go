package document

import (
	"context"
	"fmt"

	"sealpost/audit"
	"sealpost/fault"
	"sealpost/store"
)

// act is what somebody wants to do with a document.
type act string

const (
	reading act = "read"
	writing act = "write" // revise, finalize, dispatch
)

// verdict is what becomes of it.
type verdict int

const (
	forbidden verdict = iota // may do this with no document
	hidden                   // may, but not with this one, of which nothing is told
	watched                  // may, and it is recorded
	allowed
)

// decide tells who may do what with a document of an author (SPEC §1): people their own; an admin may
// read others' and not write them; an auditor and an API key reach no document at all.
func decide(by audit.Principal, do act, authorID string) verdict {
	switch {
	case !writes(by):
		return forbidden
	case by.UserID == authorID:
		return allowed
	case by.Role == audit.Admin && do == reading:
		return watched
	}
	return hidden
}

// writes tells whether somebody can have documents.
func writes(by audit.Principal) bool {
	return by.Kind == audit.User && by.UserID != "" && (by.Role == audit.Author || by.Role == audit.Admin)
}

// enter refuses who can have no documents, before anything is read. fault.Forbidden.
func (d *Documents) enter(ctx context.Context, by audit.Principal) error {
	if writes(by) {
		return nil
	}
	return d.refuse(ctx, by, "enter", "", noDocuments())
}

// admit lets somebody at a document, or refuses. What is refused or watched is recorded, and where it
// cannot be recorded it does not happen. fault.Forbidden, fault.NotFound.
func (d *Documents) admit(ctx context.Context, by audit.Principal, do act, doc Document) error {
	switch decide(by, do, doc.AuthorID) { //nolint:exhaustive // what is left, and what may be added, is forbidden
	case allowed:
		return nil
	case watched:
		return d.log.Record(ctx, by, audit.Event{
			Action: "document.read_by_admin", Entity: "Document", EntityID: doc.ID,
			Details: map[string]any{"authorId": doc.AuthorID, "revision": doc.Revision},
		})
	case hidden:
		return d.refuse(ctx, by, do, doc.ID, notFound())
	}
	return d.refuse(ctx, by, do, doc.ID, noDocuments())
}

// own refuses who is not the author of a document, before anything of it is locked. fault.NotFound.
func (d *Documents) own(ctx context.Context, by audit.Principal, id string) error {
	doc := Document{ID: id}
	err := d.log.Store().Read(ctx, func(tx *store.Tx) error {
		return tx.QueryRow(ctx, `select author_id from document where id = $1`, id).Scan(&doc.AuthorID)
	})
	switch {
	case store.NoRow(err):
		return notFound()
	case err != nil:
		return fmt.Errorf("read the document's author: %w", err)
	}
	return d.admit(ctx, by, writing, doc)
}

func (d *Documents) refuse(ctx context.Context, by audit.Principal, do act, id string, why error) error {
	return d.log.Refused(ctx, by, audit.Event{
		Action: "document.refused", Entity: "Document", EntityID: id, Details: map[string]any{"act": string(do)},
	}, why)
}

func noDocuments() error {
	return fault.New(fault.Forbidden, "only authors and admins work with documents")
}
