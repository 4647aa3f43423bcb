package document

import (
	"encoding/base64"
	"fmt"
	"strconv"
	"time"
	"unicode/utf8"
)

// Canonical is what a seal covers: the document as it was finalized, by whom and when.
type Canonical struct {
	ID          string
	AuthorID    string
	AuthorEmail string // the author's address when it was finalized
	Revision    int64
	Text        Text
	CreatedAt   time.Time
	FinalizedAt time.Time
	Salt        [16]byte // random: without the document its hash tells nothing, however short the text
}

// format names this form. Another form would get another name, and keep this one readable.
const format = "sealpost-document-v1"

// timeLayout is RFC 3339 in UTC with all six digits of a microsecond.
const timeLayout = "2006-01-02T15:04:05.000000Z"

// Bytes writes the document in its one form: JSON as RFC 8785 (JSON Canonicalization Scheme) has it,
// that is UTF-8 without white space, keys in the order of their code units, strings with no escape
// that is not needed. Who has read the JSON can make the same bytes again, in Python for example with
//
//	json.dumps(document, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
//
// The keys are author {email, id}, content, createdAt, finalizedAt, format, id, revision, salt (16
// bytes in base64) and title.
func (c Canonical) Bytes() ([]byte, error) {
	for _, s := range []string{c.ID, c.AuthorID, c.AuthorEmail, c.Text.Title, c.Text.Content} {
		if !utf8.ValidString(s) {
			return nil, fmt.Errorf("document %s: a text that is not UTF-8 has no canonical form", c.ID)
		}
	}
	b := make([]byte, 0, len(c.Text.Content)+len(c.Text.Content)/16+len(c.Text.Title)+512)
	b = append(b, `{"author":{"email":`...)
	b = appendString(b, c.AuthorEmail)
	b = append(b, `,"id":`...)
	b = appendString(b, c.AuthorID)
	b = append(b, `},"content":`...)
	b = appendString(b, c.Text.Content)
	b = append(b, `,"createdAt":`...)
	b = appendString(b, c.CreatedAt.UTC().Format(timeLayout))
	b = append(b, `,"finalizedAt":`...)
	b = appendString(b, c.FinalizedAt.UTC().Format(timeLayout))
	b = append(b, `,"format":`...)
	b = appendString(b, format)
	b = append(b, `,"id":`...)
	b = appendString(b, c.ID)
	b = append(b, `,"revision":`...)
	b = strconv.AppendInt(b, c.Revision, 10)
	b = append(b, `,"salt":`...)
	b = appendString(b, base64.StdEncoding.EncodeToString(c.Salt[:]))
	b = append(b, `,"title":`...)
	b = appendString(b, c.Text.Title)
	return append(b, '}'), nil
}

// appendString writes a string as RFC 8785 §3.2.2.2 has it: quotes and backslashes are escaped, the
// five control characters that have a short escape get it, the others get \u00xx in lower case, and
// everything else stands as it is. encoding/json escapes more.
func appendString(b []byte, s string) []byte {
	const hex = "0123456789abcdef"
	b = append(b, '"')
	start := 0
	for i := range len(s) {
		c := s[i]
		if c >= ' ' && c != '"' && c != '\\' {
			continue
		}
		b = append(b, s[start:i]...)
		start = i + 1
		switch c {
		case '"', '\\':
			b = append(b, '\\', c)
		case '\b':
			b = append(b, '\\', 'b')
		case '\t':
			b = append(b, '\\', 't')
		case '\n':
			b = append(b, '\\', 'n')
		case '\f':
			b = append(b, '\\', 'f')
		case '\r':
			b = append(b, '\\', 'r')
		default:
			b = append(b, '\\', 'u', '0', '0', hex[c>>4], hex[c&0xf])
		}
	}
	b = append(b, s[start:]...)
	return append(b, '"')
}
