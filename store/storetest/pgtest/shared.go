package pgtest

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"sync"
)

// SharedEnv names the server that tests share, as the URL of a superuser and a database to
// connect to first. The withpostgres command sets it; it may also name any other disposable
// server, such as one of another version, in which the tests may create and drop databases.
const SharedEnv = "SEALPOST_TEST_POSTGRES"

var shared struct {
	sync.Mutex
	cluster *Cluster
	err     error
}

// Shared is the server for every test that needs no special one: the one that SharedEnv names,
// else one that this process starts at the first call and that ends with it. A failed start is
// not tried again, so that a suite on a machine without PostgreSQL fails soon.
func Shared(ctx context.Context) (*Cluster, error) {
	shared.Lock()
	defer shared.Unlock()
	if shared.cluster == nil && shared.err == nil {
		if named := os.Getenv(SharedEnv); named != "" {
			shared.cluster, shared.err = external(named)
		} else {
			// The first test to ask must not, by giving up, decide for all the others.
			shared.cluster, shared.err = Start(context.WithoutCancel(ctx))
		}
	}
	return shared.cluster, shared.err
}

// StopShared ends the server that Shared started, if it did. It is for the end of a TestMain; a
// process that does not call it leaves nothing behind either.
func StopShared() error {
	shared.Lock()
	defer shared.Unlock()
	if shared.cluster == nil {
		return nil
	}
	err := shared.cluster.Stop()
	shared.cluster, shared.err = nil, nil
	return err
}

func external(named string) (*Cluster, error) {
	u, err := url.Parse(named)
	if err != nil || (u.Scheme != "postgres" && u.Scheme != "postgresql") || u.Host == "" {
		// Not the value, and not url.Parse's error which repeats it: it holds a password.
		return nil, fmt.Errorf("%s is not a URL like postgres://user:password@host:port/database", SharedEnv)
	}
	return &Cluster{admin: u}, nil
}
