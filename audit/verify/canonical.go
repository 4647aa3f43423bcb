package verify

import (
	"bytes"
	"encoding/json"
	"errors"
	"unicode/utf8"
)

// spoken is what a body says that is also elsewhere: raw JSON strings, without their quotes.
type spoken struct {
	id, time, requestID, actorID, action, entity, entityID, outcome []byte
	details                                                         []byte
}

var errNotCanonical = errors.New("it is not in canonical form")

// canonical reads a body and makes sure that it is in the one form in which events are written: compact JSON,
// members in their order, none empty, texts escaped as Go's encoding/json does, the details' names sorted.
// It goes through the bytes once, since a log has millions of them.
func canonical(b []byte) (s spoken, err error) {
	p := scanner{b: b}
	ok := p.lit(`{"v":1`) &&
		p.member("id", &s.id, true) && p.member("time", &s.time, true) && p.member("requestId", &s.requestID, false) &&
		p.lit(`,"actor":{"kind":`) && p.text(nil) && p.member("id", &s.actorID, false) && p.member("keyId", nil, false) &&
		p.member("role", nil, false) && p.lit(`}`) &&
		p.member("sessionId", nil, false) && p.member("ip", nil, false) && p.member("action", &s.action, true) &&
		p.member("entity", &s.entity, false) && p.member("entityId", &s.entityID, false) && p.member("outcome", &s.outcome, true)
	if ok && p.lit(`,"details":`) {
		at := p.at
		ok = p.object(true, 0) && p.at > at+2
		s.details = b[at:p.at]
	}
	if !ok || !p.lit(`}`) || p.at != len(b) {
		return spoken{}, errNotCanonical
	}
	return s, nil
}

// scanner goes through JSON.
type scanner struct {
	b  []byte
	at int
}

func (p *scanner) lit(s string) bool {
	if len(p.b)-p.at < len(s) || string(p.b[p.at:p.at+len(s)]) != s {
		return false
	}
	p.at += len(s)
	return true
}

// member reads ,"name":"text". One that may be missing is not empty where it is there.
func (p *scanner) member(name string, to *[]byte, must bool) bool {
	rest := p.b[p.at:]
	if n := len(name); len(rest) < n+4 || rest[0] != ',' || rest[1] != '"' || string(rest[2:2+n]) != name || rest[2+n] != '"' || rest[3+n] != ':' {
		return !must
	}
	p.at += len(name) + 4
	start := p.at
	if !p.text(to) {
		return false
	}
	return must || p.at > start+2
}

// plainByte tells which bytes stand for themselves in a text.
var plainByte = func() (t [256]bool) {
	for c := 0x20; c < utf8.RuneSelf; c++ {
		t[c] = c != '"' && c != '\\' && c != '<' && c != '>' && c != '&'
	}
	return t
}()

// text reads a JSON string as encoding/json writes it: with HTML's characters and U+2028, U+2029 escaped.
func (p *scanner) text(to *[]byte) bool {
	b := p.b
	if p.at >= len(b) || b[p.at] != '"' {
		return false
	}
	start := p.at + 1
	for i := start; i < len(b); {
		c := b[i]
		switch {
		case plainByte[c]:
			i++
		case c == '"':
			if p.at = i + 1; to != nil {
				*to = b[start:i]
			}
			return true
		case c == '\\':
			n := escape(b[i:])
			if n == 0 {
				return false
			}
			i += n
		case c < utf8.RuneSelf:
			return false
		default:
			r, n := utf8.DecodeRune(b[i:])
			if r == utf8.RuneError && n == 1 || r == '\u2028' || r == '\u2029' {
				return false
			}
			i += n
		}
	}
	return false
}

// escape gives the length of an escape sequence that encoding/json writes; 0 for any other.
func escape(b []byte) int {
	if len(b) < 2 {
		return 0
	}
	switch b[1] {
	case '"', '\\', 'n', 'r', 't', 'b', 'f':
		return 2
	case 'u':
	default:
		return 0
	}
	if len(b) < 6 {
		return 0
	}
	switch string(b[2:6]) {
	case "003c", "003e", "0026", "2028", "2029", "fffd":
		return 6
	case "0008", "0009", "000a", "000c", "000d":
		return 0
	}
	if b[2] == '0' && b[3] == '0' && (b[4] == '0' || b[4] == '1') && (b[5] >= '0' && b[5] <= '9' || b[5] >= 'a' && b[5] <= 'f') {
		return 6
	}
	return 0
}

// maxDepth bounds how deep details are.
const maxDepth = 64

// object reads an object. Only where it is sorted its names have to be: a struct among the details has them
// in the order of its fields.
func (p *scanner) object(sorted bool, depth int) bool {
	if depth > maxDepth || !p.lit(`{`) {
		return false
	}
	var last []byte
	for first := true; !p.lit(`}`); first = false {
		if !first && !p.lit(`,`) {
			return false
		}
		var name []byte
		if !p.text(&name) || !p.lit(`:`) || !p.value(depth+1) {
			return false
		}
		if sorted && !first && bytes.Compare(unquoted(last), unquoted(name)) >= 0 {
			return false
		}
		last = name
	}
	return true
}

func (p *scanner) value(depth int) bool {
	if p.at >= len(p.b) {
		return false
	}
	switch p.b[p.at] {
	case '"':
		return p.text(nil)
	case '{':
		return p.object(false, depth)
	case '[':
		if depth > maxDepth {
			return false
		}
		p.at++
		for first := true; !p.lit(`]`); first = false {
			if !first && !p.lit(`,`) || !p.value(depth+1) {
				return false
			}
		}
		return true
	case 't':
		return p.lit(`true`)
	case 'f':
		return p.lit(`false`)
	case 'n':
		return p.lit(`null`)
	}
	start := p.at
	for p.at < len(p.b) && bytes.IndexByte([]byte("+-.0123456789eE"), p.b[p.at]) >= 0 {
		p.at++
	}
	return p.at > start && json.Valid(p.b[start:p.at])
}

// unquoted is the text of a raw JSON string, which is checked already.
func unquoted(raw []byte) []byte {
	if bytes.IndexByte(raw, '\\') < 0 {
		return raw
	}
	quoted := append(append([]byte{'"'}, raw...), '"')
	var s string
	if json.Unmarshal(quoted, &s) != nil {
		return raw
	}
	return []byte(s)
}

// says tells whether a raw JSON string has a text.
func says(raw []byte, text string) bool {
	if bytes.IndexByte(raw, '\\') < 0 {
		return string(raw) == text
	}
	return string(unquoted(raw)) == text
}
