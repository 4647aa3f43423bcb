package store

import (
	"context"
	"database/sql"
	"sync"
)

// pool is a pool of connections that keeps its statements prepared. pgx does that by itself; SQLite's
// driver parses a text each time it sees it, which costs more than most of our queries. The texts
// come from the program, so there are some hundreds of them.
type pool struct {
	*sql.DB
	keep     bool
	mu       sync.RWMutex
	prepared map[string]*sql.Stmt
}

// maxPrepared bounds the statements that are kept; those of lists with many filters are rare.
const maxPrepared = 512

func newPool(db *sql.DB, keep bool) *pool {
	return &pool{DB: db, keep: keep, prepared: map[string]*sql.Stmt{}}
}

// stmt gives a text's statement, or nil where the text is to be run as it is.
func (p *pool) stmt(ctx context.Context, query string) *sql.Stmt {
	if !p.keep {
		return nil
	}
	p.mu.RLock()
	stmt, full := p.prepared[query], len(p.prepared) >= maxPrepared
	p.mu.RUnlock()
	if stmt != nil || full {
		return stmt
	}
	stmt, err := p.PrepareContext(ctx, query)
	if err != nil {
		return nil // the query itself will say what is wrong
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if first := p.prepared[query]; first != nil {
		_ = stmt.Close()
		return first
	}
	p.prepared[query] = stmt
	return stmt
}

func (p *pool) ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error) {
	if stmt := p.stmt(ctx, query); stmt != nil {
		return stmt.ExecContext(ctx, args...)
	}
	return p.DB.ExecContext(ctx, query, args...)
}

func (p *pool) QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	if stmt := p.stmt(ctx, query); stmt != nil {
		return stmt.QueryContext(ctx, args...)
	}
	return p.DB.QueryContext(ctx, query, args...)
}

func (p *pool) QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row {
	if stmt := p.stmt(ctx, query); stmt != nil {
		return stmt.QueryRowContext(ctx, args...)
	}
	return p.DB.QueryRowContext(ctx, query, args...)
}

// Close closes the statements and the connections. Nobody is reading by then: see Store.Close.
func (p *pool) Close() error {
	for _, stmt := range p.prepared {
		_ = stmt.Close()
	}
	return p.DB.Close()
}
