package store

import (
	"context"
	"database/sql"
	"fmt"
	"strconv"
	"strings"
)

// positional is a statement of ours as SQLite gets it: each $n is a plain ? that has a value of its own.
// SQLite takes $n too, as a name, and looks names up one after another: with the 3,072 arguments of an
// insert of many rows that is 50 times the work (143 µs a row instead of 3).
type positional struct {
	text  string
	args  int   // how many arguments the statement has
	order []int // which of them each ? stands for; nil: each once and in order
}

var positionals remembered[string, *positional]

func positionalOf(query string) *positional {
	if p, ok := positionals.get(query); ok {
		return p
	}
	p := makePositional(query)
	positionals.put(query, p)
	return p
}

func makePositional(query string) *positional {
	p := &positional{}
	var b strings.Builder
	inOrder := true
	for i := 0; i < len(query); {
		n := skipped(query[i:])
		switch {
		case n > 0:
			b.WriteString(query[i : i+n])
		case query[i] == '$' && number(query[i+1:]) > 0:
			n = 1 + number(query[i+1:])
			arg, _ := strconv.Atoi(query[i+1 : i+n])
			p.args = max(p.args, arg)
			p.order = append(p.order, arg-1)
			inOrder = inOrder && arg == len(p.order)
			b.WriteByte('?')
		default:
			n = 1
			b.WriteByte(query[i])
		}
		i += n
	}
	p.text = b.String()
	if inOrder {
		p.order = nil
	}
	return p
}

// skipped gives the length of the literal, quoted name, comment or word at the start of a text, in
// which no placeholder is; 0 where none starts there.
func skipped(s string) int {
	switch {
	case s[0] == '\'' || s[0] == '"':
		if n := quoted(s); n > 0 {
			return n
		}
		return len(s)
	case strings.HasPrefix(s, "--"):
		return end(s, "\n")
	case strings.HasPrefix(s, "/*"):
		return end(s, "*/")
	}
	n := 0
	for isWordStart(s[0]) && n < len(s) && isWordPart(s[n]) {
		n++
	}
	return n
}

// number gives the length of the number at the start of a text.
func number(s string) int {
	n := 0
	for n < len(s) && s[n] >= '0' && s[n] <= '9' {
		n++
	}
	return n
}

// values gives the value of each ?. It is as strict as PostgreSQL about their number.
func (p *positional) values(args []any) ([]any, error) {
	if len(args) != p.args {
		return nil, fmt.Errorf("%d arguments for a statement that has %d", len(args), p.args)
	}
	if p.order == nil {
		return args, nil
	}
	values := make([]any, len(p.order))
	for i, arg := range p.order {
		values[i] = args[arg]
	}
	return values, nil
}

// plain runs our statements on SQLite without keeping them, in a transaction of a reader's.
type plain struct{ querier }

func (q plain) ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error) {
	p := positionalOf(query)
	values, err := p.values(args)
	if err != nil {
		return nil, err
	}
	return q.querier.ExecContext(ctx, p.text, values...)
}

func (q plain) QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	p := positionalOf(query)
	values, err := p.values(args)
	if err != nil {
		return nil, err
	}
	return q.querier.QueryContext(ctx, p.text, values...)
}
