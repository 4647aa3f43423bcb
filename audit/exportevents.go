package audit

import (
	"bufio"
	"context"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"sealpost/fault"
	"sealpost/store"
)

// The forms in which events are exported for people.
const (
	FormatJSONL = "jsonl" // an event a line, as it was logged
	FormatCSV   = "csv"   // for a spreadsheet
)

// exportPage is how many events one statement reads.
const exportPage = 1000

// WriteEvents writes events, the oldest first, in a form for people, and tells how many. It reads page by page,
// so neither memory nor a transaction grows with them. What commits late, of a time that it has passed already,
// it does not see; Export, which goes by the sealed log, misses nothing. fault.Invalid for another format.
func (l *Log) WriteEvents(ctx context.Context, w io.Writer, format string, f Filter) (n int64, err error) {
	out, err := newEventWriter(w, format)
	if err != nil {
		return 0, err
	}
	where, args := f.conditions()
	args = append(args, "", exportPage)
	where = append(where, fmt.Sprintf("id > $%d", len(args)-1))
	query := `select id, body from "AuditLog" where ` + strings.Join(where, " and ") + fmt.Sprintf(` order by id limit $%d`, len(args))
	for {
		type event struct{ id, body string }
		var page []event
		err := l.st.Read(ctx, func(tx *store.Tx) error {
			page = page[:0]
			return tx.Each(ctx, func(scan func(...any) error) error {
				var e event
				err := scan(&e.id, &e.body)
				page = append(page, e)
				return err
			}, query, args...)
		})
		if err != nil {
			return n, fmt.Errorf("export events: %w", err)
		}
		for _, e := range page {
			if e.body == "" { // removed lawfully
				continue
			}
			if err := out.write(e.body); err != nil {
				return n, fmt.Errorf("export event %s: %w", e.id, err)
			}
			n++
		}
		if err := out.flush(); err != nil {
			return n, fmt.Errorf("export events: %w", err)
		}
		if len(page) < exportPage {
			return n, nil
		}
		args[len(args)-2] = page[len(page)-1].id
	}
}

// eventWriter writes events in one of the forms.
type eventWriter struct {
	lines *bufio.Writer
	table *csv.Writer // nil: lines of JSON
}

func newEventWriter(w io.Writer, format string) (eventWriter, error) {
	switch format {
	case FormatJSONL:
		return eventWriter{lines: bufio.NewWriterSize(w, 1<<16)}, nil
	case FormatCSV:
		e := eventWriter{table: csv.NewWriter(w)}
		return e, e.table.Write(csvColumns)
	}
	return eventWriter{}, fault.New(fault.Invalid, "format is jsonl or csv")
}

var csvColumns = []string{
	"time", "id", "action", "outcome", "actorKind", "actorId", "apiKeyId", "role", "requestId", "sessionId", "ip", "entity", "entityId", "details",
}

func (e eventWriter) write(text string) error {
	if e.table == nil {
		_, _ = e.lines.WriteString(text)
		return e.lines.WriteByte('\n')
	}
	r, err := parseRecord(text)
	if err != nil {
		return err
	}
	details := ""
	if len(r.Details) > 0 {
		b, err := json.Marshal(r.Details)
		if err != nil {
			return err
		}
		details = string(b)
	}
	row := []string{
		r.Time.Format(timeLayout), r.ID, r.Action, r.Outcome, string(r.Actor.Kind), r.Actor.ID, r.Actor.KeyID, string(r.Actor.Role),
		r.RequestID, r.SessionID, r.IP, r.Entity, r.EntityID, details,
	}
	for i, cell := range row {
		row[i] = defused(cell)
	}
	return e.table.Write(row)
}

// defused is a cell that no spreadsheet takes for a formula, which a stranger can have had recorded: one that
// begins with = + - @, a tab or a carriage return gets an apostrophe before it (OWASP, CSV injection).
func defused(cell string) string {
	if cell != "" && strings.IndexByte("=+-@\t\r", cell[0]) >= 0 {
		return "'" + cell
	}
	return cell
}

func (e eventWriter) flush() error {
	if e.table == nil {
		return e.lines.Flush()
	}
	e.table.Flush()
	return e.table.Error()
}
