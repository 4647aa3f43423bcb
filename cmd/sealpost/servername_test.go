package main

import (
	"os"
	"path/filepath"
	"testing"

	"sealpost/store"
)

func TestServerName(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	first, err := takeServerName(dir)
	if err != nil || !store.ValidID(first.String()) {
		t.Fatalf("the name is %q, %v", first, err)
	}
	// A second server of the same directory is nobody, and not the first one.
	second, err := takeServerName(dir)
	if err != nil || second.String() != "" {
		t.Errorf("a second server is called %q, %v", second, err)
	}
	if err := second.release(); err != nil {
		t.Error(err)
	}
	if err := first.release(); err != nil {
		t.Fatal(err)
	}
	again, err := takeServerName(dir)
	if err != nil || again.String() != first.String() {
		t.Errorf("after a restart it is called %q, %v; it was %q", again, err, first)
	}
	if err := again.release(); err != nil {
		t.Fatal(err)
	}
	// A file that a crash left half written, or somebody has filled, is written anew.
	for _, content := range []string{"", "0190", "a longer text than any name would be, on one line\n"} {
		if err := os.WriteFile(filepath.Join(dir, "server-name"), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			fresh, err := takeServerName(dir)
			if err != nil || !store.ValidID(fresh.String()) || fresh.String() == first.String() {
				t.Errorf("after %q it is called %q, %v", content, fresh, err)
			}
			if err := fresh.release(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if _, err := takeServerName(filepath.Join(dir, "server-name")); err == nil {
		t.Error("a file was taken for a directory")
	}
}
