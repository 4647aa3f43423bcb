package store

import (
	"context"
	"fmt"
)

// Durability is what the database is set to do before it says that something is committed.
type Durability struct {
	Standbys string // synchronous_standby_names; "" on SQLite, and where no standby is waited for
	Commit   string // synchronous_commit; "" on SQLite, which always waits for its disk
}

// Standby tells whether a commit is on a second machine too, so that a failover loses none that was
// answered for (PostgreSQL, synchronous_commit: "local" and "off" wait for no standby).
func (d Durability) Standby() bool {
	return d.Standbys != "" && d.Commit != "off" && d.Commit != "local"
}

// Durability reads the settings. On SQLite, which has no failover, they are empty.
func (tx *Tx) Durability(ctx context.Context) (d Durability, err error) {
	if tx.store.dialect == SQLite {
		return d, nil
	}
	err = tx.QueryRow(ctx, `select current_setting('synchronous_standby_names'), current_setting('synchronous_commit')`).
		Scan(&d.Standbys, &d.Commit)
	if err != nil {
		return d, fmt.Errorf("read the database's settings: %w", err)
	}
	return d, nil
}
