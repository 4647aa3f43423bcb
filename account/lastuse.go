package account

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"sealpost/audit"
	"sealpost/store"
)

// When a session or an API key was last used is worth knowing to the minute, and not worth a write with
// each request. So a server remembers it and writes it once a minute, for as long as there is something to
// write. A crash loses a minute of it.
const (
	useEvery = time.Minute
	maxUses  = 10_000 // that are remembered for a minute; whoever comes past them is noted in the next
	usePiece = 100    // rows of one transaction, so that nobody waits long behind it
)

// use is when and from where something was last used.
type use struct {
	at time.Time
	ip string
}

// uses are those that have not been written yet.
type uses struct {
	log *audit.Log

	mu       sync.Mutex
	sessions map[string]use
	keys     map[string]use
	timer    *time.Timer // of the next write; nil: none is needed
	closed   bool
	writing  sync.Mutex // one flush at a time
}

func (u *uses) session(id, ip string, at time.Time) { u.note(&u.sessions, id, use{at, ip}) }
func (u *uses) key(id, ip string, at time.Time)     { u.note(&u.keys, id, use{at, ip}) }

func (u *uses) note(list *map[string]use, id string, now use) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.closed || len(*list) >= maxUses && (*list)[id] == (use{}) {
		return
	}
	if *list == nil {
		*list = map[string]use{}
	}
	(*list)[id] = now
	if u.timer == nil {
		u.timer = time.AfterFunc(useEvery, func() {
			// One that fails is made up for by the next use: nothing depends on it.
			_ = u.flush(context.Background())
		})
	}
}

// The two texts of flush. A use that another server has noted later stays.
const (
	noteSession = `
		insert into session_use (session_id, used_at, ip) select id, $2, $3 from session where id = $1
		on conflict (session_id) do update set used_at = excluded.used_at, ip = excluded.ip where session_use.used_at < excluded.used_at`
	noteKey = `
		insert into api_key_use (key_id, used_at, ip) select id, $2, $3 from api_key where id = $1
		on conflict (key_id) do update set used_at = excluded.used_at, ip = excluded.ip where api_key_use.used_at < excluded.used_at`
)

// flush writes what is remembered.
func (u *uses) flush(ctx context.Context) error {
	u.writing.Lock()
	defer u.writing.Unlock()
	u.mu.Lock()
	sessions, keys := u.sessions, u.keys
	u.sessions, u.keys = nil, nil
	if u.timer != nil {
		u.timer.Stop()
		u.timer = nil
	}
	u.mu.Unlock()
	if err := u.write(ctx, noteSession, sessions); err != nil {
		return err
	}
	return u.write(ctx, noteKey, keys)
}

func (u *uses) write(ctx context.Context, text string, list map[string]use) error {
	// In the order of ids, so that two servers that write the same rows do not wait for each other.
	for ids := range slices.Chunk(slices.Sorted(maps.Keys(list)), usePiece) {
		err := u.log.Bookkeep(ctx, func(tx *store.Tx) error {
			for _, id := range ids {
				if _, err := tx.Exec(ctx, text, id, list[id].at.UnixMicro(), store.Text(list[id].ip)); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return fmt.Errorf("note last uses: %w", err)
		}
	}
	return nil
}

// Close writes what is remembered of last uses. What is used after that is not noted.
func (a *Accounts) Close(ctx context.Context) error {
	err := a.uses.flush(ctx)
	a.uses.mu.Lock()
	defer a.uses.mu.Unlock()
	a.uses.closed = true
	if a.uses.timer != nil {
		a.uses.timer.Stop()
	}
	return err
}
