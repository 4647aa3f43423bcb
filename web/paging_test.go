package web

import (
	"encoding/base64"
	"strings"
	"testing"
	"unicode/utf8"

	"sealpost/store"
)

func TestCursors(t *testing.T) {
	for _, key := range []string{"01890a5d-ac96-774b-bcce-b302099a8057", "é/+ ", "0", strings.Repeat("x", 383)} {
		cursor := makeCursor(key)
		if got, ok := parseCursor(cursor); !ok || got != key {
			t.Errorf("%q becomes %q, %t", key, got, ok)
		}
		if strings.ContainsAny(cursor, "+/=&?#% ") {
			t.Errorf("%q needs escaping in a URL", cursor)
		}
	}
	if key, ok := parseCursor(""); key != "" || !ok {
		t.Error("no cursor is the start")
	}
	encode := base64.RawURLEncoding.EncodeToString
	for name, cursor := range map[string]string{
		"no base64": "!!!", "padding": encode([]byte("1a")) + "=", "the other alphabet": "MT8/Pz8+", "no key": encode([]byte("1")),
		"another version": encode([]byte("2abc")), "no version": encode([]byte("abc")), "not UTF-8": encode([]byte("1\xff")),
		"NUL": encode([]byte("1a\x00")), "bits behind the end": "MWF", "a line break": "MW\nE", "too long": makeCursor(strings.Repeat("x", 384)),
	} {
		if key, ok := parseCursor(cursor); ok {
			t.Errorf("%s is taken, as %q", name, key)
		}
	}
}

func FuzzParseCursor(f *testing.F) {
	f.Add("MTAxODkwYTVk")
	f.Add("MQ")
	f.Add("")
	f.Fuzz(func(t *testing.T, cursor string) {
		key, ok := parseCursor(cursor)
		if !ok || cursor == "" {
			return
		}
		if key == "" || !utf8.ValidString(key) || strings.ContainsRune(key, 0) {
			t.Errorf("%q gives %q", cursor, key)
		}
		if makeCursor(key) != cursor {
			t.Errorf("%q and %q are one cursor", cursor, makeCursor(key))
		}
	})
}

func TestPageInfo(t *testing.T) {
	if info := pageInfo(store.List[int]{Items: []int{1, 2}}); info.HasMore || info.NextCursor != nil || info.Returned != 2 {
		t.Errorf("the last page: %+v", info)
	}
	info := pageInfo(store.List[int]{Items: []int{1}, Next: "k"})
	if !info.HasMore || info.Returned != 1 || *info.NextCursor != makeCursor("k") {
		t.Errorf("a page before it: %+v", info)
	}
	if items(store.List[int]{}) == nil {
		t.Error("an empty list is [], not null")
	}
}
