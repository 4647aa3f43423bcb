package store

import (
	"fmt"
	"regexp"
	"strings"
	"sync"
)

// written finds each table that a statement writes to. Our SQL is lower case and visible, so this
// need not understand SQL, only our own way to write it; a statement in another style is refused
// under Restrict by the test that runs it.
var written = regexp.MustCompile(`(?i)\b(?:insert\s+into|update|delete\s+from)\s+("?[a-zA-Z_][a-zA-Z_0-9]*"?)`)

var writtenBy sync.Map // statement → []string

// tablesWritten names the tables that a statement writes to; none for a query.
func tablesWritten(query string) []string {
	if names, ok := writtenBy.Load(query); ok {
		return names.([]string)
	}
	var names []string
	for _, m := range written.FindAllStringSubmatch(lockClause.ReplaceAllString(query, ""), -1) {
		if !strings.EqualFold(m[1], "set") { // "on conflict do update set"
			names = append(names, m[1])
		}
	}
	writtenBy.Store(query, names)
	return names
}

var lockClause = regexp.MustCompile(`(?i)\bfor\s+(no\s+key\s+)?update\b`)

// mayWrite notes the tables that a statement writes to, and refuses those that a restriction forbids.
func (tx *Tx) mayWrite(query string) error {
	for _, table := range tablesWritten(query) {
		if tx.only != nil && !tx.only[table] {
			return fmt.Errorf("this transaction may not write to %s: a change goes through audit.Change", table)
		}
		if tx.wrote == nil {
			tx.wrote = map[string]bool{}
		}
		tx.wrote[table] = true
	}
	return nil
}

// WroteOnly tells whether every table that the transaction has written to is among those named.
func (tx *Tx) WroteOnly(tables map[string]bool) bool {
	for table := range tx.wrote {
		if !tables[table] {
			return false
		}
	}
	return true
}
