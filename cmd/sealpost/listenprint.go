package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// arrival is what listen prints of a request, or that it listens.
type arrival struct {
	Listening string      `json:"listening,omitempty"`
	At        time.Time   `json:"at,omitzero"`
	Method    string      `json:"method,omitempty"`
	Path      string      `json:"path,omitempty"`
	ID        string      `json:"webhookId,omitempty"`
	Duplicate bool        `json:"duplicate,omitempty"`
	Signature string      `json:"signature,omitempty"` // "holds", or why not
	Headers   [][2]string `json:"headers,omitempty"`
	Bytes     int         `json:"bytes,omitempty"`
	Body      string      `json:"body,omitempty"`      // its beginning, where it is text
	Truncated bool        `json:"truncated,omitempty"` // there is more of it
	Binary    bool        `json:"binary,omitempty"`    // it is no text
	Status    int         `json:"status,omitempty"`    // of the answer
	body      []byte
}

// print writes an arrival with a single write. Whatever came from outside is escaped, so that it
// cannot move the cursor, hide a line or look like one of ours.
func (r *receiver) print(a arrival) {
	text := a.body
	if a.Truncated = len(text) > listenShownBody; a.Truncated {
		text = text[:listenShownBody]
		for n := 0; n < utf8.UTFMax-1 && len(text) > 0; n++ { // a character is not cut in two
			if last, size := utf8.DecodeLastRune(text); last != utf8.RuneError || size > 1 {
				break
			}
			text = text[:len(text)-1]
		}
	}
	if a.Binary = !utf8.Valid(text); !a.Binary {
		a.Body = string(text)
	}
	if r.json {
		b, err := json.Marshal(a)
		if err != nil {
			return // strings, numbers and a time always have a form
		}
		_, _ = io.WriteString(r.out, printableJSON(b)+"\n")
		return
	}
	_, _ = io.WriteString(r.out, a.text())
}

// text is an arrival for people to read.
func (a arrival) text() string {
	if a.Listening != "" {
		return "listening on " + a.Listening + "\n"
	}
	var b strings.Builder
	line := func(name, value string) { _, _ = fmt.Fprintf(&b, "  %-18s %s\n", name, value) }
	_, _ = fmt.Fprintf(&b, "%s %s %s, %d bytes, answered with %d\n",
		a.At.Format(time.RFC3339), printable(a.Method), printable(a.Path), a.Bytes, a.Status)
	if id := printable(a.ID); a.Duplicate {
		line("webhook-id", id+" (DUPLICATE: it came before)")
	} else if id != "" {
		line("webhook-id", id)
	}
	line("signature", a.Signature)
	for _, h := range a.Headers {
		line(h[0], printable(h[1]))
	}
	switch {
	case a.Binary:
		line("body", "not text")
	case a.Truncated:
		line("body", printable(a.Body)+" …")
	case a.Body != "":
		line("body", printable(a.Body))
	}
	return b.String()
}

// printable escapes everything that does not simply print: control characters, line breaks, marks
// that turn the direction of writing, bytes that are no UTF-8.
func printable(s string) string {
	var b strings.Builder
	for len(s) > 0 {
		r, size := utf8.DecodeRuneInString(s)
		if r == utf8.RuneError && size == 1 {
			_, _ = fmt.Fprintf(&b, `\x%02x`, s[0])
		} else if unicode.IsPrint(r) {
			b.WriteRune(r)
		} else {
			b.WriteString(strings.Trim(strconv.QuoteRune(r), "'"))
		}
		s = s[size:]
	}
	return b.String()
}

// printableJSON escapes in JSON what encoding/json leaves as it is and a terminal does not: C1 control
// characters, marks of direction. Outside of strings JSON has only ASCII.
func printableJSON(b []byte) string {
	var out strings.Builder
	for _, r := range string(b) {
		switch {
		case unicode.IsPrint(r):
			out.WriteRune(r)
		case r > 0xffff:
			high, low := utf16.EncodeRune(r)
			_, _ = fmt.Fprintf(&out, `\u%04x\u%04x`, high, low)
		default:
			_, _ = fmt.Fprintf(&out, `\u%04x`, r)
		}
	}
	return out.String()
}
