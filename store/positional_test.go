package store_test

import (
	"slices"
	"strings"
	"testing"

	"sealpost/store"
	"sealpost/store/storetest"
)

func TestPositional(t *testing.T) {
	for _, tt := range []struct {
		query, text string
		args        int
		order       []any
	}{
		{"select 1", "select 1", 0, nil},
		{"select $1, $2", "select ?, ?", 2, []any{1, 2}},
		{"select $2, $1, $1", "select ?, ?, ?", 2, []any{2, 1, 1}},
		{"select $1,$12 from t where a=$2", "select ?,? from t where a=?", 12, []any{1, 12, 2}},
		{"select '$1', $1", "select '$1', ?", 1, []any{1}},
		{"select 'it''s $1', \"$1\" from t where a = $1", "select 'it''s $1', \"$1\" from t where a = ?", 1, []any{1}},
		{"select $1 -- $2\n, $2", "select ? -- $2\n, ?", 2, []any{1, 2}},
		{"select /* $1 ' */ $1", "select /* $1 ' */ ?", 1, []any{1}},
		{"select a$1, $1 from t", "select a$1, ? from t", 1, []any{1}},
		{"select ☂$1, $1", "select ☂$1, ?", 1, []any{1}},
		{"select $ 1", "select $ 1", 0, nil},
		{"select 'unfinished $1", "select 'unfinished $1", 0, nil},
		{"select $1 -- $2", "select ? -- $2", 1, []any{1}},
	} {
		args := make([]any, tt.args)
		for i := range args {
			args[i] = i + 1
		}
		text, values, err := store.Positional(tt.query, args...)
		if text != tt.text || !slices.Equal(values, tt.order) || err != nil {
			t.Errorf("%q becomes %q with %v (%v), want %q with %v", tt.query, text, values, err, tt.text, tt.order)
		}
		if _, _, err := store.Positional(tt.query, make([]any, tt.args+1)...); err == nil {
			t.Errorf("%q took an argument too many", tt.query)
		}
	}
}

// The same placeholders mean the same on both databases, however a statement is run.
func TestPlaceholdersMeanTheSame(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		ctx := t.Context()
		query := `select cast($3 as text) || cast($1 as text) || '$2' || cast($2 as text) || cast($1 as text) -- $4`
		for how, run := range map[string]func(func(*store.Tx) error) error{
			"Read":     func(fn func(*store.Tx) error) error { return st.Read(ctx, fn) },
			"Snapshot": func(fn func(*store.Tx) error) error { return st.Snapshot(ctx, fn) },
			"Write":    func(fn func(*store.Tx) error) error { return st.Write(ctx, fn) },
		} {
			var got string
			if err := run(func(tx *store.Tx) error { return tx.QueryRow(ctx, query, "a", "b", "c").Scan(&got) }); err != nil || got != "ca$2ba" {
				t.Errorf("%s: %q, %v", how, got, err)
			}
			for _, args := range [][]any{{"a", "b"}, {"a", "b", "c", "d"}} {
				err := run(func(tx *store.Tx) error { return tx.QueryRow(ctx, query, args...).Scan(&got) })
				if err == nil {
					t.Errorf("%s took %d arguments for 3", how, len(args))
				}
				if err := run(func(tx *store.Tx) error {
					_, err := tx.Exec(ctx, strings.Replace(query, "c", "C", 1), args...)
					return err
				}); err == nil {
					t.Errorf("%s: Exec took %d arguments for 3", how, len(args))
				}
			}
		}
	})
}
