package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"unicode"
)

func TestPrintable(t *testing.T) {
	for _, tt := range []struct{ in, want string }{
		{"plain é 漢 😀 \"q\" \\", "plain é 漢 😀 \"q\" \\"},
		{"a\r\nb\tc", `a\r\nb\tc`},
		{"\x1b[2J\x1b]0;title\x07", `\x1b[2J\x1b]0;title\a`},
		{"\u009b31m", `\u009b31m`},           // CSI as one character
		{"a\u202eb\u200b", `a\u202eb\u200b`}, // turns the direction of writing; has no width
		{"\u2028\u00a0\x7f", `\u2028\u00a0\x7f`},
		{"\xff\xfe", `\xff\xfe`},
		{"\U000e0041", `\U000e0041`},
		{"", ""},
	} {
		if got := printable(tt.in); got != tt.want {
			t.Errorf("printable(%q) = %s, want %s", tt.in, got, tt.want)
		}
	}
}

// Whatever arrives, what is printed holds nothing but characters that print, on lines of our own.
func TestListenCannotBeDriven(t *testing.T) {
	for _, asJSON := range []bool{false, true} {
		var out bytes.Buffer
		r := &receiver{out: &out, json: asJSON, status: 204, seen: seenIDs{at: map[string]bool{}}}
		evil := "\x1b[2J\n2026-01-01T00:00:00Z POST /forged\r\u009b\u202e\u2028\U000e0041<&>"
		req := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(evil))
		req.RequestURI = "/" + evil
		req.Method = "P\x1b"
		for _, name := range []string{"Webhook-Id", "User-Agent", "Authorization", "Content-Type", "Traceparent"} {
			req.Header.Set(name, evil)
		}
		w := httptest.NewRecorder()
		r.ServeHTTP(w, req)
		for _, c := range out.String() {
			if c != '\n' && !unicode.IsPrint(c) {
				t.Errorf("json=%v: %U is printed", asJSON, c)
			}
		}
		if strings.Contains(out.String(), "\n2026-01-01") {
			t.Errorf("json=%v: a line was forged:\n%s", asJSON, out.String())
		}
		if asJSON {
			var a arrival
			if err := json.Unmarshal(out.Bytes(), &a); err != nil || a.Body != evil || a.Path != "/"+evil {
				t.Errorf("%v: %s", err, out.String())
			}
		}
	}
}

func TestListenShowsNoCredentials(t *testing.T) {
	var out bytes.Buffer
	r := &receiver{out: &out, status: 204, seen: seenIDs{at: map[string]bool{}}}
	req := httptest.NewRequest(http.MethodPost, "/", nil)
	req.Header.Set("Authorization", "Bearer tok-123")
	req.Header.Set("Cookie", "sid=456")
	r.ServeHTTP(httptest.NewRecorder(), req)
	if s := out.String(); strings.Contains(s, "tok-123") || strings.Contains(s, "456") || !strings.Contains(s, "Bearer …") {
		t.Errorf("it prints\n%s", s)
	}
}

func TestListenLimits(t *testing.T) {
	for _, tt := range []struct {
		name   string
		body   string
		status int
		shown  string
	}{
		{"all of 4 KiB", strings.Repeat("x", 4096), 204, strings.Repeat("x", 4096) + "\n"},
		{"the beginning of more", strings.Repeat("x", 4097), 204, strings.Repeat("x", 4096) + " …\n"},
		{"no half of a character", strings.Repeat("x", 4094) + "漢y", 204, strings.Repeat("x", 4094) + " …\n"},
		{"all of a character", strings.Repeat("x", 4093) + "漢y", 204, strings.Repeat("x", 4093) + "漢 …\n"},
		{"what is no text", "\xff\xfe\xfd", 204, "not text\n"},
		{"8 MiB", strings.Repeat("x", 8<<20), 204, " …\n"},
		{"a byte more", strings.Repeat("x", 8<<20+1), 413, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var out bytes.Buffer
			r := &receiver{out: &out, status: 204, seen: seenIDs{at: map[string]bool{}}}
			w := httptest.NewRecorder()
			r.ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/", strings.NewReader(tt.body)))
			if w.Code != tt.status || !strings.HasSuffix(out.String(), tt.shown) || (tt.shown == "") != (out.Len() == 0) {
				t.Errorf("status %d, printed %d bytes that end in %q", w.Code, out.Len(), out.String()[max(0, out.Len()-20):])
			}
		})
	}
}

func TestSeenIDs(t *testing.T) {
	s := seenIDs{at: map[string]bool{}}
	for i := range listenMemory {
		if s.add(fmt.Sprint(i)) {
			t.Fatalf("%d has not been there", i)
		}
	}
	if !s.add("0") {
		t.Error("the first one is forgotten too soon")
	}
	if first, second := s.add(""), s.add(""); first || second {
		t.Error("no id is no duplicate")
	}
	s.add("one more")
	if s.add("0") { // forgotten, and remembered anew in the place of 1
		t.Error("the oldest one is still remembered")
	}
	if !s.add("2") || s.add("1") || len(s.at) != listenMemory || len(s.order) != listenMemory {
		t.Errorf("%d and %d ids are remembered", len(s.at), len(s.order))
	}
}
