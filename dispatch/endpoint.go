package dispatch

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"sealpost/audit"
	"sealpost/fault"
	"sealpost/store"
)

// Limits of an endpoint.
const (
	maxEndpointName    = 200  // code points
	maxEndpointURL     = 2048 // bytes
	MaxConcurrency     = 1024
	MaxTimeoutSeconds  = 300
	MaxAttemptsAllowed = 100
)

// Endpoint is where jobs go. Zero for Concurrency, TimeoutSeconds or MaxAttempts is the deployment's
// default, and follows it.
type Endpoint struct {
	ID             string
	Name           string
	URL            string
	Concurrency    int // leases at once, over all servers
	TimeoutSeconds int
	MaxAttempts    int     // of a job accepted from now on
	RatePerSecond  float64 // jobs sent, over all servers; 0: as many as there are
	Paused         bool
	PausedReason   string
	OldSecretUntil time.Time // during a rotation's overlap: until when the old secret signs, too
	Credentials    CredentialsShown
	Breaker        Breaker
	CreatedAt      time.Time
	UpdatedAt      time.Time
}

// NewEndpoint is what an endpoint is made of.
type NewEndpoint struct {
	Name, URL                                string
	Concurrency, TimeoutSeconds, MaxAttempts int
	RatePerSecond                            float64
	Credentials                              Credentials
}

// EndpointChange is what is to change about an endpoint: nil leaves as it is.
type EndpointChange struct {
	Name, URL                                *string
	Concurrency, TimeoutSeconds, MaxAttempts *int
	RatePerSecond                            *float64
	Credentials                              *CredentialsChange
}

func (n NewEndpoint) check() error {
	name := strings.TrimSpace(n.Name)
	if name == "" || name != n.Name || utf8.RuneCountInString(name) > maxEndpointName {
		return fault.New(fault.Invalid, "name has 1 to %d characters and no space around it", maxEndpointName)
	}
	if strings.ContainsFunc(name, unicode.IsControl) || !utf8.ValidString(name) {
		return fault.New(fault.Invalid, "name has a control character")
	}
	if err := checkURL(n.URL); err != nil {
		return err
	}
	for _, limit := range []struct {
		name     string
		got, max int
	}{
		{"concurrency", n.Concurrency, MaxConcurrency},
		{"timeoutSeconds", n.TimeoutSeconds, MaxTimeoutSeconds},
		{"maxAttempts", n.MaxAttempts, MaxAttemptsAllowed},
	} {
		if limit.got < 0 || limit.got > limit.max {
			return fault.New(fault.Invalid, "%s is 1 to %d, or 0 for the deployment's own", limit.name, limit.max)
		}
	}
	return checkRate(n.RatePerSecond)
}

// checkURL tells whether jobs can be posted to a URL. Whether its address is allowed is asked when it
// is connected to: a name's address can change.
func checkURL(raw string) error {
	u, err := url.Parse(raw)
	switch {
	case err != nil || len(raw) > maxEndpointURL:
		return fault.New(fault.Invalid, "url is not a URL of at most %d bytes", maxEndpointURL)
	case strings.ContainsFunc(raw+u.Host, func(r rune) bool { return r <= ' ' || r > '~' }): // Host is decoded
		return fault.New(fault.Invalid, "url is ASCII without spaces: a host in its punycode form, other characters percent-encoded")
	case !validPort(u.Port()):
		return fault.New(fault.Invalid, "url has a port from 1 to 65535, or none")
	case u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || u.Opaque != "":
		return fault.New(fault.Invalid, "url starts with https:// or http:// and names a host")
	case u.User != nil:
		return fault.New(fault.Invalid, "url holds no credentials")
	case u.Fragment != "" || strings.Contains(raw, "#"):
		return fault.New(fault.Invalid, "url has no fragment")
	}
	return nil
}

func validPort(port string) bool {
	n, err := strconv.ParseUint(port, 10, 16)
	return port == "" || err == nil && n > 0
}

const endpointColumns = `id, name, url, concurrency, timeout_seconds, max_attempts, rate_milli, paused, paused_reason, old_secret_until,
	credentials_shown, created_at, updated_at,
	(select b.failures from dispatch_breaker b where b.endpoint_id = dispatch_endpoint.id),
	(select b.failing_since from dispatch_breaker b where b.endpoint_id = dispatch_endpoint.id),
	(select b.open_until from dispatch_breaker b where b.endpoint_id = dispatch_endpoint.id)`

func scanEndpoint(scan func(...any) error) (Endpoint, error) {
	var e Endpoint
	var concurrency, timeout, attempts, failures *int
	var milli *int64
	var credentials string
	err := scan(&e.ID, &e.Name, &e.URL, &concurrency, &timeout, &attempts, &milli, &e.Paused, store.String(&e.PausedReason),
		store.Time(&e.OldSecretUntil), store.String(&credentials), store.Time(&e.CreatedAt), store.Time(&e.UpdatedAt),
		&failures, store.Time(&e.Breaker.FailingSince), store.Time(&e.Breaker.OpenUntil))
	if err != nil {
		return e, err
	}
	for _, f := range []struct{ from, to *int }{
		{concurrency, &e.Concurrency}, {timeout, &e.TimeoutSeconds}, {attempts, &e.MaxAttempts}, {failures, &e.Breaker.Failures},
	} {
		if f.from != nil {
			*f.to = *f.from
		}
	}
	if milli != nil {
		e.RatePerSecond = float64(*milli) / 1000
	}
	if credentials != "" {
		if err := json.Unmarshal([]byte(credentials), &e.Credentials); err != nil {
			return e, fmt.Errorf("what is shown of endpoint %s: %w", e.ID, err)
		}
	}
	if !e.OldSecretUntil.After(time.Now()) {
		e.OldSecretUntil = time.Time{}
	}
	return e, nil
}

// nullable is a number as the table keeps it: null where it is the deployment's default.
func nullable(n int) any {
	if n == 0 {
		return nil
	}
	return n
}

// CreateEndpoint makes an endpoint and its signing secret, which is given here and never again.
func (d *Dispatcher) CreateEndpoint(ctx context.Context, by audit.Principal, n NewEndpoint) (Endpoint, string, error) {
	if err := n.check(); err != nil {
		return Endpoint{}, "", err
	}
	if err := n.Credentials.check(n.URL, time.Now()); err != nil {
		return Endpoint{}, "", err
	}
	id, secret := store.NewID(), newSigningSecret()
	box, err := d.sealSecrets(id, secrets{Signing: secret})
	if err != nil {
		return Endpoint{}, "", err
	}
	var e Endpoint
	err = d.log.Change(ctx, by, func(tx *store.Tx) ([]audit.Event, error) {
		now, err := tx.Now(ctx)
		if err != nil {
			return nil, err
		}
		_, err = tx.Exec(ctx, `
			insert into dispatch_endpoint (id, name, url, concurrency, timeout_seconds, max_attempts, rate_milli, paused, secrets, secret_changed_at, version, created_at, updated_at)
			values ($1, $2, $3, $4, $5, $6, $9, false, $7, $8, 1, $8, $8)`,
			id, n.Name, n.URL, nullable(n.Concurrency), nullable(n.TimeoutSeconds), nullable(n.MaxAttempts), box, now.UnixMicro(),
			nullable(milliOf(n.RatePerSecond)))
		if err != nil {
			return nil, fmt.Errorf("create an endpoint: %w", err)
		}
		details := map[string]any{"name": n.Name, "host": hostOf(n.URL)}
		if !n.Credentials.empty() {
			if err := d.writeCredentials(ctx, tx, Endpoint{ID: id}, Credentials{}, n.Credentials); err != nil {
				return nil, err
			}
			_, details["credentials"] = asGiven(n.Credentials).apply(Credentials{})
		}
		e, err = readEndpoint(ctx, tx, id)
		return []audit.Event{{
			Action: "dispatch.endpoint.created", Entity: "DispatchEndpoint", EntityID: id, Details: details,
		}}, err
	})
	if err != nil {
		return Endpoint{}, "", err
	}
	return e, secret, nil
}

// hostOf is what an event says of a URL: its path and query may hold a token.
func hostOf(raw string) string {
	u, err := url.Parse(raw)
	if err != nil {
		return ""
	}
	return u.Host
}

// originOf is a URL's scheme and host.
func originOf(raw string) string {
	u, err := url.Parse(raw)
	if err != nil {
		return ""
	}
	return u.Scheme + "://" + u.Host
}

func readEndpoint(ctx context.Context, tx *store.Tx, id string) (Endpoint, error) {
	return scanOneEndpoint(ctx, tx, id, "")
}

// lockEndpoint reads an endpoint that is to be changed, and that nobody else changes meanwhile.
func lockEndpoint(ctx context.Context, tx *store.Tx, id string) (Endpoint, error) {
	return scanOneEndpoint(ctx, tx, id, tx.ForUpdate())
}

func scanOneEndpoint(ctx context.Context, tx *store.Tx, id, lock string) (Endpoint, error) {
	e, err := scanEndpoint(tx.QueryRow(ctx, `select `+endpointColumns+` from dispatch_endpoint where id = $1 and deleted_at is null`+lock, id).Scan)
	if store.NoRow(err) {
		return e, noEndpoint(id)
	}
	if err != nil {
		return e, fmt.Errorf("read endpoint %s: %w", id, err)
	}
	return e, nil
}

func noEndpoint(id string) error { return fault.New(fault.NotFound, "there is no endpoint %s", id) }

// Endpoint gives one endpoint. fault.NotFound, for a deleted one too.
func (d *Dispatcher) Endpoint(ctx context.Context, id string) (e Endpoint, err error) {
	err = d.log.Store().Read(ctx, func(tx *store.Tx) error {
		e, err = readEndpoint(ctx, tx, id)
		return err
	})
	return e, err
}

// Endpoints lists endpoints, the oldest first. The cursor is an endpoint's id. fault.BadRequest for the
// cursor of another list.
func (d *Dispatcher) Endpoints(ctx context.Context, page store.Page) (store.List[Endpoint], error) {
	if err := checkCursor(page); err != nil {
		return store.List[Endpoint]{}, err
	}
	var list []Endpoint
	err := d.log.Store().Read(ctx, func(tx *store.Tx) error {
		return tx.Each(ctx, func(scan func(...any) error) error {
			e, err := scanEndpoint(scan)
			list = append(list, e)
			return err
		}, `select `+endpointColumns+` from dispatch_endpoint where deleted_at is null and id > $1 order by id limit $2`,
			page.After, page.Limit+1)
	})
	if err != nil {
		return store.List[Endpoint]{}, fmt.Errorf("list endpoints: %w", err)
	}
	return store.Cut(list, page, func(e Endpoint) string { return e.ID }), nil
}

// ChangeEndpoint changes what is named. Jobs that wait go to the new URL. Saying what is so already
// changes nothing. fault.NotFound, fault.Invalid.
func (d *Dispatcher) ChangeEndpoint(ctx context.Context, by audit.Principal, id string, c EndpointChange) (Endpoint, error) {
	if c == (EndpointChange{}) {
		return Endpoint{}, fault.New(fault.Invalid, "nothing is to be changed")
	}
	var e Endpoint
	err := d.log.Change(ctx, by, func(tx *store.Tx) ([]audit.Event, error) {
		old, err := lockEndpoint(ctx, tx, id)
		if err != nil {
			return nil, err
		}
		n, details := c.apply(old)
		if err := n.check(); err != nil {
			return nil, err
		}
		now, err := tx.Now(ctx)
		if err != nil {
			return nil, err
		}
		parts, err := d.changeCredentials(ctx, tx, old, n.URL, c.Credentials, now)
		if err != nil {
			return nil, err
		}
		if len(parts) > 0 {
			details["credentials"] = parts
		}
		if len(details) == 0 {
			e = old
			return nil, audit.ErrNothing
		}
		if n.URL != old.URL || len(parts) > 0 { // how it failed says nothing of how it will
			if err := forgetBreaker(ctx, tx, id); err != nil {
				return nil, err
			}
		}
		if n.RatePerSecond != old.RatePerSecond {
			if err := forgetRate(ctx, tx, id); err != nil {
				return nil, err
			}
		}
		if _, err := tx.Exec(ctx, `
			update dispatch_endpoint
			   set name = $2, url = $3, concurrency = $4, timeout_seconds = $5, max_attempts = $6, rate_milli = $8,
			       version = version + 1, updated_at = $7
			 where id = $1`,
			id, n.Name, n.URL, nullable(n.Concurrency), nullable(n.TimeoutSeconds), nullable(n.MaxAttempts), now.UnixMicro(),
			nullable(milliOf(n.RatePerSecond))); err != nil {
			return nil, fmt.Errorf("change endpoint %s: %w", id, err)
		}
		e, err = readEndpoint(ctx, tx, id)
		return []audit.Event{{Action: "dispatch.endpoint.changed", Entity: "DispatchEndpoint", EntityID: id, Details: details}}, err
	})
	if c.Credentials != nil {
		d.endpoints.forget(id)
	}
	d.Wake()
	return e, err
}

// apply gives an endpoint as it is to become, but for its credentials, and what differs, for the event.
func (c EndpointChange) apply(old Endpoint) (NewEndpoint, map[string]any) {
	n := NewEndpoint{
		Name: old.Name, URL: old.URL, Concurrency: old.Concurrency, TimeoutSeconds: old.TimeoutSeconds, MaxAttempts: old.MaxAttempts,
		RatePerSecond: old.RatePerSecond,
	}
	details := map[string]any{}
	if c.Name != nil && *c.Name != n.Name {
		n.Name = *c.Name
		details["name"] = n.Name
	}
	if c.URL != nil && *c.URL != n.URL {
		n.URL = *c.URL
		details["host"] = hostOf(n.URL)
	}
	if c.RatePerSecond != nil && milliOf(*c.RatePerSecond) != milliOf(n.RatePerSecond) {
		n.RatePerSecond = *c.RatePerSecond
		details["ratePerSecond"] = n.RatePerSecond
	}
	for _, f := range []struct {
		name     string
		to, from *int
	}{
		{"concurrency", &n.Concurrency, c.Concurrency},
		{"timeoutSeconds", &n.TimeoutSeconds, c.TimeoutSeconds},
		{"maxAttempts", &n.MaxAttempts, c.MaxAttempts},
	} {
		if f.from != nil && *f.from != *f.to {
			*f.to = *f.from
			details[f.name] = *f.from
		}
	}
	return n, details
}

// SetPaused pauses an endpoint, which then keeps its jobs, or resumes it. Setting it to what it is
// already changes nothing. fault.NotFound, fault.Invalid for a long reason.
func (d *Dispatcher) SetPaused(ctx context.Context, by audit.Principal, id string, paused bool, reason string) (Endpoint, error) {
	if utf8.RuneCountInString(reason) > maxReason {
		return Endpoint{}, fault.New(fault.Invalid, "reason has at most %d characters", maxReason)
	}
	var e Endpoint
	err := d.log.Change(ctx, by, func(tx *store.Tx) ([]audit.Event, error) {
		old, err := lockEndpoint(ctx, tx, id)
		if err != nil {
			return nil, err
		}
		if old.Paused == paused {
			e = old
			return nil, audit.ErrNothing
		}
		now, err := tx.Now(ctx)
		if err != nil {
			return nil, err
		}
		if _, err := tx.Exec(ctx, `
			update dispatch_endpoint set paused = $2, paused_reason = $3, version = version + 1, updated_at = $4 where id = $1`,
			id, paused, store.Text(reason), now.UnixMicro()); err != nil {
			return nil, fmt.Errorf("pause or resume endpoint %s: %w", id, err)
		}
		if !paused {
			if err := forgetBreaker(ctx, tx, id); err != nil {
				return nil, err
			}
		}
		e, err = readEndpoint(ctx, tx, id)
		return []audit.Event{pausedEvent(id, paused, reason)}, err
	})
	d.Wake()
	return e, err
}

func pausedEvent(id string, paused bool, reason string) audit.Event {
	e := audit.Event{Action: "dispatch.endpoint.resumed", Entity: "DispatchEndpoint", EntityID: id}
	if paused {
		e.Action = "dispatch.endpoint.paused"
	}
	if reason != "" {
		e.Details = map[string]any{"reason": reason}
	}
	return e
}

// DeleteEndpoint leaves a tombstone without credentials: what a URL says behind its host may be one,
// too. fault.NotFound; fault.Conflict while jobs are unfinished.
func (d *Dispatcher) DeleteEndpoint(ctx context.Context, by audit.Principal, id string) error {
	return d.log.Change(ctx, by, func(tx *store.Tx) ([]audit.Event, error) {
		e, err := lockEndpoint(ctx, tx, id)
		if err != nil {
			return nil, err
		}
		var unfinished string
		err = tx.QueryRow(ctx, `
			select id from dispatch_job where endpoint_id = $1 and due_at is not null
			union all
			select id from dispatch_job where endpoint_id = $1 and lease_until is not null
			union all
			select id from dispatch_job where endpoint_id = $1 and order_wait is not null and status <> 'DEAD_LETTER' limit 1`, id).Scan(&unfinished)
		if err == nil {
			return nil, fault.New(fault.Conflict, "this endpoint has unfinished jobs: let them end, or dead-letter them").With("jobId", unfinished)
		}
		if !store.NoRow(err) {
			return nil, fmt.Errorf("delete endpoint %s: %w", id, err)
		}
		now, err := tx.Now(ctx)
		if err != nil {
			return nil, err
		}
		if _, err := tx.Exec(ctx, `
			update dispatch_endpoint
			   set deleted_at = $2, updated_at = $2, url = $3, secrets = null, old_secret_until = null,
			       credentials = null, credentials_shown = null, credentials_changed_at = null, paused = true, version = version + 1
			 where id = $1`, id, now.UnixMicro(), originOf(e.URL)); err != nil {
			return nil, fmt.Errorf("delete endpoint %s: %w", id, err)
		}
		if err := errors.Join(forgetBreaker(ctx, tx, id), forgetRate(ctx, tx, id)); err != nil {
			return nil, err
		}
		return []audit.Event{{
			Action: "dispatch.endpoint.deleted", Entity: "DispatchEndpoint", EntityID: id,
			Details: map[string]any{"name": e.Name, "host": hostOf(e.URL)},
		}}, nil
	})
}
