package pgtest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
)

// MinVersion is the oldest PostgreSQL that Sealpost supports.
const MinVersion = 15

// BinDirEnv names the directory of PostgreSQL's server binaries where they are in none of the
// usual places, or where another version than the first found is wanted.
const BinDirEnv = "PGBINDIR"

// packageDirs are where packages put server binaries that are not on PATH: Debian and Ubuntu,
// PostgreSQL's own RPMs, Fedora and Alpine, Homebrew on both kinds of Mac, Postgres.app, and
// PostgreSQL's own default prefix.
var packageDirs = []string{
	"/usr/lib/postgresql/*/bin",
	"/usr/pgsql-*/bin",
	"/usr/libexec/postgresql*",
	"/opt/homebrew/opt/postgresql*/bin",
	"/usr/local/opt/postgresql*/bin",
	"/Applications/Postgres.app/Contents/Versions/*/bin",
	"/usr/local/pgsql/bin",
	"/usr/local/bin",
	"/opt/homebrew/bin",
}

// FindServer returns the directory with PostgreSQL's postgres and initdb: $PGBINDIR where it is
// set, else the one on PATH, else the newest of the usual places. The error says what to install.
func FindServer(ctx context.Context) (string, error) {
	if dir := os.Getenv(BinDirEnv); dir != "" {
		switch version, err := serverVersion(ctx, dir); {
		case err != nil:
			return "", fmt.Errorf("%s=%s has no PostgreSQL server: %w", BinDirEnv, dir, err)
		case version < MinVersion:
			return "", fmt.Errorf("%s=%s has PostgreSQL %d, and %d or newer is needed", BinDirEnv, dir, version, MinVersion)
		default:
			return dir, nil
		}
	}

	var tooOld error
	try := func(dir string) bool {
		version, err := serverVersion(ctx, dir)
		if err == nil && version < MinVersion {
			tooOld = fmt.Errorf("%s has version %d, which is too old", dir, version)
		}
		return err == nil && version >= MinVersion
	}
	if file, err := exec.LookPath("initdb"); err == nil {
		if file, err = filepath.EvalSymlinks(file); err == nil && try(filepath.Dir(file)) {
			return filepath.Dir(file), nil
		}
	}
	if dir := newest(ctx, packageDirs); dir != "" && try(dir) {
		return dir, nil
	}
	if ctx.Err() != nil {
		return "", fmt.Errorf("look for PostgreSQL: %w", context.Cause(ctx)) // it may well be there
	}
	return "", errors.Join(fmt.Errorf("PostgreSQL %d or newer is needed and its server binaries (postgres, initdb) are not on this machine: "+
		"run scripts/install-test-deps.sh, or install them (Debian, Ubuntu: apt-get install postgresql; Fedora: dnf install postgresql-server; "+
		"macOS: brew install postgresql@17), or set %s to the directory that has them", MinVersion, BinDirEnv), tooOld)
}

// newest is the directory with the newest server among those that match, or "".
func newest(ctx context.Context, patterns []string) string {
	type found struct {
		dir     string
		version int
	}
	var all []found
	for _, pattern := range patterns {
		dirs, _ := filepath.Glob(pattern) // the only error is a bad pattern
		for _, dir := range dirs {
			if version, err := serverVersion(ctx, dir); err == nil {
				all = append(all, found{dir, version})
			}
		}
	}
	if len(all) == 0 {
		return ""
	}
	return slices.MaxFunc(all, func(a, b found) int { return cmp.Compare(a.version, b.version) }).dir
}

var versionLine = regexp.MustCompile(`^postgres \(PostgreSQL\) (\d+)`)

// serverVersion is the major version of the server in dir, which must have all that we run.
func serverVersion(ctx context.Context, dir string) (int, error) {
	if _, err := exec.LookPath(filepath.Join(dir, "initdb")); err != nil {
		return 0, err
	}
	out, err := exec.CommandContext(ctx, filepath.Join(dir, "postgres"), "--version").Output()
	if err != nil {
		return 0, err
	}
	m := versionLine.FindSubmatch(out)
	if m == nil {
		return 0, fmt.Errorf("%s/postgres --version says %q", dir, out)
	}
	return strconv.Atoi(string(m[1]))
}
