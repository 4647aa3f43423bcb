package store

import (
	"fmt"
	"strings"
)

// Restrict lets the transaction write only what is named, from now on, as "update node": a verb
// (insert, update, delete) and a table. An upsert is both its insert and its update. Package audit
// holds bookkeeping to its closed list with it. Rows that a foreign key's cascade deletes are not
// seen, and belong to the row that is.
func (tx *Tx) Restrict(writes map[string]bool) { tx.only = writes }

// WroteOnly tells whether everything that the transaction has written is among what is named.
func (tx *Tx) WroteOnly(writes map[string]bool) bool {
	for w := range tx.wrote {
		if !writes[w] {
			return false
		}
	}
	return true
}

// nothing is the restriction of those who read.
var nothing = map[string]bool{}

// mayWrite notes what a statement writes, and refuses what a restriction does not name.
func (tx *Tx) mayWrite(query string) error {
	s := effectsOf(query)
	if s.control != "" {
		return fmt.Errorf("a function does not run %q: its transaction is not its own to end", s.control)
	}
	for _, w := range s.writes {
		if tx.only != nil && !tx.only[w] {
			return fmt.Errorf("this transaction may not %s: a change goes through audit.Change", w)
		}
		if tx.wrote == nil {
			tx.wrote = map[string]bool{}
		}
		tx.wrote[w] = true
	}
	return nil
}

// effects is what a statement does to the database.
type effects struct {
	writes  []string // "update node"; what is not understood is among them, under names no list has
	control string   // the word by which it would end or begin a transaction
}

var knownEffects remembered[string, effects]

func effectsOf(query string) effects {
	if s, ok := knownEffects.get(query); ok {
		return s
	}
	s := findEffects(tokens(query))
	knownEffects.put(query, s)
	return s
}

// findEffects finds the writes in a statement of our own style: insert into, update and delete from,
// also inside "with". It fails closed: a word that writes in some other way, or a target that it
// cannot read, is a write that no list names.
func findEffects(t []string) effects {
	var s effects
	if len(t) == 0 {
		return effects{writes: []string{"run an empty statement"}}
	}
	switch t[0] {
	case "select", "values", "with", "insert", "update", "delete", "explain":
	case "begin", "start", "commit", "end", "rollback", "abort", "savepoint", "release", "prepare":
		return effects{control: t[0]}
	default:
		s.writes = append(s.writes, "run "+t[0])
	}
	at := func(i int) string {
		if i < 0 || i >= len(t) {
			return ""
		}
		return t[i]
	}
	inserted := "an unknown table" // of the insert that an upsert belongs to
	for i, word := range t {
		switch word {
		case "insert":
			if at(i+1) != "into" {
				s.writes = append(s.writes, "insert "+at(i+1))
				continue
			}
			inserted = target(t, i+2)
			s.writes = append(s.writes, "insert "+inserted)
		case "update":
			switch at(i - 1) {
			case "for", "key", "on": // for update, for no key update; on update cascade
			case "do":
				s.writes = append(s.writes, "update "+inserted)
			default:
				s.writes = append(s.writes, "update "+target(t, i+1))
			}
		case "delete":
			switch {
			case at(i-1) == "on": // on delete cascade
			case at(i+1) == "from":
				s.writes = append(s.writes, "delete "+target(t, i+2))
			default:
				s.writes = append(s.writes, "delete "+at(i+1))
			}
		case "into": // merge into, replace into, and PostgreSQL's select into
			if at(i-1) != "insert" {
				s.writes = append(s.writes, "write into "+at(i+1))
			}
		case ";":
			s.writes = append(s.writes, "run several statements")
		case unreadable:
			s.writes = append(s.writes, "run what cannot be read")
		}
	}
	return s
}

// target reads a table's name: "only" before it is left out, a schema stays.
func target(t []string, i int) string {
	if i < len(t) && t[i] == "only" {
		i++
	}
	if i >= len(t) || !isName(t[i]) {
		return "an unknown table"
	}
	var name strings.Builder
	name.WriteString(t[i])
	for i+2 < len(t) && t[i+1] == "." {
		name.WriteString("." + t[i+2])
		i += 2
	}
	return name.String()
}

func isName(token string) bool { return token[0] == '"' || isWordStart(token[0]) }

// unreadable stands for what tokens does not read: an unfinished quote, PostgreSQL's dollar quotes and
// escape strings, none of which our statements have.
const unreadable = "\x00"

// tokens cuts a statement into lower-case words, quoted names, and signs, without literals and
// comments. A quoted name that needs no quotes loses them.
func tokens(q string) []string {
	var t []string
	for i := 0; i < len(q); {
		c := q[i]
		switch {
		case c == ' ' || c == '\n' || c == '\t' || c == '\r':
			i++
		case strings.HasPrefix(q[i:], "--"):
			i += end(q[i:], "\n")
		case strings.HasPrefix(q[i:], "/*"):
			n := strings.Index(q[i:], "*/")
			if n < 0 || strings.Contains(q[i+2:i+n], "/*") { // PostgreSQL nests them, SQLite does not
				return append(t, unreadable)
			}
			i += n + 2
		case c == '\'':
			n := quoted(q[i:])
			if n == 0 || i > 0 && isWordStart(q[i-1]) {
				return append(t, unreadable)
			}
			t = append(t, "''")
			i += n
		case c == '"':
			n := quoted(q[i:])
			if n == 0 {
				return append(t, unreadable)
			}
			t = append(t, unquote(q[i:i+n]))
			i += n
		case c == '$' && (i+1 == len(q) || q[i+1] < '0' || q[i+1] > '9'):
			return append(t, unreadable)
		case isWordStart(c):
			n := 1
			for i+n < len(q) && isWordPart(q[i+n]) {
				n++
			}
			t = append(t, strings.ToLower(q[i:i+n]))
			i += n
		default:
			t = append(t, q[i:i+1])
			i++
		}
	}
	return t
}

// end gives where a mark ends, or the end of the text.
func end(s, mark string) int {
	if i := strings.Index(s, mark); i >= 0 {
		return i + len(mark)
	}
	return len(s)
}

// quoted gives the length of what the first byte quotes, with the quotes; 0 where it does not end.
func quoted(s string) int {
	for i := 1; i < len(s); i++ {
		if s[i] != s[0] {
			continue
		}
		if i+1 < len(s) && s[i+1] == s[0] {
			i++ // a doubled quote is one inside
			continue
		}
		return i + 1
	}
	return 0
}

func unquote(name string) string {
	inner := name[1 : len(name)-1]
	if inner == "" || !isWordStart(inner[0]) || inner != strings.ToLower(inner) {
		return name
	}
	for i := range len(inner) {
		if !isWordPart(inner[i]) {
			return name
		}
	}
	return inner
}

func isWordStart(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '_' || c >= 0x80
}

func isWordPart(c byte) bool { return isWordStart(c) || c >= '0' && c <= '9' || c == '$' }
