package rotation

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"sealpost/store"
)

// deadAfter is when a server without a heartbeat no longer counts. The dispatcher beats once a second,
// and takes such a server's work by the same measure.
const deadAfter = 15 * time.Second

// peer is another server that lives, with the keys that it has told of: none before it has.
type peer struct {
	name string
	keys map[string][]string // of each secret the ids, the one that it signs with first
}

func (p peer) has(secret, id string) bool       { return slices.Contains(p.keys[secret], id) }
func (p peer) signsWith(secret, id string) bool { return p.has(secret, id) && p.keys[secret][0] == id }

// peers reads the other servers. SQLite has one server.
func (k *Keeper) peers(ctx context.Context, tx *store.Tx) ([]peer, error) {
	if tx.Dialect() == store.SQLite {
		return nil, nil
	}
	now, err := tx.Now(ctx)
	if err != nil {
		return nil, err
	}
	var list []peer
	err = tx.Each(ctx, func(scan func(...any) error) error {
		var p peer
		var incarnation, text string
		if err := scan(&incarnation, &p.name, store.String(&text)); err != nil {
			return err
		}
		if p.name == "" {
			p.name = incarnation
		}
		if json.Unmarshal([]byte(text), &p.keys) != nil {
			p.keys = nil // it has told of none that we understand
		}
		list = append(list, p)
		return nil
	}, `select incarnation, server, keys from node where incarnation <> $1 and seen_at > $2 order by server, incarnation`,
		k.log.Writer(), now.Add(-deadAfter).UnixMicro())
	if err != nil {
		return nil, fmt.Errorf("read the other servers' keys: %w", err)
	}
	return list, nil
}

// lacking names the servers that have not a key.
func lacking(peers []peer, secret, id string) []string {
	var names []string
	for _, p := range peers {
		if !p.has(secret, id) {
			names = append(names, p.name)
		}
	}
	return names
}

// announce tells the other servers which keys this one has, by its heartbeat's row. A process that has
// none, because it does not dispatch, is none that others wait for.
func (k *Keeper) announce(ctx context.Context) error {
	if k.log.Store().Dialect() == store.SQLite {
		return nil
	}
	has := map[string][]string{}
	for _, s := range k.slots[:ownSecrets] {
		if s.current != nil {
			has[s.name] = s.ids()
		}
	}
	text, err := json.Marshal(has)
	if err != nil {
		return err
	}
	var told string
	err = k.log.Store().Read(ctx, func(tx *store.Tx) error {
		return tx.QueryRow(ctx, `select keys from node where incarnation = $1`, k.log.Writer()).Scan(store.String(&told))
	})
	if store.NoRow(err) || err == nil && told == string(text) {
		return nil
	}
	if err == nil {
		err = k.log.Bookkeep(ctx, func(tx *store.Tx) error {
			_, err := tx.Exec(ctx, `update node set keys = $2 where incarnation = $1`, k.log.Writer(), string(text))
			return err
		})
	}
	if err != nil {
		return fmt.Errorf("tell the other servers of this one's keys: %w", err)
	}
	return nil
}
