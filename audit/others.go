package audit

import (
	"context"
	"fmt"
	"time"

	"sealpost/store"
)

// Notice is as much of an event as is needed to see that something has changed.
type Notice struct {
	ID, Action, EntityID string
}

// Others tells what other servers have written about a type of entity since a time, the newest first
// and at most limit of it. Ids are made of the writers' own clocks, and a transaction shows its events
// only when it commits: whoever follows the log asks again for the last seconds each time, and passes
// over the ids it knows.
func (l *Log) Others(ctx context.Context, entity string, since time.Time, limit int) ([]Notice, error) {
	var list []Notice
	err := l.st.Read(ctx, func(tx *store.Tx) error {
		return tx.Each(ctx, func(scan func(...any) error) error {
			var n Notice
			err := scan(&n.ID, &n.Action, store.String(&n.EntityID))
			list = append(list, n)
			return err
		}, `select id, action, entity_id from "AuditLog" where id >= $1 and entity = $2 and writer <> $3
		     order by id desc limit $4`, FirstID(since), entity, l.writer, limit)
	})
	if err != nil {
		return nil, fmt.Errorf("follow the audit log: %w", err)
	}
	return list, nil
}
