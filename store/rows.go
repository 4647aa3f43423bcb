package store

import (
	"context"
	"fmt"
	"strconv"
	"strings"
)

// maxArgs is how many arguments one statement carries at most: SQLite takes 32,766, PostgreSQL 65,535.
// Far fewer are as fast, and keep a prepared statement small.
const maxArgs = 4096

// Insert adds many rows to a table with few statements. Each row has a value for each column.
//
// On PostgreSQL a column of rows is one array (unnest.go). On SQLite the rows go in pieces whose sizes
// are powers of two, so that a table has about ten texts of its insert, all of which stay prepared; texts
// of every length would be parsed anew each time.
func (tx *Tx) Insert(ctx context.Context, table string, columns []string, rows [][]any) error {
	for _, row := range rows {
		if len(row) != len(columns) {
			return fmt.Errorf("insert into %s: a row of %d values for %d columns", table, len(row), len(columns))
		}
	}
	if tx.store.dialect == Postgres {
		for len(rows) > 1 {
			n := min(len(rows), maxUnnest)
			done, err := tx.insertUnnest(ctx, table, columns, rows[:n])
			if err != nil {
				return fmt.Errorf("insert into %s: %w", table, err)
			}
			if !done {
				break
			}
			rows = rows[n:]
		}
	}
	args := make([]any, 0, min(len(rows)*len(columns), maxArgs))
	for start := 0; start < len(rows); {
		n := Piece(len(rows)-start, maxArgs/len(columns))
		args = args[:0]
		for _, row := range rows[start : start+n] {
			args = append(args, row...)
		}
		if _, err := tx.Exec(ctx, insertText(table, columns, n), args...); err != nil {
			return fmt.Errorf("insert into %s: %w", table, err)
		}
		start += n
	}
	return nil
}

// Piece gives the largest power of two that is at most left and at most limit: the size of the next
// piece of a statement over many rows.
func Piece(left, limit int) int {
	n := 1
	for n*2 <= left && n*2 <= limit {
		n *= 2
	}
	return n
}

// Values writes "($1,$2),($3,$4)": n rows of as many columns as there are types, each argument cast
// to its column's type, which PostgreSQL cannot tell from a list of values alone.
func Values(from, n int, types ...string) string {
	var b strings.Builder
	for i := range n {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteByte('(')
		for j, typ := range types {
			if j > 0 {
				b.WriteByte(',')
			}
			b.WriteString("cast($" + strconv.Itoa(from+i*len(types)+j) + " as " + typ + ")")
		}
		b.WriteByte(')')
	}
	return b.String()
}

type insertKey struct {
	table string
	n     int
	shape string
}

var insertTexts remembered[insertKey, string]

func insertText(table string, columns []string, n int) string {
	key := insertKey{table, n, strings.Join(columns, ",")}
	if text, ok := insertTexts.get(key); ok {
		return text
	}
	var b strings.Builder
	b.WriteString("insert into " + table + " (" + key.shape + ") values ")
	for i := range n {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString("(" + Placeholders(1+i*len(columns), len(columns)) + ")")
	}
	insertTexts.put(key, b.String())
	return b.String()
}
