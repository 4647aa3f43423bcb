package dispatch

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"mime"
	"strings"
	"time"

	"sealpost/audit"
	"sealpost/fault"
	"sealpost/keys"
	"sealpost/store"
)

// Limits of a job.
const (
	MaxPayload     = 8 << 20 // bytes
	maxContentType = 255     // characters
)

// NewJob is a job to accept.
type NewJob struct {
	EndpointID   string
	DocumentID   string // where it carries a document
	ContentType  string
	Payload      []byte
	OrderingKey  string    // jobs of one endpoint and key go one after another; "": whenever they can
	DeliverAfter time.Time // zero: now
	ExpireAt     time.Time // zero: never
}

// check tells what is wrong with a job by itself, as fault.Invalid.
func (n NewJob) check(now time.Time) error {
	if !store.ValidID(n.EndpointID) {
		return fault.New(fault.Invalid, "endpointId is not an id")
	}
	if len(n.Payload) > MaxPayload {
		return fault.New(fault.TooLarge, "a payload has at most %d bytes", MaxPayload)
	}
	if len(n.ContentType) > maxContentType || strings.ContainsFunc(n.ContentType, func(r rune) bool { return r < ' ' || r > '~' }) {
		return fault.New(fault.Invalid, "contentType has at most %d characters, of printable ASCII", maxContentType)
	}
	if mediaType, _, err := mime.ParseMediaType(n.ContentType); err != nil || !strings.Contains(mediaType, "/") {
		return fault.New(fault.Invalid, "contentType is not a media type")
	}
	if err := checkOrderingKey(n.OrderingKey); err != nil {
		return err
	}
	if !n.ExpireAt.IsZero() && !n.ExpireAt.After(now) {
		return fault.New(fault.Invalid, "expireAt is over already")
	}
	if !n.ExpireAt.IsZero() && !n.DeliverAfter.Before(n.ExpireAt) {
		return fault.New(fault.Invalid, "deliverAfter is not before expireAt")
	}
	if n.DeliverAfter.After(maxTime) || n.ExpireAt.After(maxTime) {
		return errBeyondTime()
	}
	return nil
}

// maxTime is the last time that RFC 3339 has a form for, in UTC: a later one could not be shown again.
var maxTime = time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)

func errBeyondTime() error { return fault.New(fault.Invalid, "times end with the year 9999") }

// prepared is a job with its id and its payload encrypted: what can be done before a transaction.
type prepared struct {
	NewJob
	id               string
	salt, hash, body []byte
	trace            traceContext
}

func (d *Dispatcher) prepare(ctx context.Context, n NewJob) (prepared, error) {
	p := prepared{NewJob: n, id: store.NewID(), salt: make([]byte, 16), trace: traceOf(ctx)}
	_, _ = rand.Read(p.salt)
	h := sha256.New()
	h.Write(p.salt)
	h.Write(n.Payload)
	p.hash = h.Sum(nil)
	var err error
	p.body, err = d.data.Encrypt(keys.JobPayload, p.id, n.Payload)
	if err != nil {
		return p, fmt.Errorf("encrypt a payload: %w", err)
	}
	return p, nil
}

// Insert adds jobs inside the caller's transaction and gives them with the events that belong to the
// change. Call Wake when it has committed. fault.Invalid for an endpoint that is not there.
func (d *Dispatcher) Insert(ctx context.Context, tx *store.Tx, by audit.Principal, jobs []NewJob) ([]Job, []audit.Event, error) {
	now, err := tx.Now(ctx)
	if err != nil {
		return nil, nil, err
	}
	list := make([]prepared, len(jobs))
	for i, n := range jobs {
		if err := n.check(now); err != nil {
			return nil, nil, err
		}
		if list[i], err = d.prepare(ctx, n); err != nil {
			return nil, nil, err
		}
	}
	return d.insert(ctx, tx, by, list)
}

// insert is Insert for jobs that are prepared.
func (d *Dispatcher) insert(ctx context.Context, tx *store.Tx, by audit.Principal, list []prepared) ([]Job, []audit.Event, error) {
	now, err := tx.Now(ctx)
	if err != nil {
		return nil, nil, err
	}
	ids := make([]string, len(list))
	for i, p := range list {
		ids[i] = p.EndpointID
	}
	terms, err := d.terms(ctx, tx, ids)
	if err != nil {
		return nil, nil, err
	}
	made := make([]Job, len(list))
	events := make([]audit.Event, len(list))
	rows := newJobRows(len(list))
	if err := rows.lockOrders(ctx, tx, list, terms); err != nil {
		return nil, nil, err
	}
	for i, p := range list {
		maxAttempts, ok := terms[p.EndpointID]
		if !ok {
			return nil, nil, noSuchEndpoint(p.EndpointID)
		}
		made[i] = rows.add(p, by, maxAttempts, now)
		d.changes.note(p.id)
		events[i] = accepted(made[i], p.hash, nil)
	}
	if err := rows.insert(ctx, tx); err != nil {
		return nil, nil, err
	}
	return made, events, nil
}

func noSuchEndpoint(id string) error {
	return fault.New(fault.Invalid, "there is no endpoint %s", id).With("endpointId", id)
}

// accepted tells of a job and, by the salted hash of it, of what is to be sent.
func accepted(j Job, hash []byte, by *audit.Principal) audit.Event {
	details := map[string]any{"endpointId": j.EndpointID, "bytes": j.PayloadBytes, "payloadHash": hex.EncodeToString(hash)}
	if j.DocumentID != "" {
		details["documentId"] = j.DocumentID
	}
	return audit.Event{Action: "dispatch.job.accepted", Entity: "DispatchJob", EntityID: j.ID, Details: details, By: by}
}

// terms gives the budget of attempts of each endpoint that is there.
func (d *Dispatcher) terms(ctx context.Context, tx *store.Tx, ids []string) (map[string]int, error) {
	distinct := map[string]int{}
	for _, id := range ids {
		distinct[id] = 0
	}
	args := make([]any, 0, len(distinct)+1)
	args = append(args, d.o.MaxAttempts)
	for id := range distinct {
		args = append(args, id)
	}
	args = store.Padded(args, 1)
	terms := map[string]int{}
	err := tx.Each(ctx, func(scan func(...any) error) error {
		var id string
		var budget int
		if err := scan(&id, &budget); err != nil {
			return err
		}
		terms[id] = budget
		return nil
	}, `select id, coalesce(max_attempts, cast($1 as bigint)) from dispatch_endpoint
	     where deleted_at is null and id in (`+store.Placeholders(2, len(args)-1)+`)`+tx.KeepAlive(), args...)
	if err != nil {
		return nil, fmt.Errorf("read the jobs' endpoints: %w", err)
	}
	return terms, nil
}

// jobRows collects the rows of many jobs, one insert for each table.
type jobRows struct {
	jobs, payloads [][]any
	orders         map[orderKey]*order
}

// lockOrders locks the orders of jobs whose endpoints are there. It comes before any of their rows.
func (r *jobRows) lockOrders(ctx context.Context, tx *store.Tx, list []prepared, terms map[string]int) (err error) {
	var keys []orderKey
	for _, p := range list {
		if _, ok := terms[p.EndpointID]; ok && p.OrderingKey != "" {
			keys = append(keys, orderKey{p.EndpointID, p.OrderingKey})
		}
	}
	r.orders, err = lockOrders(ctx, tx, keys)
	return err
}

func newJobRows(n int) *jobRows {
	return &jobRows{jobs: make([][]any, 0, n), payloads: make([][]any, 0, n)}
}

func (r *jobRows) add(p prepared, by audit.Principal, maxAttempts int, now time.Time) Job {
	due := now
	if p.DeliverAfter.After(now) {
		due = p.DeliverAfter.UTC().Truncate(time.Microsecond)
	}
	p.ExpireAt = p.ExpireAt.UTC().Truncate(time.Microsecond)
	var place any
	waits := false
	if p.OrderingKey != "" {
		place, waits = r.orders[orderKey{p.EndpointID, p.OrderingKey}].join(p.id)
	}
	dueAt, orderWait := orderDue(due, waits)
	r.jobs = append(r.jobs, []any{
		p.id, p.EndpointID, string(Pending), 0, maxAttempts, maxAttempts, dueAt,
		store.Micros(p.ExpireAt), len(p.Payload), now.UnixMicro(), now.UnixMicro(),
		store.Text(p.OrderingKey), place, orderWait,
	})
	r.payloads = append(r.payloads, []any{
		p.id, p.EndpointID, store.Text(by.UserID), store.Text(p.DocumentID),
		p.ContentType, p.salt, p.hash, p.body, store.Text(p.trace.parent), store.Text(p.trace.state),
	})
	if waits {
		due = time.Time{}
	}
	return Job{
		ID: p.id, EndpointID: p.EndpointID, DocumentID: p.DocumentID, OwnerID: by.UserID, Status: Pending,
		MaxAttempts: maxAttempts, NextRetryAt: due, ExpireAt: p.ExpireAt, OrderingKey: p.OrderingKey, ContentType: p.ContentType,
		PayloadBytes: len(p.Payload), CreatedAt: now, UpdatedAt: now,
	}
}

func (r *jobRows) insert(ctx context.Context, tx *store.Tx) error {
	if err := tx.Insert(ctx, "dispatch_job", insertedJobColumns, r.jobs); err != nil {
		return err
	}
	if err := writeOrders(ctx, tx, r.orders); err != nil {
		return err
	}
	return tx.Insert(ctx, "dispatch_payload", insertedPayloadColumns, r.payloads)
}

var (
	insertedJobColumns = []string{
		"id", "endpoint_id", "status", "attempt_count", "attempt_budget", "max_attempts",
		"due_at", "expire_at", "payload_size", "created_at", "updated_at",
		"ordering_key", "order_place", "order_wait",
	}
	insertedPayloadColumns = []string{"job_id", "endpoint_id", "owner_id", "document_id", "content_type", "salt", "hash", "body", "trace_parent", "trace_state"}
)
