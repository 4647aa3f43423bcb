package dispatch

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"sealpost/audit"
	"sealpost/fault"
	"sealpost/keys"
	"sealpost/store"
)

// secrets are an endpoint's, as they are kept, encrypted. During a rotation's overlap both sign.
type secrets struct {
	Signing  string `json:"signing"`
	Previous string `json:"previous,omitempty"`
}

// signers are the signing secrets that are valid at a time, the current one first. oldUntil is the end
// of the overlap, the zero time where there is none.
func (s secrets) signers(now, oldUntil time.Time) []string {
	if s.Previous != "" && now.Before(oldUntil) {
		return []string{s.Signing, s.Previous}
	}
	return []string{s.Signing}
}

func (d *Dispatcher) openSecrets(endpointID string, box []byte) (secrets, error) {
	var s secrets
	text, err := d.data.Decrypt(keys.EndpointCredentials, endpointID, box)
	if err != nil {
		return s, fmt.Errorf("secrets of endpoint %s: %w", endpointID, err)
	}
	if err := json.Unmarshal(text, &s); err != nil {
		return s, fmt.Errorf("secrets of endpoint %s: %w", endpointID, err)
	}
	return s, nil
}

func (d *Dispatcher) sealSecrets(endpointID string, s secrets) ([]byte, error) {
	text, err := json.Marshal(s)
	if err != nil {
		return nil, err
	}
	return d.data.Encrypt(keys.EndpointCredentials, endpointID, text)
}

// MaxOverlap is the longest that an old signing secret may sign beside the new one.
const MaxOverlap = 7 * 24 * time.Hour

// RotateSecret gives an endpoint a new signing secret, which is given here and never again. The old
// one signs beside it until the overlap ends; with none it stops at once, and is not even read, so
// that an endpoint whose secret no key opens any more is mended by it. fault.NotFound, fault.Invalid.
func (d *Dispatcher) RotateSecret(ctx context.Context, by audit.Principal, id string, overlap time.Duration) (Endpoint, string, error) {
	if overlap < 0 || overlap > MaxOverlap {
		return Endpoint{}, "", fault.New(fault.Invalid, "overlapHours is 0 to %d", int(MaxOverlap.Hours()))
	}
	secret := newSigningSecret()
	var e Endpoint
	err := d.log.Change(ctx, by, func(tx *store.Tx) ([]audit.Event, error) {
		if _, err := lockEndpoint(ctx, tx, id); err != nil {
			return nil, err
		}
		now, err := tx.Now(ctx)
		if err != nil {
			return nil, err
		}
		s, oldUntil := secrets{Signing: secret}, time.Time{}
		if overlap > 0 {
			old, err := d.readSecrets(ctx, tx, id)
			if err != nil {
				return nil, err
			}
			s.Previous, oldUntil = old.Signing, now.Add(overlap)
		}
		box, err := d.sealSecrets(id, s)
		if err != nil {
			return nil, err
		}
		if _, err := tx.Exec(ctx, `
			update dispatch_endpoint
			   set secrets = $2, old_secret_until = $3, secret_changed_at = $4, version = version + 1, updated_at = $4
			 where id = $1`,
			id, box, store.Micros(oldUntil), now.UnixMicro()); err != nil {
			return nil, fmt.Errorf("rotate the secret of endpoint %s: %w", id, err)
		}
		e, err = readEndpoint(ctx, tx, id)
		return []audit.Event{{
			Action: "dispatch.endpoint.secret_rotated", Entity: "DispatchEndpoint", EntityID: id,
			Details: map[string]any{"overlapHours": overlap.Hours()},
		}}, err
	})
	d.endpoints.forget(id)
	d.Wake()
	if err != nil {
		return Endpoint{}, "", err
	}
	return e, secret, nil
}

func (d *Dispatcher) readSecrets(ctx context.Context, tx *store.Tx, endpointID string) (secrets, error) {
	var box []byte
	if err := tx.QueryRow(ctx, `select secrets from dispatch_endpoint where id = $1`, endpointID).Scan(&box); err != nil {
		return secrets{}, fmt.Errorf("read the secrets of endpoint %s: %w", endpointID, err)
	}
	return d.openSecrets(endpointID, box)
}

// endpointCache keeps endpoints' secrets decrypted, by the version of their row.
type endpointCache struct {
	mu      sync.Mutex
	entries map[string]cachedSecrets
	failed  map[string]time.Time // endpoints whose secrets cannot be read here, and when that was tried
}

type cachedSecrets struct {
	version int64
	secrets secrets
	access  *access
}

const (
	maxCached   = 4096 // bounds the cache; past it, it starts anew
	readAgainIn = 30 * time.Second
)

// forget lets an endpoint's secrets be read again at once.
func (c *endpointCache) forget(id string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.entries[id].access.close()
	delete(c.entries, id)
	delete(c.failed, id)
}

// unreadable lists the endpoints whose secrets could not be read a moment ago.
func (c *endpointCache) unreadable() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var ids []string
	for id := range c.failed {
		if time.Since(c.failed[id]) < readAgainIn {
			ids = append(ids, id)
		} else {
			delete(c.failed, id)
		}
	}
	return ids
}

// closeIdle lets go of connections that no request uses.
func (c *endpointCache) closeIdle() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, e := range c.entries {
		e.access.close()
	}
}

// fill gives a target its secrets and credentials, from their boxes. false: they cannot be read by this
// server, which is said in the log each half minute. Such an endpoint's jobs wait for a server that can,
// and all others go on.
func (c *endpointCache) fill(d *Dispatcher, t *target, box, credentials []byte) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e, ok := c.entries[t.id]; ok && e.version == t.version {
		t.secrets, t.access = e.secrets, e.access
		return true
	}
	s, a, err := d.unlock(t.id, box, credentials)
	if err != nil {
		if len(c.failed) < maxCached {
			c.failed[t.id] = time.Now()
		}
		d.o.Logger.Error("an endpoint's jobs wait: its secrets cannot be read by this server", "endpointId", t.id, "error", err)
		return false
	}
	if len(c.entries) >= maxCached {
		for _, e := range c.entries {
			e.access.close()
		}
		clear(c.entries)
	}
	c.entries[t.id].access.close()
	c.entries[t.id] = cachedSecrets{t.version, s, a}
	t.secrets, t.access = s, a
	return true
}

// unlock opens an endpoint's two boxes.
func (d *Dispatcher) unlock(id string, box, credentials []byte) (secrets, *access, error) {
	s, err := d.openSecrets(id, box)
	if err != nil {
		return s, nil, err
	}
	c, err := d.openCredentials(id, credentials)
	if err != nil {
		return s, nil, err
	}
	a, err := newAccess(d.o, c, time.Now())
	return s, a, err
}
