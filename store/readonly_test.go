package store_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"sealpost/store"
	"sealpost/store/storetest"
)

// Whoever only reads need not wait for the server to end, and disturbs it in nothing.
func TestReaderBesideAServer(t *testing.T) {
	storetest.EachURL(t, func(t *testing.T, url string) {
		server := open(t, url, store.Options{})
		write(t, server, `create table t (id bigint primary key)`, `insert into t (id) values (1)`)
		r, err := store.OpenReader(t.Context(), url, store.Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close() //nolint:errcheck // tested below
		if n := number(t, r, `select count(*) from t`); n != 1 {
			t.Errorf("the reader sees %d rows", n)
		}
		write(t, server, `insert into t (id) values (2)`)
		if n := number(t, r, `select count(*) from t`); n != 2 {
			t.Errorf("the reader sees %d rows, the server has written 2", n)
		}
		err = r.Write(t.Context(), func(tx *store.Tx) error {
			_, err := tx.Exec(t.Context(), `insert into t (id) values (3)`)
			return err
		})
		if err == nil || number(t, server, `select count(*) from t`) != 2 {
			t.Errorf("the reader writes: %v", err)
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
		write(t, server, `insert into t (id) values (4)`)
	})
}

// A file that is not there is not made.
func TestReaderMakesNothing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "none", "x.db")
	if _, err := store.OpenReader(t.Context(), "sqlite:"+path, store.Options{}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v", err)
	}
	if _, err := os.Stat(filepath.Dir(path)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("its folder: %v", err)
	}
}
