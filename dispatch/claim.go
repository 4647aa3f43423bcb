package dispatch

import (
	"context"
	"fmt"
	"strings"
	"time"

	"sealpost/audit"
	"sealpost/keys"
	"sealpost/store"
)

// maxEndpoints is how many endpoints one claim looks at.
const maxEndpoints = 32

// target is where one delivery goes: an endpoint as it was when the job was claimed.
type target struct {
	id             string
	url            string
	version        int64
	timeout        time.Duration
	secrets        secrets
	oldSecretUntil time.Time
	access         *access // nil where the signature is all
}

// candidate is an endpoint with due work: how many leases it may have over all servers, how many more, and
// until which due time its jobs may be taken, in microseconds.
type candidate struct {
	*target
	allowed int
	slots   int
	until   int64
	rate    rate
}

// claimed is what one claim took.
type claimed struct {
	jobs   []*delivery
	cursor string          // the endpoint at which the next claim goes on
	rated  map[string]rate // of the endpoints that have one: as it is behind what was claimed
	events []audit.Event   // jobs whose time was over instead
}

// claim takes leases on due jobs, at most free of them, fairly by endpoint: endpoints take turns in
// the order of their ids, and each gets an equal share of what is free (share.go). The next claim goes
// on behind the last endpoint that got something, so that where little is free nobody is left out.
func (d *Dispatcher) claim(ctx context.Context, tx *store.Tx, now time.Time, free int, cursor string, load load) (claimed, error) {
	c := claimed{cursor: cursor}
	full := append(d.endpoints.unreadable(), load.full(free)...)
	ring, err := d.candidates(ctx, tx, now, cursor, lastID, full)
	if err != nil {
		return c, err
	}
	if len(ring) < maxEndpoints && cursor != "" { // round the corner
		more, err := d.candidates(ctx, tx, now, "", cursor, full)
		if err != nil {
			return c, err
		}
		ring = append(ring, more[:min(len(more), maxEndpoints-len(ring))]...)
	}
	if err := d.countSlots(ctx, tx, ring); err != nil {
		return c, err
	}
	if err := limitRates(ctx, tx, ring, now); err != nil {
		return c, err
	}
	grants := share(ring, free, load)
	for i, n := range grants {
		if n > 0 {
			c.cursor = ring[i].id
		}
	}
	token := store.NewID()
	for len(ring) > 0 {
		n := store.Piece(len(ring), maxEndpoints)
		if err := d.lease(ctx, tx, now, token, ring[:n], grants[:n], &c); err != nil {
			return c, err
		}
		ring, grants = ring[n:], grants[n:]
	}
	return c, c.reserve(ctx, tx)
}

// The ids at the two ends of any range. Ids all have one form, in which every collation that
// PostgreSQL may have sorts them alike: the ends have it too.
const (
	firstID = "00000000-0000-0000-0000-000000000000"
	lastID  = "ffffffff-ffff-ffff-ffff-ffffffffffff"
)

// maxFull bounds how many endpoints a claim leaves out by name.
const maxFull = 1024

// candidates gives the endpoints behind a place in the ring that have due work and a free slot, but
// for those that may have none on this server. On PostgreSQL their rows are locked: nobody else leases
// their jobs until this transaction ends.
func (d *Dispatcher) candidates(ctx context.Context, tx *store.Tx, now time.Time, after, upTo string, full []string) ([]candidate, error) {
	var list []candidate
	var boxes [][2][]byte
	args := []any{d.o.EndpointConcurrency, after, upTo, now.UnixMicro(), maxEndpoints, now.Add(reserveFor).UnixMicro()}
	if len(full) > 0 {
		for _, id := range full[:min(len(full), maxFull)] {
			args = append(args, id)
		}
		args = store.Padded(args, 6)
	}
	err := tx.Each(ctx, func(scan func(...any) error) error {
		c := candidate{target: &target{}}
		var timeout *int
		var box [2][]byte
		var milli *int64
		err := scan(&c.id, &c.url, &c.version, &timeout, &box[0], &box[1], store.Time(&c.oldSecretUntil), &milli, &c.allowed, &c.until)
		if err != nil {
			return err
		}
		if milli != nil {
			c.rate.apart = apart(*milli)
		}
		c.timeout = d.o.Timeout
		if timeout != nil {
			c.timeout = time.Duration(*timeout) * time.Second
		}
		list, boxes = append(list, c), append(boxes, box)
		return nil
	}, candidatesText(len(args)-6, tx.SkipLocked("e")), args...)
	if err != nil {
		return nil, fmt.Errorf("find due endpoints: %w", err)
	}
	readable := list[:0]
	for i, c := range list {
		if d.endpoints.fill(d, c.target, boxes[i][0], boxes[i][1]) {
			readable = append(readable, c)
		}
	}
	return readable, nil
}

// candidatesText is the statement that leaves out n endpoints. It has a scalar subquery and not "exists",
// which PostgreSQL would turn into a join over all jobs. Of an endpoint whose breaker is open only what an
// operator wants at once may be taken; of one whose breaker is half open, one job (breaker.go); and of one
// with a rate nothing whose time to start is not near (rate.go).
func candidatesText(n int, lock string) string {
	others := ""
	if n > 0 {
		others = ` and e.id not in (` + store.Placeholders(7, n) + `)`
	}
	allowed := `case when b.open_until <= $4 then 1 else coalesce(e.concurrency, cast($1 as bigint)) end`
	until := fmt.Sprintf(`case when b.open_until > $4 then %d else cast($4 as bigint) end`, atOnce)
	return `
		select e.id, e.url, e.version, e.timeout_seconds, e.secrets, e.credentials, e.old_secret_until, e.rate_milli, ` + allowed + `, ` + until + `
		  from dispatch_endpoint e left join dispatch_breaker b on b.endpoint_id = e.id left join dispatch_rate r on r.endpoint_id = e.id
		 where e.id > $2 and e.id <= $3 and not e.paused and e.deleted_at is null
		   and (select j.due_at from dispatch_job j where j.endpoint_id = e.id and j.due_at <= ` + until + `
		         order by j.due_at limit 1) is not null
		   and ` + allowed + ` > (select count(*) from dispatch_job f
		         where f.endpoint_id = e.id and f.lease_until is not null)
		   and (e.rate_milli is null or r.next_at is null or r.next_at <= $6)` + others + `
		 order by e.id limit $5` + lock
}

// countSlots counts the leases of endpoints. It is a statement of its own, behind the one that locks
// them: that one looks at the database as it was when it began, and waits for nobody, so another server
// may have leased and committed in between.
func (d *Dispatcher) countSlots(ctx context.Context, tx *store.Tx, ring []candidate) error {
	if len(ring) == 0 {
		return nil
	}
	args := make([]any, 0, 2*len(ring))
	slots := make(map[string]*int, len(ring))
	for i := range ring {
		ring[i].slots = ring[i].allowed
		slots[ring[i].id] = &ring[i].slots
		args = append(args, ring[i].id)
	}
	args = store.Padded(args, 0)
	err := tx.Each(ctx, func(scan func(...any) error) error {
		var id string
		var leases int
		if err := scan(&id, &leases); err != nil {
			return err
		}
		*slots[id] -= leases
		return nil
	}, countText(len(args)), args...)
	if err != nil {
		return fmt.Errorf("count leases: %w", err)
	}
	return nil
}

func countText(n int) string {
	return `select endpoint_id, count(*) from dispatch_job where lease_until is not null
		and endpoint_id in (` + store.Placeholders(1, n) + `) group by endpoint_id`
}

// lease marks the due jobs of some endpoints as in flight. A job whose time is over dies instead.
func (d *Dispatcher) lease(ctx context.Context, tx *store.Tx, now time.Time, token string, ring []candidate, grants []int, c *claimed) error {
	until := now
	args := []any{token, d.log.Writer(), now.UnixMicro(), nil}
	targets := map[string]candidate{}
	for i, e := range ring {
		args = append(args, e.id, e.until, grants[i])
		targets[e.id] = e
		until = later(until, now.Add(e.timeout+leaseMargin))
	}
	args[3] = until.UnixMicro()
	err := tx.Each(ctx, func(scan func(...any) error) error {
		dl := &delivery{token: token, leasedAt: now}
		var endpointID string
		var status Status
		var budget, maxAttempts int
		err := scan(&dl.jobID, &endpointID, &status, &dl.number, &budget, &maxAttempts, &dl.size, store.String(&dl.orderingKey), &dl.place)
		if err != nil {
			return err
		}
		if status == DeadLetter {
			c.events = append(c.events, deadEvent(dl.jobID, Expired, ""))
			return nil
		}
		dl.target = targets[endpointID].target
		dl.after(targets[endpointID].rate, c)
		dl.left = budget - dl.number
		dl.tried = max(1, maxAttempts-dl.left)
		c.jobs = append(c.jobs, dl)
		return nil
	}, leaseText(len(ring), tx.SkipLocked("")), args...)
	if err != nil {
		return fmt.Errorf("claim jobs: %w", err)
	}
	return nil
}

// leaseText is the claim of n endpoints' due jobs, the oldest first, in one statement. One of an order whose
// time is over is left to expireOrdered, which has the order's lock: there is one at most for each key.
//
// What is picked is materialized. As a plain "id in (select …)" PostgreSQL may run it once for each row
// of the table, in a nested loop; since it locks, and skips what is locked, it would pick other jobs
// each time, and lease more of them than were granted.
func leaseText(n int, lock string) string {
	var b strings.Builder
	b.WriteString(`
		with picked (id) as materialized (`)
	for i := range n {
		if i > 0 {
			b.WriteString(" union all ")
		}
		fmt.Fprintf(&b, `select id from (select id from dispatch_job where endpoint_id = $%d and due_at <= $%d
			and (ordering_key is null or expire_at is null or expire_at > $3)
			order by due_at, id limit $%d%s) as b%d`, 5+3*i, 6+3*i, 7+3*i, lock, i)
	}
	b.WriteString(`)
		update dispatch_job
		   set status = case when expire_at <= $3 then 'DEAD_LETTER' else 'IN_FLIGHT' end,
		       due_at = null, updated_at = $3,
		       attempt_count = attempt_count + case when expire_at <= $3 then 0 else 1 end,
		       lease_token = case when expire_at <= $3 then null else cast($1 as text) end,
		       lease_node = case when expire_at <= $3 then null else cast($2 as text) end,
		       lease_until = case when expire_at <= $3 then null else cast($4 as bigint) end,
		       dead_lettered_at = case when expire_at <= $3 then cast($3 as bigint) end,
		       dead_letter_reason = case when expire_at <= $3 then 'EXPIRED' end
		 where id in (select id from picked)
		returning id, endpoint_id, status, attempt_count, attempt_budget, max_attempts, payload_size, ordering_key, coalesce(order_place, 0)`)
	return b.String()
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// payloads reads the small payloads of claimed jobs at once; each large one is read when it is sent.
func (d *Dispatcher) payloads(ctx context.Context, jobs []*delivery) error {
	byID := map[string]*delivery{}
	var ids []any
	for _, dl := range jobs {
		if dl.size <= smallPayload {
			byID[dl.jobID] = dl
			ids = append(ids, dl.jobID)
		}
	}
	for len(ids) > 0 {
		n := store.Piece(len(ids), maxBatch)
		err := d.log.Store().Read(ctx, func(tx *store.Tx) error {
			return tx.Each(ctx, func(scan func(...any) error) error {
				var id, contentType string
				var box []byte
				var trace traceContext
				if err := scan(&id, &contentType, &box, store.String(&trace.parent), store.String(&trace.state)); err != nil {
					return err
				}
				dl := byID[id]
				dl.contentType, dl.box, dl.trace = contentType, box, trace
				return nil
			}, `select job_id, content_type, body, trace_parent, trace_state from dispatch_payload where job_id in (`+store.Placeholders(1, n)+`)`, ids[:n]...)
		})
		if err != nil {
			return fmt.Errorf("read payloads: %w", err)
		}
		ids = ids[n:]
	}
	return nil
}

// Payload gives a job's payload. It is audited: the caller must be somebody who may read it.
func (d *Dispatcher) Payload(ctx context.Context, by audit.Principal, jobID string) (contentType string, payload []byte, err error) {
	if _, err := d.Get(ctx, by, jobID); err != nil {
		return "", nil, err
	}
	contentType, payload, _, err = d.readPayload(ctx, jobID)
	if err != nil {
		return "", nil, err
	}
	err = d.log.Record(ctx, by, audit.Event{Action: "dispatch.payload.read", Entity: "DispatchJob", EntityID: jobID})
	if err != nil {
		return "", nil, err
	}
	return contentType, payload, nil
}

// PayloadHash gives the salted hash of a job's payload, SHA-256(salt ‖ payload), which the event of its
// acceptance tells, and the salt, by which whoever has the payload can compare it. The salt is nil where the
// payload has been removed.
func (d *Dispatcher) PayloadHash(ctx context.Context, jobID string) (salt, hash []byte, err error) {
	err = d.log.Store().Read(ctx, func(tx *store.Tx) error {
		return tx.QueryRow(ctx, `select salt, hash from dispatch_payload where job_id = $1`, jobID).Scan(&salt, &hash)
	})
	if err != nil {
		return nil, nil, fmt.Errorf("read the payload's hash of job %s: %w", jobID, err)
	}
	return salt, hash, nil
}

func (d *Dispatcher) readPayload(ctx context.Context, jobID string) (contentType string, payload []byte, trace traceContext, err error) {
	var box []byte
	err = d.log.Store().Read(ctx, func(tx *store.Tx) error {
		return tx.QueryRow(ctx, `select content_type, body, trace_parent, trace_state from dispatch_payload where job_id = $1`, jobID).
			Scan(&contentType, &box, store.String(&trace.parent), store.String(&trace.state))
	})
	if err == nil && box == nil {
		return "", nil, trace, errPayloadGone()
	}
	if err == nil {
		payload, err = d.data.Decrypt(keys.JobPayload, jobID, box)
	}
	if err != nil {
		return "", nil, trace, fmt.Errorf("read the payload of job %s: %w", jobID, err)
	}
	return contentType, payload, trace, nil
}
