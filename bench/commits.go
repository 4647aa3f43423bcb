package bench

import (
	"context"
	"database/sql"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
	_ "github.com/jackc/pgx/v5/stdlib" // the driver "pgx"
	_ "modernc.org/sqlite"             // the driver "sqlite"
)

// groupSize is how many jobs' rows one commit of the floor has: as many as there are clients, which
// is what waits when each of them has one request.
const groupSize = clients

// commitFloor is how many jobs' bare rows a second the database takes in grouped, durable commits of
// one connection, with nothing around them: no HTTP, no events, no encryption, not our store.
func commitFloor(ctx context.Context, o Options, databaseURL string) (rate float64, err error) {
	driver, dsn := "pgx", databaseURL
	if path, ok := strings.CutPrefix(databaseURL, "sqlite:"); ok {
		driver = "sqlite"
		dsn = "file:" + filepath.Join(filepath.Dir(path), "floor.db") + "?_txlock=immediate&_pragma=journal_mode(wal)&_pragma=synchronous(full)"
	}
	db, err := sql.Open(driver, dsn)
	if err != nil {
		return 0, err
	}
	defer db.Close() //nolint:errcheck // a scratch database
	db.SetMaxOpenConns(1)
	for _, statement := range []string{
		`create table floor_job (id text not null primary key, endpoint_id text not null, status text not null, due_at bigint, created_at bigint not null)`,
		`create index floor_job_due on floor_job (endpoint_id, due_at, id) where due_at is not null`,
		`create table floor_payload (job_id text not null primary key, body text not null)`,
	} {
		if _, err := db.ExecContext(ctx, statement); err != nil {
			return 0, err
		}
	}
	jobs, err := db.PrepareContext(ctx, `insert into floor_job values `+values(groupSize, 5)) //nolint:gosec // placeholders
	if err != nil {
		return 0, err
	}
	defer jobs.Close()                                                                                //nolint:errcheck // the connection closes after it
	payloads, err := db.PrepareContext(ctx, `insert into floor_payload values `+values(groupSize, 2)) //nolint:gosec // placeholders
	if err != nil {
		return 0, err
	}
	defer payloads.Close() //nolint:errcheck // the connection closes after it
	payload := string(randomPayload())
	start, n := time.Now(), 0
	for time.Since(start) < o.Each {
		if err := commitGroup(ctx, db, jobs, payloads, payload); err != nil {
			return 0, err
		}
		n += groupSize
	}
	rate = float64(n) / time.Since(start).Seconds()
	for _, table := range []string{"floor_job", "floor_payload"} {
		if _, err := db.ExecContext(ctx, `drop table `+table); err != nil {
			return 0, err
		}
	}
	return rate, nil
}

func commitGroup(ctx context.Context, db *sql.DB, jobs, payloads *sql.Stmt, payload string) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback() //nolint:errcheck // after the commit it does nothing
	jobArgs, payloadArgs := make([]any, 0, groupSize*5), make([]any, 0, groupSize*2)
	now := time.Now().UnixMicro()
	for range groupSize {
		id := uuid.Must(uuid.NewV7()).String()
		jobArgs = append(jobArgs, id, "endpoint", "PENDING", now, now)
		payloadArgs = append(payloadArgs, id, payload)
	}
	//nolint:sqlclosecheck // they close with the transaction
	if _, err := tx.StmtContext(ctx, jobs).ExecContext(ctx, jobArgs...); err != nil {
		return err
	}
	//nolint:sqlclosecheck // they close with the transaction
	if _, err := tx.StmtContext(ctx, payloads).ExecContext(ctx, payloadArgs...); err != nil {
		return err
	}
	return tx.Commit()
}

// values writes n rows of placeholders.
func values(n, columns int) string {
	rows := make([]string, n)
	for i := range rows {
		marks := make([]string, columns)
		for j := range marks {
			marks[j] = "$" + strconv.Itoa(i*columns+j+1)
		}
		rows[i] = "(" + strings.Join(marks, ",") + ")"
	}
	return strings.Join(rows, ",")
}

// scratchDatabase makes a database of our own beside the one that a URL names.
func scratchDatabase(ctx context.Context, admin string) (scratchURL string, drop func() error, err error) {
	name := "sealpost_bench_" + strings.ReplaceAll(uuid.NewString()[:13], "-", "")
	execute := func(ctx context.Context, statement string) error {
		db, err := sql.Open("pgx", admin)
		if err != nil {
			return err
		}
		defer db.Close() //nolint:errcheck // the statement's own error tells
		_, err = db.ExecContext(ctx, statement)
		return err
	}
	scratchURL, err = withDatabase(admin, name)
	if err != nil {
		return "", nil, err
	}
	if err := execute(ctx, "create database "+name); err != nil {
		return "", nil, fmt.Errorf("make a database for the measurements: %w", err)
	}
	return scratchURL, func() error {
		return execute(context.WithoutCancel(ctx), "drop database "+name+" with (force)")
	}, nil
}
