package account

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"sealpost/audit"
	"sealpost/config"
	"sealpost/fault"
	"sealpost/store"
)

// Attempts are counted before they are made, and taken back when they turn out right: a hundred
// guesses at once are a hundred attempts. The counters are rows, so that all servers count together.

// networkShare is how many times as many attempts a network has as an account.
const networkShare = 10

// attempts is the counter of one account or one network.
type attempts struct {
	start   time.Time // of the window
	count   int
	blocked time.Time // until then
}

// next counts one more attempt and tells how long whoever makes it has to wait: zero where it may be
// made. Attempts during a block are not counted, so a block ends however hard someone knocks.
func (c attempts) next(now time.Time, limit config.Throttle, most int) (attempts, time.Duration) {
	if now.Before(c.blocked) {
		return c, c.blocked.Sub(now)
	}
	if !c.blocked.IsZero() || now.Sub(c.start) >= limit.Window {
		c = attempts{start: now}
	}
	c.count++
	if c.count > most {
		c.blocked = now.Add(limit.Block)
		return c, limit.Block
	}
	return c, 0
}

// counter names what attempts are counted for. Its id is a hash, so that whatever people type into a
// field for their address is not kept.
type counter struct {
	id    string
	times int // the limit is this many times the account's
}

func counterOf(kind, subject string, times int) counter {
	hash := sha256.Sum256([]byte(kind + "\x00" + subject))
	return counter{id: kind + ":" + hex.EncodeToString(hash[:16]), times: times}
}

// loginCounters count sign-ins at one account, by the key of its address (whether it exists or not),
// and from one network.
func loginCounters(emailKey, ip string) []counter {
	return counters("login", emailKey, ip)
}

// confirmCounters count what somebody who is signed in shows to confirm it. They are others than those of
// signing in, so that a flood of sign-ins does not keep the owner from it, and they are the user's, so that
// a stolen token has no more guesses than the owner.
func confirmCounters(by audit.Principal) []counter { return counters("confirm", by.UserID, by.IP) }

// counters are those of a subject, where there is one, and of a network, where it is known.
func counters(kind, subject, ip string) []counter {
	var list []counter
	if subject != "" {
		list = append(list, counterOf(kind, subject, 1))
	}
	if network := networkOf(ip); network != "" {
		list = append(list, counterOf(kind+"-network", network, networkShare))
	}
	// Always in one order, so that two servers that lock the same rows do not wait for each other.
	slices.SortFunc(list, func(a, b counter) int { return strings.Compare(a.id, b.id) })
	return list
}

// networkOf gives the network of an address: the address itself in IPv4, its /64 in IPv6, which is
// what one customer has.
func networkOf(ip string) string {
	addr, err := netip.ParseAddr(ip)
	if err != nil {
		return ""
	}
	addr = addr.Unmap().WithZone("")
	if addr.Is6() {
		return netip.PrefixFrom(addr, 64).Masked().String()
	}
	return addr.String()
}

// attempt counts an attempt on each counter. fault.TooMany with the time to wait.
func (a *Accounts) attempt(ctx context.Context, limit config.Throttle, list []counter) error {
	now := a.now()
	wait, err := a.blockedFor(ctx, list, now) // without a write: a flood does not cost the database one each
	if err == nil && wait == 0 {
		err = a.log.Bookkeep(ctx, func(tx *store.Tx) error {
			wait = 0
			for _, c := range list {
				w, err := count(ctx, tx, c, limit, now)
				if err != nil {
					return fmt.Errorf("count an attempt: %w", err)
				}
				wait = max(wait, w)
			}
			return nil
		})
	}
	if err != nil {
		return err
	}
	if wait > 0 {
		return fault.New(fault.TooMany, "too many attempts: try again later").After(wait)
	}
	return nil
}

func (a *Accounts) blockedFor(ctx context.Context, list []counter, now time.Time) (wait time.Duration, err error) {
	err = a.log.Store().Read(ctx, func(tx *store.Tx) error {
		for _, c := range list {
			var until time.Time
			err := tx.QueryRow(ctx, `select blocked_until from throttle where id = $1`, c.id).Scan(store.Time(&until))
			if err != nil && !store.NoRow(err) {
				return fmt.Errorf("read attempts: %w", err)
			}
			wait = max(wait, until.Sub(now))
		}
		return nil
	})
	return wait, err
}

func count(ctx context.Context, tx *store.Tx, c counter, limit config.Throttle, now time.Time) (time.Duration, error) {
	_, err := tx.Exec(ctx, `
		insert into throttle (id, window_start, attempts, forget_at) values ($1, $2, 0, $2) on conflict (id) do nothing`,
		c.id, now.UnixMicro())
	if err != nil {
		return 0, err
	}
	var state attempts
	err = tx.QueryRow(ctx, `select window_start, attempts, blocked_until from throttle where id = $1`+tx.ForUpdate(), c.id).
		Scan(store.Time(&state.start), &state.count, store.Time(&state.blocked))
	if err != nil {
		return 0, err
	}
	state, wait := state.next(now, limit, limit.MaxAttempts*c.times)
	_, err = tx.Exec(ctx, `update throttle set window_start = $1, attempts = $2, blocked_until = $3, forget_at = $4 where id = $5`,
		state.start.UnixMicro(), state.count, store.Micros(state.blocked), now.Add(limit.Window+limit.Block).UnixMicro(), c.id)
	return wait, err
}

// takeBack uncounts an attempt that turned out to be no guess. clear forgets those of the account
// too, which its owner has just signed in to.
func takeBack(ctx context.Context, tx *store.Tx, list []counter, clear bool) error {
	for _, c := range list {
		var err error
		if clear && c.times == 1 {
			_, err = tx.Exec(ctx, `delete from throttle where id = $1`, c.id)
		} else {
			_, err = tx.Exec(ctx, `update throttle set attempts = attempts - 1 where id = $1 and attempts > 0`, c.id)
		}
		if err != nil {
			return fmt.Errorf("take back an attempt: %w", err)
		}
	}
	return nil
}

func (a *Accounts) takeBack(ctx context.Context, list []counter) error {
	return a.log.Bookkeep(ctx, func(tx *store.Tx) error { return takeBack(ctx, tx, list, false) })
}
