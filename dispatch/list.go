package dispatch

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"sealpost/audit"
	"sealpost/fault"
	"sealpost/store"
)

// JobFilter chooses jobs. Empty fields choose all; From is included, To is not. Q is how a job's or its
// document's id begins, 8 to 36 characters.
type JobFilter struct {
	Status     Status
	EndpointID string
	OwnerID    string
	From, To   time.Time
	Q          string
}

// clockSkew is how far a server's clock, which makes ids, may be from the database's, which makes
// times, before a list by time misses a job at its edge.
const clockSkew = time.Minute

// List lists jobs, the newest first. The cursor is a job's id. An author's list is of own jobs.
// fault.Invalid for a Q that no id begins with, fault.BadRequest for a cursor of another list.
func (d *Dispatcher) List(ctx context.Context, by audit.Principal, f JobFilter, page store.Page) (store.List[Job], error) {
	if by.Role != audit.Admin && by.Role != audit.Auditor {
		f.OwnerID = by.UserID
	}
	if err := checkCursor(page); err != nil {
		return store.List[Job]{}, err
	}
	if f.Q == "" {
		jobs, err := d.list(ctx, f.query(page, nil))
		return store.Cut(jobs, page, jobID), err
	}
	ids, err := startingWith(f.Q)
	if err != nil {
		return store.List[Job]{}, err
	}
	// Two lists, each by its own index: one with "or" between the columns would go through all jobs.
	ofJobs, err := d.list(ctx, f.query(page, &ids))
	if err != nil {
		return store.List[Job]{}, err
	}
	ofDocuments, err := d.list(ctx, f.queryOfDocuments(page, ids))
	if err != nil {
		return store.List[Job]{}, err
	}
	jobs := append(ofJobs, ofDocuments...)
	slices.SortFunc(jobs, func(a, b Job) int { return cmp.Compare(b.ID, a.ID) })
	jobs = slices.CompactFunc(jobs, func(a, b Job) bool { return a.ID == b.ID })
	return store.Cut(jobs[:min(len(jobs), page.Limit+1)], page, jobID), nil
}

func jobID(j Job) string { return j.ID }

func (d *Dispatcher) list(ctx context.Context, q *jobQuery) ([]Job, error) {
	var jobs []Job
	err := d.log.Store().Read(ctx, func(tx *store.Tx) error {
		return tx.Each(ctx, func(scan func(...any) error) error {
			var job Job
			if err := scan(job.fields()...); err != nil {
				return err
			}
			job.normal()
			jobs = append(jobs, job)
			return nil
		}, q.text(), q.args...)
	})
	if err != nil {
		return nil, fmt.Errorf("list jobs: %w", err)
	}
	return jobs, nil
}

// checkCursor refuses a cursor that no list of ids has given.
func checkCursor(page store.Page) error {
	if page.After != "" && !store.ValidID(page.After) {
		return fault.New(fault.BadRequest, "this cursor is not of this list")
	}
	return nil
}

// idRange is a range of ids, both ends included. It is made of whole ids, which every collation that
// PostgreSQL may have sorts alike.
type idRange struct{ from, to string }

const minQuery = 8 // characters of an id, which those of 66 seconds have in common

// startingWith is the range of the ids that begin with a text.
func startingWith(q string) (idRange, error) {
	q = strings.ToLower(q)
	if len(q) < minQuery || len(q) > len(firstID) {
		return idRange{}, fault.New(fault.Invalid, "q is the first %d to %d characters of an id", minQuery, len(firstID))
	}
	r := idRange{q + firstID[len(q):], q + lastID[len(q):]}
	if !store.ValidID(r.from) {
		return idRange{}, fault.New(fault.Invalid, "q is the beginning of an id: hexadecimal digits and hyphens")
	}
	return r, nil
}

// jobQuery is a list's SQL while it is put together.
type jobQuery struct {
	id    string // the column of the table that is walked
	from  string
	where []string
	args  []any
}

// query walks the jobs of a filter. What never changes about a job has its indexes on dispatch_payload,
// which is written once; the statuses have one on dispatch_job. Of a status that is rare, the latter
// leads to fewer rows than an endpoint or an owner; of one that most jobs have, it does not.
func (f JobFilter) query(page store.Page, ids *idRange) *jobQuery {
	narrow := f.EndpointID != "" || f.OwnerID != ""
	rare := f.Status == Retrying || f.Status == InFlight || f.Status == DeadLetter
	if rare || f.Status != "" && !narrow {
		q := &jobQuery{id: "j.id", from: "dispatch_job j cross join dispatch_payload p where p.job_id = j.id"}
		return q.filter(f, page, "j.endpoint_id", ids)
	}
	q := &jobQuery{id: "p.job_id", from: "dispatch_payload p cross join dispatch_job j where j.id = p.job_id"}
	return q.filter(f, page, "p.endpoint_id", ids)
}

// queryOfDocuments walks the jobs of documents in a range of ids. They are few, and sorted.
func (f JobFilter) queryOfDocuments(page store.Page, documents idRange) *jobQuery {
	q := &jobQuery{id: "p.job_id", from: "dispatch_payload p cross join dispatch_job j where j.id = p.job_id"}
	q.add("p.document_id >= $", documents.from)
	q.add("p.document_id <= $", documents.to)
	return q.filter(f, page, "p.endpoint_id", nil)
}

func (q *jobQuery) filter(f JobFilter, page store.Page, endpoint string, ids *idRange) *jobQuery {
	if f.EndpointID != "" {
		q.add(endpoint+" = $", f.EndpointID)
	}
	if f.OwnerID != "" {
		q.add("p.owner_id = $", f.OwnerID)
	}
	switch f.Status {
	case "":
	case InFlight:
		q.add("j.lease_until is not null and j.status = $", string(f.Status))
	default: // in the words of the index's own condition
		q.add("j.lease_until is null and j.status = $", string(f.Status))
	}
	if !f.From.IsZero() {
		q.add("j.created_at >= $", f.From.UnixMicro())
		q.add(q.id+" >= $", audit.FirstID(f.From.Add(-clockSkew)))
	}
	if !f.To.IsZero() {
		q.add("j.created_at < $", f.To.UnixMicro())
		q.add(q.id+" < $", audit.FirstID(f.To.Add(clockSkew)))
	}
	if ids != nil {
		q.add(q.id+" >= $", ids.from)
		q.add(q.id+" <= $", ids.to)
	}
	if page.After != "" {
		q.add(q.id+" < $", page.After)
	}
	q.args = append(q.args, page.Limit+1)
	return q
}

// add adds a condition with one argument, whose place is a $.
func (q *jobQuery) add(condition string, value any) {
	q.args = append(q.args, value)
	q.where = append(q.where, strings.ReplaceAll(condition, "$", fmt.Sprintf("$%d", len(q.args))))
}

func (q *jobQuery) text() string {
	text := `select ` + jobColumns + ` from ` + q.from
	for _, condition := range q.where {
		text += ` and ` + condition
	}
	return text + fmt.Sprintf(` order by %s desc limit $%d`, q.id, len(q.args))
}
