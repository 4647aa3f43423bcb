package store

import (
	"context"
	"database/sql"
	"embed"
	"fmt"
	"io/fs"

	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"
)

//go:embed migrations/*.sql
var migrations embed.FS

// Migrations gives the folder of migrations, for the test databases' fingerprint.
func Migrations() fs.FS { return migrations }

// Migrate brings the database's tables to this program's version. Servers that start together on
// PostgreSQL take turns. A database from a newer program is refused.
func (s *Store) Migrate(ctx context.Context) error {
	s.migrating.Lock()
	defer s.migrating.Unlock()
	provider, done, err := s.migrator(ctx)
	if err != nil {
		return fmt.Errorf("migrate the database: %w", err)
	}
	defer done()
	current, target, err := provider.GetVersions(ctx)
	if err != nil {
		return fmt.Errorf("migrate the database: %w", outage(ctx, err))
	}
	if current > target {
		return fmt.Errorf("the database is at version %d and this program knows %d: start the newer program", current, target)
	}
	if current == target {
		return nil
	}
	if _, err := provider.Up(ctx); err != nil {
		return fmt.Errorf("migrate the database: %w", outage(ctx, err))
	}
	return nil
}

// migrator gives what runs the migrations, and a function that ends its use.
func (s *Store) migrator(ctx context.Context) (*goose.Provider, func(), error) {
	dir, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return nil, nil, err
	}
	if s.dialect == Postgres {
		if err := s.createBlobDomain(ctx); err != nil {
			return nil, nil, err
		}
		locker, err := lock.NewPostgresSessionLocker(lock.WithLockTimeout(1, 300)) // seconds, and how often
		if err != nil {
			return nil, nil, err
		}
		provider, err := goose.NewProvider(goose.DialectPostgres, s.db, dir,
			goose.WithDisableGlobalRegistry(true), goose.WithSessionLocker(locker))
		return provider, func() {}, err
	}
	// A connection of its own: the writer's keeps to the writer, and readers cannot write.
	db, err := sql.Open("sqlite", sqliteDSN(s.path, "_txlock=immediate", "synchronous(full)"))
	if err != nil {
		return nil, nil, err
	}
	done := func() { _ = db.Close() } // nothing of it is used after this
	provider, err := goose.NewProvider(goose.DialectSQLite3, db, dir, goose.WithDisableGlobalRegistry(true))
	if err != nil {
		done()
	}
	return provider, done, err
}

// createBlobDomain lets one text of the migrations serve both databases: "blob" is SQLite's own word.
func (s *Store) createBlobDomain(ctx context.Context) error {
	_, err := s.db.ExecContext(ctx, `
		do $$ begin
			if to_regtype('blob') is null then create domain blob as bytea; end if;
		exception when duplicate_object or unique_violation then null; -- another server was first
		end $$`)
	if err != nil {
		return fmt.Errorf("create the blob type: %w", outage(ctx, err))
	}
	return nil
}
