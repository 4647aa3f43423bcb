package document

import (
	"fmt"
	"slices"
	"strings"

	"sealpost/fault"
)

// ETag is the strong validator of what GET answers with (RFC 9110 §8.8.3): "r3" for revision 3, and
// another one once it is final, since the answer then has a status and a hash that it had not.
func (d Document) ETag() string {
	if d.Final() {
		return fmt.Sprintf(`"r%d-final"`, d.Revision)
	}
	return fmt.Sprintf(`"r%d"`, d.Revision)
}

// Match is a condition on a document's version: what If-Match says (RFC 9110 §13.1.1). The zero value
// says nothing.
type Match struct {
	any  bool // "*"
	tags []string
}

// maxTags bounds the versions that one condition names.
const maxTags = 16

// ParseMatch reads the value of If-Match: "*", or entity tags with commas between them. A weak tag is
// read and never matches, as the strong comparison has it. fault.BadRequest.
func ParseMatch(header string) (Match, error) {
	rest := strings.Trim(header, " \t")
	switch rest {
	case "":
		return Match{}, nil
	case "*":
		return Match{any: true}, nil
	}
	var m Match
	for {
		tag, after, ok := cutTag(rest)
		if !ok || len(m.tags) == maxTags {
			return Match{}, fault.New(fault.BadRequest, `If-Match takes * or up to %d entity tags such as "r3"`, maxTags)
		}
		m.tags = append(m.tags, tag)
		rest = strings.TrimLeft(after, " \t")
		if rest == "" {
			return m, nil
		}
		var comma bool
		if rest, comma = strings.CutPrefix(rest, ","); !comma {
			return Match{}, fault.New(fault.BadRequest, "If-Match has something between its entity tags that is no comma")
		}
		rest = strings.TrimLeft(rest, " \t")
	}
}

// cutTag cuts an entity tag from the front: quotes, between them characters but no quote, and W/
// before them where it is weak. There are no escapes.
func cutTag(s string) (tag, after string, ok bool) {
	start := 0
	if strings.HasPrefix(s, "W/") {
		start = 2
	}
	if !strings.HasPrefix(s[start:], `"`) {
		return "", "", false
	}
	end := strings.IndexByte(s[start+1:], '"')
	if end < 0 {
		return "", "", false
	}
	cut := start + 1 + end + 1
	if strings.ContainsFunc(s[start+1:cut-1], func(r rune) bool { return r <= ' ' || r == 0x7f }) {
		return "", "", false
	}
	return s[:cut], s[cut:], true
}

// Absent tells whether the condition says nothing.
func (m Match) Absent() bool { return !m.any && len(m.tags) == 0 }

// holds tells whether a document is at a version that the condition names.
func (m Match) holds(doc Document) bool { return m.any || slices.Contains(m.tags, doc.ETag()) }

// check refuses another version than the condition names; one that says nothing names all.
// fault.PreconditionFailed.
func (m Match) check(doc Document) error {
	if m.Absent() || m.holds(doc) {
		return nil
	}
	return fault.New(fault.PreconditionFailed, "the document has changed since it was read: it is at version %s now", doc.ETag()).
		With("etag", doc.ETag())
}
