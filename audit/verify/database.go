package verify

import (
	"context"
	"fmt"
	"slices"

	"golang.org/x/mod/sumdb/tlog"

	"sealpost/audit"
	"sealpost/store"
)

// rowsPage is how many events one statement reads, so that none holds an old view of the database for long.
const rowsPage = 4096

// Database is the log in its own tables. They are only read, statement by statement, so a running server is
// not disturbed.
func Database(st *store.Store) Source { return database{st} }

type database struct{ st *store.Store }

func (d database) read(ctx context.Context, what string, fn func(*store.Tx) error) error {
	if err := d.st.Read(ctx, fn); err != nil {
		return fmt.Errorf("read %s: %w", what, err)
	}
	return nil
}

func (d database) Head(ctx context.Context) (h Head, err error) {
	err = d.read(ctx, "the tree's head", func(tx *store.Tx) error {
		var root []byte
		err := tx.QueryRow(ctx, `select origin, size, root, key_id, mac from audit_tree where id = 1`).
			Scan(&h.Origin, &h.Size, &root, &h.KeyID, &h.MAC)
		if store.NoRow(err) {
			return nil
		}
		if len(root) == tlog.HashSize {
			h.Root = tlog.Hash(root)
		}
		return err
	})
	return h, err
}

func (d database) Keys(ctx context.Context) (list []audit.LogKey, err error) {
	err = d.read(ctx, "the log's keys", func(tx *store.Tx) error {
		return tx.Each(ctx, func(scan func(...any) error) error {
			var k audit.LogKey
			err := scan(&k.KeyID, &k.Verifier, &k.FirstSize, store.Time(&k.FirstAt))
			list = append(list, k)
			return err
		}, `select key_id, verifier, first_size, first_at from audit_key order by first_size, key_id`)
	})
	return list, err
}

func (d database) Checkpoints(ctx context.Context) (list []KeptCheckpoint, err error) {
	err = d.read(ctx, "checkpoints", func(tx *store.Tx) error {
		return tx.Each(ctx, func(scan func(...any) error) error {
			var c KeptCheckpoint
			var cosignatures string
			err := scan(&c.Size, store.Time(&c.Time), &c.Root, &c.KeyID, &c.Note, &cosignatures, &c.Link)
			c.Note += cosignatures
			list = append(list, c)
			return err
		}, `select size, at, root, key_id, note, cosignatures, link from audit_checkpoint order by size`)
	})
	return list, err
}

func (d database) Bundles(ctx context.Context, from, to int64, fn func(Bundle) error) error {
	return d.read(ctx, "entries", func(tx *store.Tx) error {
		return tx.Each(ctx, func(scan func(...any) error) error {
			var b Bundle
			if err := scan(&b.N, &b.Entries, &b.IDs); err != nil {
				return err
			}
			return fn(b)
		}, `select n, entries, event_ids from audit_bundle where n >= $1 and n < $2 order by n`, from, to)
	})
}

func (d database) Tiles(ctx context.Context, level int, from, to int64, fn func(int64, []byte) error) error {
	return d.read(ctx, "tiles", func(tx *store.Tx) error {
		return tx.Each(ctx, func(scan func(...any) error) error {
			var n int64
			var hashes []byte
			if err := scan(&n, &hashes); err != nil {
				return err
			}
			return fn(n, hashes)
		}, `select n, hashes from audit_tile where level = $1 and n >= $2 and n < $3 order by n`, level, from, to)
	})
}

// segmentLeaves is about how many events a segment of the database has.
const segmentLeaves = 1 << 15

// Segments cuts the ids where every so many leaves an event is: ids are times, and so about in the order of
// leaves. Wherever the cuts are, each id is in one segment.
func (d database) Segments(ctx context.Context, size int64) ([]Segment, error) {
	var cuts []string
	for n := int64(segmentLeaves / bundleWidth); n*bundleWidth < size; n += segmentLeaves / bundleWidth {
		err := d.Bundles(ctx, n, n+1, func(b Bundle) error {
			if len(b.IDs) < 16 {
				return nil
			}
			ids, err := audit.ParseEventIDs(b.IDs[:16])
			cuts = append(cuts, ids...)
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	slices.Sort(cuts)
	cuts = slices.Compact(cuts)
	list := make([]Segment, 0, len(cuts)+1)
	after := ""
	for _, cut := range cuts {
		list = append(list, Segment{after: after, before: cut})
		after = cut
	}
	return append(list, Segment{after: after}), nil
}

func (d database) Rows(ctx context.Context, s Segment, fn func(*Row) error) error {
	after := s.after
	for {
		n := 0
		err := d.read(ctx, "events", func(tx *store.Tx) error {
			n = 0
			query := `select id, at, request_id, actor_id, action, entity, entity_id, outcome, writer, counter, salt, body
				from "AuditLog" where id > $1 and id <= $2 order by id limit $3`
			args := []any{after, s.before, rowsPage}
			if s.before == "" {
				query = `select id, at, request_id, actor_id, action, entity, entity_id, outcome, writer, counter, salt, body
				from "AuditLog" where id > $1 order by id limit $2`
				args = []any{after, rowsPage}
			}
			row, c := Row{Leaf: -1}, Columns{}
			row.Columns = &c
			var body string
			return tx.Each(ctx, func(scan func(...any) error) error {
				err := scan(&row.ID, &c.At, store.String(&c.RequestID), store.String(&c.ActorID), &c.Action, store.String(&c.Entity),
					store.String(&c.EntityID), &c.Outcome, &row.Writer, &row.Counter, &row.Salt, &body)
				if err != nil {
					return err
				}
				n++
				after = row.ID
				row.Body = append(row.Body[:0], body...)
				row.Removed = len(body) == 0
				return fn(&row)
			}, query, args...)
		})
		if err != nil || n < rowsPage {
			return err
		}
	}
}

func (d database) Rejected(ctx context.Context) (list []Rejected, err error) {
	err = d.read(ctx, "what was rejected", func(tx *store.Tx) error {
		return tx.Each(ctx, func(scan func(...any) error) error {
			var r Rejected
			err := scan(store.Time(&r.At), &r.Reason, &r.Writer, &r.Counter, &r.EventID)
			list = append(list, r)
			return err
		}, `select at, reason, writer, counter, event_id from audit_rejected order by at, id limit $1`, MaxFindings)
	})
	return list, err
}

// LeafMap implements live.
func (d database) LeafMap(ctx context.Context, fn func(NumberRun) error) error {
	return d.read(ctx, "the leaf map", func(tx *store.Tx) error {
		return tx.Each(ctx, func(scan func(...any) error) error {
			var r NumberRun
			if err := scan(&r.Writer, &r.Counter, &r.Count, &r.Leaf); err != nil {
				return err
			}
			return fn(r)
		}, `select writer, counter, count, leaf from audit_leaf order by leaf`)
	})
}

// Waiting implements live.
func (d database) Waiting(ctx context.Context, fn func(Waiting) error) error {
	return d.read(ctx, "what is to be sealed", func(tx *store.Tx) error {
		return tx.Each(ctx, func(scan func(...any) error) error {
			var w Waiting
			if err := scan(&w.Writer, &w.Counter, &w.EventID, &w.Envelope, &w.MAC); err != nil {
				return err
			}
			return fn(w)
		}, `select writer, counter, event_id, envelope, mac from audit_pending order by writer, counter`)
	})
}

// End implements live.
func (d database) End(ctx context.Context) (end int64, err error) {
	err = d.read(ctx, "the last entries", func(tx *store.Tx) error {
		var n, width int64
		err := tx.QueryRow(ctx, `select n, width from audit_bundle order by n desc limit 1`).Scan(&n, &width)
		if store.NoRow(err) {
			return nil
		}
		end = n*bundleWidth + width
		return err
	})
	return end, err
}
