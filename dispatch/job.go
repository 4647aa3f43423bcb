package dispatch

import (
	"context"
	"fmt"
	"strings"
	"time"

	"sealpost/audit"
	"sealpost/fault"
	"sealpost/keys"
	"sealpost/store"
)

// Status is where a job stands (SPEC §4).
type Status string

// The statuses. DISPATCHED and DEAD_LETTER are ends; an operator's replay leads out of both.
const (
	Pending    Status = "PENDING"
	InFlight   Status = "IN_FLIGHT"
	Retrying   Status = "RETRYING"
	Dispatched Status = "DISPATCHED"
	DeadLetter Status = "DEAD_LETTER"
)

// Reason is why a job is dead (SPEC §4).
type Reason string

// The reasons.
const (
	Exhausted Reason = "EXHAUSTED" // its attempts are used up
	Permanent Reason = "PERMANENT" // the receiver will never take it
	Blocked   Reason = "BLOCKED"   // the address is forbidden
	Expired   Reason = "EXPIRED"   // its time is over
	Operator  Reason = "OPERATOR"  // an operator gave it up
)

// Job is one payload on its way to one endpoint.
type Job struct {
	ID               string
	EndpointID       string
	DocumentID       string // "" for a job that came by API
	OwnerID          string // who made it
	Status           Status
	AttemptCount     int
	MaxAttempts      int // of one budget; a replay gives a fresh one
	NextRetryAt      time.Time
	ExpireAt         time.Time
	DispatchedAt     time.Time
	DeadLetteredAt   time.Time
	DeadLetterReason Reason
	LastError        string
	OrderingKey      string // "": it is in no order
	OutOfOrder       bool   // it was replayed when later ones of its key had had their turn
	ContentType      string
	PayloadBytes     int
	CreatedAt        time.Time
	UpdatedAt        time.Time

	place int64 // in its order
	waits bool  // for its turn there
}

const jobColumns = `j.id, j.endpoint_id, p.document_id, p.owner_id, j.status, j.attempt_count, j.max_attempts,
	j.due_at, j.expire_at, j.dispatched_at, j.dead_lettered_at, j.dead_letter_reason, j.last_error,
	p.content_type, j.payload_size, j.created_at, j.updated_at,
	j.ordering_key, j.out_of_order, coalesce(j.order_place, 0), j.order_wait is not null`

// fields are where a row of jobColumns goes.
func (j *Job) fields() []any {
	return []any{
		&j.ID, &j.EndpointID, store.String(&j.DocumentID), store.String(&j.OwnerID), &j.Status,
		&j.AttemptCount, &j.MaxAttempts, store.Time(&j.NextRetryAt), store.Time(&j.ExpireAt),
		store.Time(&j.DispatchedAt), store.Time(&j.DeadLetteredAt), store.String((*string)(&j.DeadLetterReason)),
		store.String(&j.LastError), &j.ContentType, &j.PayloadBytes, store.Time(&j.CreatedAt), store.Time(&j.UpdatedAt),
		store.String(&j.OrderingKey), &j.OutOfOrder, &j.place, &j.waits,
	}
}

// normal makes what an operator set to "at once" read as such: the row's own time of change.
func (j *Job) normal() {
	if !j.NextRetryAt.IsZero() && j.NextRetryAt.Before(j.CreatedAt) {
		j.NextRetryAt = j.UpdatedAt
	}
}

// Get gives one job. An author sees own jobs only: fault.NotFound for another's.
func (d *Dispatcher) Get(ctx context.Context, by audit.Principal, id string) (Job, error) {
	var job Job
	err := d.log.Store().Read(ctx, func(tx *store.Tx) (err error) {
		job, err = readJob(ctx, tx, id)
		return err
	})
	if err == nil && !maySee(by, job) {
		return Job{}, noJob(id)
	}
	return job, err
}

func readJob(ctx context.Context, tx *store.Tx, id string) (Job, error) {
	var job Job
	err := tx.QueryRow(ctx, `
		select `+jobColumns+`
		  from dispatch_job j join dispatch_payload p on p.job_id = j.id
		 where j.id = $1`, id).Scan(job.fields()...)
	if store.NoRow(err) {
		return Job{}, noJob(id)
	}
	if err != nil {
		return Job{}, fmt.Errorf("read job %s: %w", id, err)
	}
	job.normal()
	return job, nil
}

func noJob(id string) error { return fault.New(fault.NotFound, "there is no job %s", id) }

// maySee tells whether somebody may see a job: the runbook's roles see all, an author own ones.
func maySee(by audit.Principal, job Job) bool {
	switch by.Role {
	case audit.Admin, audit.Auditor:
		return true
	default:
		return job.OwnerID != "" && job.OwnerID == by.UserID
	}
}

// Outcome is how an attempt ended.
type Outcome string

// The outcomes. An interrupted attempt's server ended before the answer was stored, so nobody knows
// it; it costs no budget. A late answer came when the job was no longer this attempt's.
const (
	Delivered   Outcome = "DELIVERED"
	Failed      Outcome = "FAILED"
	Interrupted Outcome = "INTERRUPTED"
	Late        Outcome = "LATE"
)

// Attempt is one try to deliver a job.
type Attempt struct {
	Number     int
	Outcome    Outcome
	StartedAt  time.Time
	EndedAt    time.Time
	StatusCode int    // 0 where there was no answer
	Error      string // "" where it was delivered
	Answer     string // the first 4 KiB of the receiver's answer, as text
}

// Attempts gives a job's attempts, the oldest first, at most the last 1,000.
func (d *Dispatcher) Attempts(ctx context.Context, jobID string) ([]Attempt, error) {
	var attempts []Attempt
	err := d.log.Store().Read(ctx, func(tx *store.Tx) error {
		return tx.Each(ctx, func(scan func(...any) error) error {
			var a Attempt
			var code *int
			var box []byte
			err := scan(&a.Number, &a.Outcome, store.Time(&a.StartedAt), store.Time(&a.EndedAt), &code, store.String(&a.Error), &box)
			if err != nil {
				return err
			}
			if code != nil {
				a.StatusCode = *code
			}
			if box != nil {
				text, err := d.data.Decrypt(keys.AttemptAnswer, jobID, box)
				if err != nil {
					return fmt.Errorf("attempt %d: %w", a.Number, err)
				}
				a.Answer = strings.ToValidUTF8(string(text), "\uFFFD")
			}
			attempts = append(attempts, a)
			return nil
		}, `select number, outcome, started_at, ended_at, status_code, error, answer
		      from dispatch_attempt where job_id = $1 order by number desc, outcome desc limit 1000`, jobID)
	})
	if err != nil {
		return nil, fmt.Errorf("list attempts of job %s: %w", jobID, err)
	}
	for i, j := 0, len(attempts)-1; i < j; i, j = i+1, j-1 {
		attempts[i], attempts[j] = attempts[j], attempts[i]
	}
	return attempts, nil
}
