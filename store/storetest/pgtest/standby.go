package pgtest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
)

// SynchronousSettings make a cluster one that answers a commit only when its standby has it on disk. Without
// a standby its commits wait.
var SynchronousSettings = map[string]string{"synchronous_commit": "on", "synchronous_standby_names": "*"}

// Standby starts a second server that follows this one by streaming replication, and can take its place
// (Promote). It waits for nobody itself, unless opts say so.
func (c *Cluster) Standby(ctx context.Context, opts Options) (_ *Cluster, err error) {
	bin, err := FindServer(ctx)
	if err != nil {
		return nil, err
	}
	as, err := serverUser()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	s := &Cluster{admin: new(url.URL)}
	*s.admin = *c.admin
	password, _ := c.admin.User.Password()
	if s.dir, err = prepareDir(as, opts, password); err != nil {
		return nil, err
	}
	port, err := s.follow(ctx, c, bin, as)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start a standby%s: %w", as.asUser(), err), os.RemoveAll(s.dir))
	}
	s.admin.Host = net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
	return s, nil
}

// follow copies the primary's files, and starts a server on them that asks it for what comes after.
func (c *Cluster) follow(ctx context.Context, primary *Cluster, bin string, as *credential) (int, error) {
	// The client programs are in the server's directory on most systems, and beside psql on others.
	program := filepath.Join(bin, "pg_basebackup")
	if _, err := exec.LookPath(program); err != nil {
		program = "pg_basebackup"
	}
	password, _ := primary.admin.User.Password()
	copying := exec.CommandContext(ctx, program, "--pgdata="+c.file("data"), "--write-recovery-conf", "--wal-method=stream",
		"--checkpoint=fast", "--no-sync", "--no-password", "--host="+primary.admin.Hostname(), "--port="+primary.admin.Port(), "--username="+superuser)
	copying.Dir = c.dir
	copying.Env = append(serverEnv(), "PGPASSWORD="+password, "PGSSLMODE=disable", "HOME="+c.dir)
	copying.SysProcAttr = &syscall.SysProcAttr{Credential: as.forExec()}
	if out, err := copying.CombinedOutput(); err != nil {
		return 0, fmt.Errorf("pg_basebackup: %w\n%s", err, tail(out, 4096))
	}
	own, err := os.ReadFile(c.file("settings"))
	if err != nil {
		return 0, err
	}
	// Behind the primary's, which are in the copy: the last line of a name counts.
	conf, err := os.OpenFile(c.file("data/postgresql.conf"), os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return 0, err
	}
	_, err = conf.WriteString("\nsynchronous_standby_names = ''\n" + string(own))
	if err = errors.Join(err, conf.Close()); err != nil {
		return 0, err
	}
	return c.launch(ctx, bin, as)
}

// Promote makes a standby a primary, and waits until it takes writes.
func (c *Cluster) Promote(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	conn, err := pgx.Connect(ctx, c.URL("postgres"))
	if err != nil {
		return fmt.Errorf("promote PostgreSQL: %w", err)
	}
	defer conn.Close(context.WithoutCancel(ctx)) //nolint:errcheck // its work is done
	var promoted bool
	err = conn.QueryRow(ctx, `select pg_promote(true, $1)`, int(startTimeout.Seconds())).Scan(&promoted)
	if err == nil && !promoted {
		err = errors.New("it stays a standby")
	}
	if err != nil {
		return fmt.Errorf("promote PostgreSQL: %w", err)
	}
	return nil
}

// Kill ends the server as a power cut does: nothing is said to its clients or to its standby, and nothing
// is written any more. Stop removes the files.
func (c *Cluster) Kill(ctx context.Context) error {
	if c.guard == nil {
		return errors.New("kill PostgreSQL: it is not running, or another process's")
	}
	ctx, cancel := context.WithTimeout(ctx, stopTimeout)
	defer cancel()
	first, err := c.postmaster()
	if err != nil {
		return fmt.Errorf("kill PostgreSQL: %w", err)
	}
	others, err := c.processes(ctx)
	if err != nil {
		return fmt.Errorf("kill PostgreSQL: %w", err)
	}
	for _, pid := range append([]int{first}, others...) { // the others begin none without the first
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
			return fmt.Errorf("kill PostgreSQL: %w", err)
		}
	}
	return c.awaitExit(ctx)
}

// processes are the ids of the server's processes but for the first.
func (c *Cluster) processes(ctx context.Context) (pids []int, err error) {
	conn, err := pgx.Connect(ctx, c.URL("postgres"))
	if err != nil {
		return nil, err
	}
	defer conn.Close(context.WithoutCancel(ctx)) //nolint:errcheck // only read
	rows, err := conn.Query(ctx, `select pid from pg_stat_activity`)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[int])
}

// LoseReplication makes a standby deaf from now on: what the primary sends stays unread. The returned
// function, for when the primary is gone, makes it lose that for good, as it is lost with the machine that sent it.
func (c *Cluster) LoseReplication(ctx context.Context) (lose func() error, err error) {
	conn, err := pgx.Connect(ctx, c.URL("postgres"))
	if err != nil {
		return nil, fmt.Errorf("stop replication: %w", err)
	}
	defer conn.Close(context.WithoutCancel(ctx)) //nolint:errcheck // only read
	var pid int
	// It says "streaming" when it has caught up and follows.
	for {
		err := conn.QueryRow(ctx, `select coalesce(max(pid), 0) from pg_stat_wal_receiver where status = 'streaming'`).Scan(&pid)
		if err != nil {
			return nil, fmt.Errorf("stop replication: %w", err)
		}
		if pid != 0 {
			break
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("stop replication: %w", context.Cause(ctx))
		case <-time.After(pollEvery):
		}
	}
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		return nil, fmt.Errorf("stop replication: %w", err)
	}
	return func() error {
		return errors.Join(syscall.Kill(pid, syscall.SIGTERM), syscall.Kill(pid, syscall.SIGCONT))
	}, nil
}

// URLs is the address of a database on any of several servers, of which the one that takes writes is used:
// what DATABASE_URL says of a primary and its standby.
func URLs(dbname string, clusters ...*Cluster) string {
	u := *clusters[0].admin
	u.Path = "/" + dbname
	hosts := make([]string, len(clusters))
	for i, c := range clusters {
		hosts[i] = c.admin.Host
	}
	u.Host = strings.Join(hosts, ",")
	q := u.Query()
	q.Set("target_session_attrs", "read-write")
	u.RawQuery = q.Encode()
	return u.String()
}
