package audit

import (
	"context"
	"errors"

	"sealpost/store"
)

// sealing is the closed list of what the sealer may write without an event: what was an event already
// becomes a leaf, and the leaves get their tree. Nothing but this package writes to these tables. A test
// holds the list against the one in docs/decisions/0015-sealed-log.md.
var sealing = map[string]bool{
	"delete audit_pending": true,
	"insert audit_tree":    true, "update audit_tree": true,
	"insert audit_bundle": true, "update audit_bundle": true,
	"insert audit_tile": true, "update audit_tile": true,
	"insert audit_leaf": true, "update audit_leaf": true,
	"insert audit_checkpoint": true, "update audit_checkpoint": true, "delete audit_checkpoint": true,
	"insert audit_key":    true,
	"insert audit_writer": true, "update audit_writer": true, "delete audit_writer": true,
	"insert audit_witness": true, "update audit_witness": true,
}

// seal is the sealer's door to a write. With events it is a change; without any it must have kept to its
// closed list.
func (l *Log) seal(ctx context.Context, fn func(*store.Tx) ([]Event, error)) error {
	return l.change(ctx, Itself("sealer"), fn, func(tx *store.Tx) error {
		if !tx.WroteOnly(sealing) {
			return errors.New("sealing wrote what is not on its list, without an event")
		}
		return nil
	})
}
