package verify

import (
	"context"
	"fmt"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"sealpost/audit"
	"sealpost/fault"
	"sealpost/store"
)

// Recent verifies the end of a log against its newest checkpoint: the checkpoint's signature, the tiles that lead
// from its root to the last leaves, and of these leaves each entry and each event. What it costs does not grow
// with the log, so it can be asked for again and again; the whole log is Run's.
func Recent(ctx context.Context, log *audit.Log, leaves int64, key note.Verifier) (Report, error) {
	newest, err := log.Checkpoint(ctx)
	if fault.Is(err, fault.NotFound) {
		return Report{Unknown: []string{"there is no checkpoint yet"}}, nil
	}
	if err != nil {
		return Report{}, err
	}
	v := newVerifier(Database(log.Store()), Options{Workers: 1})
	v.report = Report{Origin: newest.Origin, Size: newest.Size}
	c, unsigned := audit.OpenCheckpoint(newest.Note, key)
	if signed := unsigned == nil && c.Size == newest.Size && c.Root == newest.Root; !signed {
		v.add(CheckpointFake, newest.Size-1, "", "the newest checkpoint is not signed by this log's key, or its row says something else")
		v.report.Findings = v.findings.sorted()
		return v.report, nil
	}
	v.size, v.report.Signed, v.report.SignedAt = c.Size, c.Size, c.Time
	first := max(0, c.Size-leaves) / bundleWidth * bundleWidth
	for n := first / bundleWidth; n*bundleWidth < c.Size; n++ {
		if err := v.recentBundle(ctx, log, c, n); err != nil {
			return Report{}, err
		}
	}
	v.report.Bodies = v.bodies.Load()
	v.report.Findings, v.report.More = v.findings.sorted(), v.findings.more
	return v.report, nil
}

// recentBundle verifies one bundle under a checkpoint.
func (v *verifier) recentBundle(ctx context.Context, log *audit.Log, c audit.Checkpoint, n int64) error {
	width := v.width(n)
	first := n * bundleWidth
	var b cached
	err := v.src.Bundles(ctx, n, n+1, func(stored Bundle) error {
		if list, err := audit.ParseBundle(stored.Entries); err == nil {
			b = cached{list, stored.IDs}
		}
		return nil
	})
	if err != nil {
		return err
	}
	if len(b.entries) < width {
		v.addRange(EntryMissing, first+int64(len(b.entries)), first+int64(width)-1, "", "the entries are gone, or cannot be read")
		return nil
	}
	b.entries = b.entries[:width]
	indexes := make([]int64, width)
	for i := range indexes {
		indexes[i] = tlog.StoredHashIndex(0, first+int64(i))
	}
	// The reader verifies each tile against the root before it gives a hash of it.
	hashes, err := log.Tree(ctx, c.Size, c.Root).ReadHashes(indexes)
	if err != nil {
		if fault.Is(err, fault.Unavailable) || ctx.Err() != nil {
			return err
		}
		v.addRange(TileEdited, first, first+int64(width)-1, "", "the tiles do not lead from the checkpoint's root to these leaves: %v", err)
		return nil
	}
	for i, e := range b.entries {
		if leafHash(e) != hashes[i] {
			v.add(EntryEdited, first+int64(i), "", "the entry is not the one that was sealed")
			b.entries[i] = nil
		}
	}
	return v.recentEvents(ctx, n, b)
}

// recentEvents holds the events of a bundle against its entries. One that is missing is a finding where nothing
// was ever removed lawfully; otherwise Run judges it.
func (v *verifier) recentEvents(ctx context.Context, n int64, b cached) error {
	ids, err := audit.ParseEventIDs(b.ids[:min(len(b.ids), 16*len(b.entries))/16*16])
	if err != nil {
		return err
	}
	if len(ids) < len(b.entries) {
		v.addRange(EventIDEdited, n*bundleWidth+int64(len(ids)), n*bundleWidth+int64(len(b.entries))-1, "", "the ids of these leaves' events are gone")
	}
	if len(ids) == 0 {
		return nil
	}
	leaves := map[string]int{}
	args := make([]any, len(ids))
	for i, id := range ids {
		leaves[id], args[i] = i, id
	}
	args = store.Padded(args, 0)
	w := &rowWalk{v: v, ctx: ctx, n: n, b: b}
	db, _ := v.src.(database)
	err = db.read(ctx, "events", func(tx *store.Tx) error {
		row, c := Row{}, Columns{}
		row.Columns = &c
		var body string
		return tx.Each(ctx, func(scan func(...any) error) error {
			err := scan(&row.ID, &c.At, store.String(&c.RequestID), store.String(&c.ActorID), &c.Action, store.String(&c.Entity),
				store.String(&c.EntityID), &c.Outcome, &row.Writer, &row.Counter, &row.Salt, &body)
			if err != nil {
				return err
			}
			i, found := leaves[row.ID]
			if delete(leaves, row.ID); !found || body == "" {
				return nil
			}
			row.Body = append(row.Body[:0], body...)
			leaf, e := n*bundleWidth+int64(i), envelope(b.entries[i])
			if e.well() && (writerName(e.writer()) != row.Writer || e.counter() != row.Counter) {
				v.add(ColumnsEdited, leaf, row.ID, "the row says another writer, or another number, than the leaf")
			}
			v.bodies.Add(1)
			w.judge(leaf, &row, e)
			return nil
		}, rowsByID(len(args)), args...)
	})
	if err != nil || len(leaves) == 0 {
		return err
	}
	var removals int
	err = db.read(ctx, "removals", func(tx *store.Tx) error {
		return tx.QueryRow(ctx, `select count(*) from (select 1 from "AuditLog"
			where action in ('audit.retention.intended', 'audit.event.redaction_intended') limit 1) as t`).Scan(&removals)
	})
	if err != nil {
		return err
	}
	if removals > 0 {
		v.report.Removed += int64(len(leaves))
		return nil
	}
	for id, i := range leaves {
		v.add(DeletedWithoutIntent, n*bundleWidth+int64(i), id, "the event is gone, and nothing was ever removed lawfully")
	}
	return nil
}

func rowsByID(n int) string {
	return fmt.Sprintf(`select id, at, request_id, actor_id, action, entity, entity_id, outcome, writer, counter, salt, body
		from "AuditLog" where id in (%s)`, store.Placeholders(1, n))
}
