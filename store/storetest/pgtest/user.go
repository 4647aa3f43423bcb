package pgtest

import (
	"errors"
	"fmt"
	"os"
	"os/user"
	"strconv"
	"strings"
	"syscall"
)

// credential is the account that the server runs as; nil is the one that we run as. PostgreSQL
// refuses to run as root, which containers and CI machines often are.
type credential struct {
	name     string
	uid, gid uint32
	groups   []uint32
}

// serverUser picks an account without privileges when we are root.
func serverUser() (*credential, error) {
	if os.Geteuid() != 0 {
		return nil, nil
	}
	var errs []error
	for _, name := range []string{"postgres", "nobody"} {
		c, err := lookup(name)
		if err == nil {
			return c, nil
		}
		errs = append(errs, err)
	}
	return nil, fmt.Errorf("PostgreSQL does not run as root and there is no other account for it: %w", errors.Join(errs...))
}

func lookup(name string) (*credential, error) {
	u, err := user.Lookup(name)
	if err != nil {
		return nil, err
	}
	c := &credential{name: name}
	ids, err := u.GroupIds()
	if err != nil {
		return nil, fmt.Errorf("account %s: %w", name, err)
	}
	for _, id := range append([]string{u.Uid, u.Gid}, ids...) {
		n, err := strconv.ParseUint(id, 10, 32)
		if err != nil {
			return nil, fmt.Errorf("account %s: %w", name, err)
		}
		c.groups = append(c.groups, uint32(n))
	}
	c.uid, c.gid, c.groups = c.groups[0], c.groups[1], c.groups[2:]
	return c, nil
}

func (c *credential) chown(file string) error {
	if c == nil {
		return nil
	}
	return os.Chown(file, int(c.uid), int(c.gid))
}

// forExec sets the account's own groups, so that nothing of root's stays.
func (c *credential) forExec() *syscall.Credential {
	if c == nil {
		return nil
	}
	return &syscall.Credential{Uid: c.uid, Gid: c.gid, Groups: c.groups}
}

// asUser is a phrase for error messages.
func (c *credential) asUser() string {
	if c == nil {
		return ""
	}
	return " as user " + c.name
}

// serverEnv is our environment without what would change the server: PostgreSQL reads PGDATA,
// PGPORT, PGOPTIONS and more, and initdb takes the language of its messages, some of which are
// compared here, from the locale.
func serverEnv() []string {
	var env []string
	for _, entry := range os.Environ() {
		if !strings.HasPrefix(entry, "PG") && !strings.HasPrefix(entry, "LC_") && !strings.HasPrefix(entry, "LANG") {
			env = append(env, entry)
		}
	}
	return append(env, "LC_ALL=C")
}
