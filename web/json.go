package web

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"
)

// unmarshal reads JSON as SPEC §3 has it: what is not exactly one well-formed text is refused. huma
// unmarshals a body twice, into any for its schema, which is where parseJSON reads it, and then into
// the handler's type.
func unmarshal(data []byte, v any) error {
	if parsed, ok := v.(*any); ok {
		var err error
		*parsed, err = parseJSON(data)
		return err
	}
	return withoutValue(json.Unmarshal(data, v))
}

// withoutValue says what encoding/json found wrong, without the value that it quotes.
func withoutValue(err error) error {
	if err == nil {
		return nil
	}
	if e, ok := errors.AsType[*json.UnmarshalTypeError](err); ok && e.Field != "" {
		return fmt.Errorf("%s has a value that does not fit", printable(e.Field, maxFieldName))
	}
	return errors.New("a value in the JSON text does not fit")
}

// The limits of a JSON text.
const (
	maxDepth  = 64      // how deep arrays and objects may lie in each other
	maxValues = 100_000 // how many values there may be: a text of one MiB could hold half a million
)

// parseJSON reads exactly one JSON text (RFC 8259) as I-JSON (RFC 7493) has it: UTF-8 without a byte
// order mark, without half surrogates, no member name twice in an object, no number beyond a float64,
// nothing behind the text. Beyond that, no NUL character, which a text column cannot hold, and the
// limits above. It gives what encoding/json would give. Its errors name places, never contents.
func parseJSON(b []byte) (any, error) {
	p := parser{b: b}
	p.space()
	v, err := p.value(0)
	if err != nil {
		return nil, err
	}
	p.space()
	if p.i < len(b) {
		return nil, p.wrong("there is something behind the JSON text")
	}
	return v, nil
}

// parser goes once through a text.
type parser struct {
	b      []byte
	i      int
	values int
}

func (p *parser) wrong(what string) error { return fmt.Errorf("%s, at byte %d", what, p.i) }

func (p *parser) space() {
	for p.i < len(p.b) {
		switch p.b[p.i] {
		case ' ', '\t', '\n', '\r':
			p.i++
		default:
			return
		}
	}
}

// peek gives the next byte, and 0, which no token starts with, at the end.
func (p *parser) peek() byte {
	if p.i < len(p.b) {
		return p.b[p.i]
	}
	return 0
}

func (p *parser) value(depth int) (any, error) {
	if p.values++; p.values > maxValues {
		return nil, p.wrong(fmt.Sprintf("the JSON text has more than %d values", maxValues))
	}
	switch ch := p.peek(); {
	case ch == '"':
		return p.text()
	case ch == '{' || ch == '[':
		if depth == maxDepth {
			return nil, p.wrong(fmt.Sprintf("the JSON text is more than %d levels deep", maxDepth))
		}
		if ch == '{' {
			return p.object(depth + 1)
		}
		return p.array(depth + 1)
	case ch == '-' || '0' <= ch && ch <= '9':
		return p.number()
	case ch == 't':
		return true, p.word("true")
	case ch == 'f':
		return false, p.word("false")
	case ch == 'n':
		return nil, p.word("null")
	case p.i >= len(p.b):
		return nil, p.wrong("the JSON text ends too early")
	}
	return nil, p.wrong("this is no JSON value")
}

func (p *parser) word(w string) error {
	if string(p.b[p.i:min(p.i+len(w), len(p.b))]) != w {
		return p.wrong("this is no JSON value")
	}
	p.i += len(w)
	return nil
}

func (p *parser) array(depth int) (any, error) {
	list := []any{}
	p.i++
	p.space()
	if p.peek() == ']' {
		p.i++
		return list, nil
	}
	for {
		p.space()
		v, err := p.value(depth)
		if err != nil {
			return nil, err
		}
		list = append(list, v)
		p.space()
		switch p.peek() {
		case ',':
			p.i++
		case ']':
			p.i++
			return list, nil
		default:
			return nil, p.wrong("an array lacks a comma or its end")
		}
	}
}

func (p *parser) object(depth int) (any, error) {
	members := map[string]any{}
	p.i++
	p.space()
	if p.peek() == '}' {
		p.i++
		return members, nil
	}
	for {
		p.space()
		if p.peek() != '"' {
			return nil, p.wrong("an object lacks a member's name")
		}
		name, err := p.text()
		if err != nil {
			return nil, err
		}
		if _, twice := members[name]; twice {
			return nil, p.wrong("an object has a name twice")
		}
		p.space()
		if p.peek() != ':' {
			return nil, p.wrong("an object lacks a colon")
		}
		p.i++
		p.space()
		if members[name], err = p.value(depth); err != nil {
			return nil, err
		}
		p.space()
		switch p.peek() {
		case ',':
			p.i++
		case '}':
			p.i++
			return members, nil
		default:
			return nil, p.wrong("an object lacks a comma or its end")
		}
	}
}

// text reads a string.
func (p *parser) text() (string, error) {
	p.i++
	start := p.i
	var plain []byte // what came before the last escape
	for p.i < len(p.b) {
		switch ch := p.b[p.i]; {
		case ch == '"':
			rest := p.b[start:p.i]
			p.i++
			if plain == nil {
				return string(rest), nil
			}
			return string(append(plain, rest...)), nil
		case ch == '\\':
			if plain == nil {
				plain = make([]byte, 0, 2*(p.i-start)+64)
			}
			plain = append(plain, p.b[start:p.i]...)
			r, err := p.escape()
			if err != nil {
				return "", err
			}
			plain, start = utf8.AppendRune(plain, r), p.i
		case ch < ' ':
			return "", p.wrong("a string has a control character")
		case ch < utf8.RuneSelf:
			p.i++
		default:
			r, size := utf8.DecodeRune(p.b[p.i:])
			if r == utf8.RuneError && size <= 1 {
				return "", p.wrong("a string is not UTF-8")
			}
			p.i += size
		}
	}
	return "", p.wrong("a string lacks its end")
}

// escape reads what begins with a backslash, both halves of a surrogate pair together.
func (p *parser) escape() (rune, error) {
	p.i++
	ch := p.peek()
	p.i++
	switch ch {
	case '"', '\\', '/':
		return rune(ch), nil
	case 'b':
		return '\b', nil
	case 'f':
		return '\f', nil
	case 'n':
		return '\n', nil
	case 'r':
		return '\r', nil
	case 't':
		return '\t', nil
	case 'u':
	default:
		return 0, p.wrong("a string has an escape that is none")
	}
	r, err := p.hex4()
	if err != nil {
		return 0, err
	}
	switch {
	case r == 0:
		return 0, p.wrong("a string has a NUL character")
	case !utf16.IsSurrogate(r):
		return r, nil
	}
	if p.i+1 < len(p.b) && p.b[p.i] == '\\' && p.b[p.i+1] == 'u' {
		p.i += 2
		low, err := p.hex4()
		if err != nil {
			return 0, err
		}
		if r = utf16.DecodeRune(r, low); r != utf8.RuneError {
			return r, nil
		}
	}
	return 0, p.wrong("a string has half of a surrogate pair")
}

func (p *parser) hex4() (rune, error) {
	if len(p.b)-p.i < 4 {
		return 0, p.wrong("a string has an escape that is none")
	}
	var r rune
	for _, ch := range p.b[p.i : p.i+4] {
		switch {
		case '0' <= ch && ch <= '9':
			ch -= '0'
		case 'a' <= ch && ch <= 'f':
			ch -= 'a' - 10
		case 'A' <= ch && ch <= 'F':
			ch -= 'A' - 10
		default:
			return 0, p.wrong("a string has an escape that is none")
		}
		r = r<<4 | rune(ch)
	}
	p.i += 4
	return r, nil
}

// number reads a number, which encoding/json makes a float64 of.
func (p *parser) number() (any, error) {
	start := p.i
	if p.peek() == '-' {
		p.i++
	}
	switch ch := p.peek(); {
	case ch == '0':
		p.i++
	case !p.digits():
		return nil, p.wrong("this is no JSON number")
	}
	if p.peek() == '.' {
		p.i++
		if !p.digits() {
			return nil, p.wrong("this is no JSON number")
		}
	}
	if ch := p.peek(); ch == 'e' || ch == 'E' {
		p.i++
		if ch := p.peek(); ch == '+' || ch == '-' {
			p.i++
		}
		if !p.digits() {
			return nil, p.wrong("this is no JSON number")
		}
	}
	f, err := strconv.ParseFloat(string(p.b[start:p.i]), 64)
	if err != nil {
		return nil, p.wrong("a number is out of range")
	}
	return f, nil
}

// digits goes over one or more digits.
func (p *parser) digits() bool {
	start := p.i
	for ch := p.peek(); '0' <= ch && ch <= '9'; ch = p.peek() {
		p.i++
	}
	return p.i > start
}
