package store

import (
	"context"
	"database/sql"
	"sync"
)

// statements runs our statements on SQLite and keeps them prepared: its driver parses a text each time
// it sees it, which costs more than most of our queries. (pgx keeps them by itself.) The texts come
// from the program, so there are some hundreds of them.
type statements struct {
	db       preparer
	keepMore bool // over maxPrepared, until trim
	mu       sync.RWMutex
	prepared map[string]*sql.Stmt
}

// preparer is a pool or a connection.
type preparer interface {
	querier
	PrepareContext(ctx context.Context, query string) (*sql.Stmt, error)
}

// maxPrepared bounds the statements that are kept; those of lists with many filters are rare.
const maxPrepared = 512

// stmt gives a text's statement, or nil where the text is to be run as it is.
func (s *statements) stmt(ctx context.Context, query string, p *positional) (*sql.Stmt, error) {
	s.mu.RLock()
	stmt, full := s.prepared[query], len(s.prepared) >= maxPrepared
	s.mu.RUnlock()
	if stmt != nil || full && !s.keepMore {
		return stmt, nil
	}
	stmt, err := s.db.PrepareContext(ctx, p.text)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if first := s.prepared[query]; first != nil {
		_ = stmt.Close()
		return first, nil
	}
	if s.prepared == nil {
		s.prepared = map[string]*sql.Stmt{}
	}
	s.prepared[query] = stmt
	return stmt, nil
}

// trim closes statements that are too many: any of them, since so many texts mean that some are rare.
// It runs while no statement does: one that is closed must not be read on.
func (s *statements) trim() {
	for text, stmt := range s.prepared {
		if len(s.prepared) <= maxPrepared {
			return
		}
		_ = stmt.Close()
		delete(s.prepared, text)
	}
}

// close closes all statements, when none is running any more.
func (s *statements) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, stmt := range s.prepared {
		_ = stmt.Close()
	}
}

// ExecContext and QueryContext implement querier.
func (s *statements) ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error) {
	p := positionalOf(query)
	values, err := p.values(args)
	if err != nil {
		return nil, err
	}
	stmt, err := s.stmt(ctx, query, p)
	if err != nil {
		return nil, err
	}
	if stmt == nil {
		return s.db.ExecContext(ctx, p.text, values...)
	}
	return stmt.ExecContext(ctx, values...)
}

func (s *statements) QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	p := positionalOf(query)
	values, err := p.values(args)
	if err != nil {
		return nil, err
	}
	stmt, err := s.stmt(ctx, query, p)
	if err != nil {
		return nil, err
	}
	if stmt == nil {
		return s.db.QueryContext(ctx, p.text, values...)
	}
	return stmt.QueryContext(ctx, values...)
}
