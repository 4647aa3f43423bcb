package document

import (
	"context"
	"fmt"
	"time"

	"sealpost/fault"
	"sealpost/store"
)

// Revision is what a document said at a time.
type Revision struct {
	Number    int64
	Text      Text
	CreatedAt time.Time
}

// selectDocument reads documents with their current revisions; content is the column or what stands
// for it where a list leaves it out.
func selectDocument(content string) string {
	return `select d.id, d.author_id, d.revision, d.created_at, d.finalized_at,
	               r.created_at, r.title, ` + content + `, s.content_hash
	          from document d
	          join document_revision r on r.document_id = d.id and r.number = d.revision
	          left join document_seal s on s.document_id = d.id`
}

// columns are where the columns of selectDocument go.
func (d *Document) columns() []any {
	return []any{
		&d.ID, &d.AuthorID, &d.Revision, store.Time(&d.CreatedAt), store.Time(&d.FinalizedAt),
		store.Time(&d.RevisedAt), &d.Text.Title, &d.Text.Content, store.String(&d.ContentHash),
	}
}

// read gives a document, whoever asks. fault.NotFound.
func (d *Documents) read(ctx context.Context, id string) (doc Document, err error) {
	err = d.log.Store().Read(ctx, func(tx *store.Tx) error {
		doc, err = find(ctx, tx, id)
		return err
	})
	return doc, err
}

func find(ctx context.Context, tx *store.Tx, id string) (doc Document, err error) {
	err = tx.QueryRow(ctx, selectDocument("r.content")+` where d.id = $1`, id).Scan(doc.columns()...)
	switch {
	case store.NoRow(err):
		return Document{}, notFound()
	case err != nil:
		return Document{}, fmt.Errorf("read the document: %w", err)
	}
	return doc, nil
}

// lock gives a document that does not change until the transaction ends.
func lock(ctx context.Context, tx *store.Tx, id string) (Document, error) {
	var locked string
	err := tx.QueryRow(ctx, `select id from document where id = $1`+tx.ForUpdate(), id).Scan(&locked)
	switch {
	case store.NoRow(err):
		return Document{}, notFound()
	case err != nil:
		return Document{}, fmt.Errorf("lock the document: %w", err)
	}
	return find(ctx, tx, id)
}

// asCreated gives a document as it was when it had been created, whatever has become of it.
func asCreated(ctx context.Context, tx *store.Tx, id string) (Document, error) {
	doc := Document{ID: id, Revision: 1}
	err := tx.QueryRow(ctx, `
		select d.author_id, d.created_at, r.created_at, r.title, r.content
		  from document d join document_revision r on r.document_id = d.id and r.number = 1
		 where d.id = $1`, id).
		Scan(&doc.AuthorID, store.Time(&doc.CreatedAt), store.Time(&doc.RevisedAt), &doc.Text.Title, &doc.Text.Content)
	if err != nil {
		return Document{}, fmt.Errorf("read the document's first revision: %w", err)
	}
	return doc, nil
}

// revise makes a text the current revision of a document that is locked.
func revise(ctx context.Context, tx *store.Tx, doc *Document, text Text) error {
	now, err := tx.Now(ctx)
	if err != nil {
		return err
	}
	doc.Revision, doc.RevisedAt, doc.Text = doc.Revision+1, now, text
	if _, err := tx.Exec(ctx, `update document set revision = $2 where id = $1`, doc.ID, doc.Revision); err != nil {
		return fmt.Errorf("update the document: %w", err)
	}
	return insertRevision(ctx, tx, *doc)
}

// insertRevision writes what is the document's current revision from now on.
func insertRevision(ctx context.Context, tx *store.Tx, doc Document) error {
	_, err := tx.Exec(ctx, `
		insert into document_revision (document_id, number, created_at, title, content) values ($1, $2, $3, $4, $5)`,
		doc.ID, doc.Revision, doc.RevisedAt.UnixMicro(), doc.Text.Title, doc.Text.Content)
	if err != nil {
		return fmt.Errorf("insert the revision: %w", err)
	}
	return nil
}

// notFound is also what is said of a document that the caller may not know of.
func notFound() error { return fault.New(fault.NotFound, "there is no such document") }

func isFinal() error {
	return fault.New(fault.Conflict, "the document is final and cannot be changed")
}
