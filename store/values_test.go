package store_test

import (
	"bytes"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"sealpost/fault"
	"sealpost/store"
	"sealpost/store/storetest"
)

// Every size around the edges of a piece arrives whole and in order.
func TestInsertTakesAnyNumberOfRows(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		write(t, st, `create table t (id bigint primary key, text text, twice bigint)`)
		ctx, most := t.Context(), store.MaxArgs/3
		for _, n := range []int{0, 1, 2, 3, 7, 8, 1023, 1024, 1025, most, 2*most + 1} {
			write(t, st, `delete from t`)
			rows := make([][]any, n)
			for i := range rows {
				rows[i] = []any{i, fmt.Sprint("row ", i), 2 * i}
			}
			err := st.Write(ctx, func(tx *store.Tx) error { return tx.Insert(ctx, "t", []string{"id", "text", "twice"}, rows) })
			if err != nil {
				t.Fatalf("%d rows: %v", n, err)
			}
			right := number(t, st, `select count(*) from t where twice = 2 * id and text = 'row ' || id and id >= 0 and id < $1`, n)
			if all := number(t, st, `select count(*) from t`); all != n || right != n {
				t.Errorf("of %d rows %d are there and %d are right", n, all, right)
			}
		}
	})
}

func TestInsertRefusesARowOfAnotherWidth(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		write(t, st, `create table t (a bigint, b bigint)`)
		err := st.Write(t.Context(), func(tx *store.Tx) error {
			return tx.Insert(t.Context(), "t", []string{"a", "b"}, [][]any{{1, 2}, {3}})
		})
		if err == nil || !strings.Contains(err.Error(), "a row of 1 values for 2 columns") {
			t.Errorf("got %v", err)
		}
		if n := number(t, st, `select count(*) from t`); n != 0 {
			t.Errorf("%d rows were stored all the same", n)
		}
	})
}

func TestPiece(t *testing.T) {
	for _, tt := range []struct{ left, limit, want int }{
		{1, 100, 1}, {2, 100, 2}, {3, 100, 2}, {4, 100, 4}, {1000, 100, 64}, {128, 128, 128}, {127, 128, 64}, {5, 1, 1},
	} {
		if got := store.Piece(tt.left, tt.limit); got != tt.want {
			t.Errorf("Piece(%d, %d) = %d, want %d", tt.left, tt.limit, got, tt.want)
		}
	}
}

func TestPlaceholders(t *testing.T) {
	if got := store.Placeholders(9, 3); got != "$9,$10,$11" {
		t.Errorf("got %s", got)
	}
	if got := store.Values(2, 2, "text", "bigint"); got != "(cast($2 as text),cast($3 as bigint)),(cast($4 as text),cast($5 as bigint))" {
		t.Errorf("got %s", got)
	}
}

// Many rows of many columns change by one statement.
func TestUpdateFromValues(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		ctx := t.Context()
		write(t, st, `create table t (id text primary key, n bigint, at bigint, data blob, on_ boolean)`,
			`insert into t (id, n, at, data, on_) values ('a', 1, 1, null, false), ('b', 1, 1, null, false), ('c', 1, 1, null, false)`)
		var changed int64
		err := st.Write(ctx, func(tx *store.Tx) (err error) {
			changed, err = tx.Exec(ctx, `
				with v (id, n, at, data, on_) as (values `+store.Values(2, 2, "text", "bigint", "bigint", "blob", "boolean")+`)
				update t set n = v.n + $1, at = v.at, data = v.data, on_ = v.on_ from v where t.id = v.id`,
				100, "a", 5, nil, []byte{1}, true, "c", 6, 7, nil, false)
			return err
		})
		if err != nil || changed != 2 {
			t.Fatalf("%d rows changed, %v", changed, err)
		}
		for _, q := range []string{
			`select count(*) from t where id = 'a' and n = 105 and at is null and data is not null and on_`,
			`select count(*) from t where id = 'b' and n = 1`,
			`select count(*) from t where id = 'c' and n = 106 and at = 7 and data is null and not on_`,
		} {
			if number(t, st, q) != 1 {
				t.Errorf("not so: %s", q)
			}
		}
	})
}

// What goes in comes out, through the writer and through a reader.
func TestRoundTrip(t *testing.T) {
	type row struct {
		at    time.Time
		text  string
		data  []byte
		yes   bool
		count int64
	}
	rows := map[string]row{
		"zeroes":        {},
		"nothing":       {at: time.UnixMicro(0).UTC(), data: []byte{}, yes: true},
		"a microsecond": {at: time.Date(2026, 7, 1, 12, 30, 15, 123456000, time.UTC), text: "x", data: []byte{0}, count: 1},
		"long ago":      {at: time.Date(1914, 6, 28, 10, 0, 0, 999999000, time.UTC), text: "Ünïcödé ☂ \U0001F512 'quoted' \\ \"\n", count: -1},
		"far ahead":     {at: time.Date(9999, 12, 31, 23, 59, 59, 999999000, time.UTC), data: bytes.Repeat([]byte{0, 255, '\''}, 1<<18), count: math.MaxInt64},
		"the least":     {text: strings.Repeat("☂", 1<<16), yes: true, count: math.MinInt64},
	}
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		ctx := t.Context()
		write(t, st, `create table t (id text primary key, at bigint, text text, data blob, yes boolean not null, count bigint not null)`)
		check := func(tx *store.Tx, id string, want row) error {
			var got row
			err := tx.QueryRow(ctx, `select at, text, data, yes, count from t where id = $1`, id).
				Scan(store.Time(&got.at), store.String(&got.text), store.Bytes(&got.data), &got.yes, &got.count)
			if !got.at.Equal(want.at) || got.at.Location() != time.UTC || got.text != want.text || !bytes.Equal(got.data, want.data) ||
				(got.data == nil) != (want.data == nil) || got.yes != want.yes || got.count != want.count {
				t.Errorf("%s: got %.200v, want %.200v", id, got, want)
			}
			return err
		}
		for id, r := range rows {
			err := st.Write(ctx, func(tx *store.Tx) error {
				if err := tx.Insert(ctx, "t", []string{"id", "at", "text", "data", "yes", "count"},
					[][]any{{id, store.Micros(r.at), store.Text(r.text), r.data, r.yes, r.count}}); err != nil {
					return err
				}
				return check(tx, id, r)
			})
			if err != nil {
				t.Fatalf("%s: %v", id, err)
			}
			for _, read := range []func(func(*store.Tx) error) error{
				func(fn func(*store.Tx) error) error { return st.Read(ctx, fn) },
				func(fn func(*store.Tx) error) error { return st.Snapshot(ctx, fn) },
			} {
				if err := read(func(tx *store.Tx) error { return check(tx, id, r) }); err != nil {
					t.Fatalf("%s: %v", id, err)
				}
			}
		}
		// The zero values are null, and only they.
		for query, want := range map[string]int{
			`select count(*) from t where at is null`:                            2,
			`select count(*) from t where text is null`:                          3,
			`select count(*) from t where data is null`:                          3,
			`select count(*) from t where data is not null and length(data) = 0`: 1,
		} {
			if got := number(t, st, query); got != want {
				t.Errorf("%s: %d, want %d", query, got, want)
			}
		}
	})
}

func TestScanOfAnotherTypeIsAnError(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		ctx := t.Context()
		for name, dest := range map[string]any{
			"a time from a text":  store.Time(new(time.Time)),
			"bytes from a text":   store.Bytes(new([]byte)),
			"a number for a text": new(int),
		} {
			err := st.Read(ctx, func(tx *store.Tx) error { return tx.QueryRow(ctx, `select 'text'`).Scan(dest) })
			if err == nil {
				t.Errorf("%s was scanned", name)
			}
		}
		var s string
		if err := st.Read(ctx, func(tx *store.Tx) error { return tx.QueryRow(ctx, `select 1`).Scan(store.String(&s)) }); err == nil {
			t.Errorf("a text from a number was scanned: %q", s)
		}
	})
}

// PostgreSQL takes no NUL and nothing but UTF-8, so SQLite gets neither.
func TestTextThatCannotBeStored(t *testing.T) {
	type name string
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		ctx := t.Context()
		write(t, st, `create table t (text text)`)
		for what, text := range map[string]any{
			"a NUL": "a\x00b", "half a character": "\xe2\x98", "a surrogate": "\xed\xa0\x80", "a named type": name("\x00"),
		} {
			err := st.Write(ctx, func(tx *store.Tx) error {
				_, err := tx.Exec(ctx, `insert into t (text) values ($1)`, text)
				return err
			})
			if !fault.Is(err, fault.Invalid) {
				t.Errorf("%s: written with %v, want fault.Invalid", what, err)
			}
			for _, rows := range [][][]any{{{text}}, {{"good"}, {nil}, {text}}} {
				err := st.Write(ctx, func(tx *store.Tx) error { return tx.Insert(ctx, "t", []string{"text"}, rows) })
				if !fault.Is(err, fault.Invalid) {
					t.Errorf("%s: %d rows inserted with %v, want fault.Invalid", what, len(rows), err)
				}
			}
			err = st.Read(ctx, func(tx *store.Tx) error {
				return tx.Each(ctx, func(func(...any) error) error { return nil }, `select 1 from t where text = $1`, text)
			})
			if !fault.Is(err, fault.Invalid) {
				t.Errorf("%s: asked for with %v, want fault.Invalid", what, err)
			}
		}
		if err := st.Write(ctx, func(tx *store.Tx) error {
			_, err := tx.Exec(ctx, `insert into t (text) values ($1), ($2)`, "\uFFFD\U0010FFFF\u0001", name("x"))
			return err
		}); err != nil {
			t.Error(err)
		}
	})
}

func TestUnique(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		write(t, st, `create table parent (id bigint primary key)`,
			`create table t (id bigint primary key, name text unique, size bigint not null check (size > 0), parent bigint references parent (id))`,
			`insert into t (id, name, size) values (1, 'one', 1)`)
		for _, tt := range []struct {
			statement string
			want      bool
		}{
			{`insert into t (id, size) values (1, 1)`, true},
			{`insert into t (id, name, size) values (2, 'one', 1)`, true},
			{`insert into t (id, size) values (3, 0)`, false},
			{`insert into t (id) values (4)`, false},
			{`insert into t (id, size, parent) values (5, 1, 99)`, false},
			{`insert into nowhere (id) values (1)`, false},
		} {
			err := st.Write(t.Context(), func(tx *store.Tx) error {
				_, err := tx.Exec(t.Context(), tt.statement)
				return fmt.Errorf("wrapped: %w", err)
			})
			if store.Unique(err) != tt.want {
				t.Errorf("%s: Unique(%v) = %t", tt.statement, err, !tt.want)
			}
			if fault.Of(err) != fault.Internal {
				t.Errorf("%s: %v is of kind %v", tt.statement, err, fault.Of(err))
			}
		}
		if store.Unique(nil) {
			t.Error("no error is none of a key")
		}
	})
}

func TestNoRow(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		var n int
		read := func(tx *store.Tx) error {
			err := tx.QueryRow(t.Context(), `select 1 where 1 = 2`).Scan(&n)
			if !store.NoRow(err) {
				t.Errorf("got %v", err)
			}
			return tx.QueryRow(t.Context(), `select 3`).Scan(&n) // it is no failure: the transaction goes on
		}
		if err := st.Read(t.Context(), read); err != nil || n != 3 {
			t.Errorf("read: %d, %v", n, err)
		}
		if err := st.Write(t.Context(), read); err != nil {
			t.Errorf("write: %v", err)
		}
		if store.NoRow(nil) {
			t.Error("no error is not the lack of a row")
		}
	})
}

func TestCut(t *testing.T) {
	key := func(s string) string { return "key of " + s }
	for _, tt := range []struct {
		rows  []string
		limit int
		items int
		next  string
	}{
		{nil, 2, 0, ""},
		{[]string{"a"}, 2, 1, ""},
		{[]string{"a", "b"}, 2, 2, ""},
		{[]string{"a", "b", "c"}, 2, 2, "key of b"},
	} {
		got := store.Cut(tt.rows, store.Page{Limit: tt.limit}, key)
		if len(got.Items) != tt.items || got.Next != tt.next {
			t.Errorf("Cut(%v, %d) = %+v", tt.rows, tt.limit, got)
		}
	}
}
