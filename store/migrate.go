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
	dir, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return err
	}
	dialect, db := goose.DialectSQLite3, s.readers.DB
	options := []goose.ProviderOption{goose.WithDisableGlobalRegistry(true)}
	if s.dialect == Postgres {
		dialect = goose.DialectPostgres
		locker, err := lock.NewPostgresSessionLocker(lock.WithLockTimeout(1, 300)) // seconds, and how often
		if err != nil {
			return err
		}
		options = append(options, goose.WithSessionLocker(locker))
		if err := s.createBlobDomain(ctx); err != nil {
			return err
		}
	} else {
		// A connection of its own: the writer's keeps to the writer, and readers cannot write.
		if db, err = sql.Open("sqlite", sqliteDSN(s.path, "_txlock=immediate")); err != nil {
			return fmt.Errorf("open the database: %w", err)
		}
		defer db.Close() //nolint:errcheck // nothing of it is used after this
	}
	provider, err := goose.NewProvider(dialect, db, dir, options...)
	if err != nil {
		return fmt.Errorf("read the migrations: %w", err)
	}
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

// createBlobDomain lets one text of the migrations serve both databases: "blob" is SQLite's own word.
func (s *Store) createBlobDomain(ctx context.Context) error {
	_, err := s.readers.ExecContext(ctx, `
		do $$ begin
			if to_regtype('blob') is null then create domain blob as bytea; end if;
		exception when duplicate_object or unique_violation then null; -- another server was first
		end $$`)
	if err != nil {
		return fmt.Errorf("create the blob type: %w", outage(ctx, err))
	}
	return nil
}
