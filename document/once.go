package document

import (
	"context"
	"encoding/json"
	"fmt"

	"sealpost/audit"
	"sealpost/store"
)

// changeOnce is audit.Log.Change for a request that may carry an Idempotency-Key. The first time,
// make changes and gives what is to be kept of the answer; a repeated request gets what was kept, in
// again, and changes nothing. Both run inside the transaction and set what they hand out anew.
func changeOnce[A any](ctx context.Context, log *audit.Log, by audit.Principal, once audit.Once,
	again func(*store.Tx, A) error, create func(*store.Tx) (A, []audit.Event, error),
) error {
	try := func() error {
		return log.Change(ctx, by, func(tx *store.Tx) ([]audit.Event, error) {
			first, err := once.Before(ctx, tx)
			if err != nil {
				return nil, err
			}
			if first != nil {
				var kept A
				if err := json.Unmarshal(first.Body, &kept); err != nil {
					return nil, fmt.Errorf("read the first answer: %w", err)
				}
				if err := again(tx, kept); err != nil {
					return nil, err
				}
				return nil, audit.ErrNothing
			}
			answer, events, err := create(tx)
			if err != nil {
				return nil, err
			}
			body, err := json.Marshal(answer)
			if err != nil {
				return nil, fmt.Errorf("keep the answer: %w", err)
			}
			return events, once.After(ctx, tx, audit.Answer{Body: body})
		})
	}
	err := try()
	if once.Keyed() && store.Unique(err) { // the same request, at the same time, was first
		err = try()
	}
	return err
}
