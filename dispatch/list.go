package dispatch

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

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
		list, err := d.list(ctx, f.query(page, allIDs))
		return store.Cut(list, page, jobID), err
	}
	ids, err := startingWith(f.Q)
	if err != nil {
		return store.List[Job]{}, err
	}
	// Two lists, each by its own index: one with "or" between the columns would go through all jobs.
	ofJobs, err := d.list(ctx, f.query(page, ids))
	if err != nil {
		return store.List[Job]{}, err
	}
	ofDocuments, err := d.list(ctx, f.queryOfDocuments(page, ids))
	if err != nil {
		return store.List[Job]{}, err
	}
	both := append(ofJobs, ofDocuments...)
	slices.SortFunc(both, func(a, b Job) int { return cmp.Compare(b.ID, a.ID) })
	both = slices.CompactFunc(both, func(a, b Job) bool { return a.ID == b.ID })
	return store.Cut(both[:min(len(both), page.Limit+1)], page, jobID), nil
}

func jobID(j Job) string { return j.ID }

func (d *Dispatcher) list(ctx context.Context, q *jobQuery) ([]Job, error) {
	var found []Job
	err := d.log.Store().Read(ctx, func(tx *store.Tx) error {
		return tx.Each(ctx, func(scan func(...any) error) error {
			var job Job
			if err := scan(job.fields()...); err != nil {
				return err
			}
			job.normal()
			found = append(found, job)
			return nil
		}, q.text(), q.args...)
	})
	if err != nil {
		return nil, fmt.Errorf("list jobs: %w", err)
	}
	return found, nil
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

var allIDs = idRange{firstID, lastID}

func (r idRange) and(o idRange) idRange { return idRange{max(r.from, o.from), min(r.to, o.to)} }

// idsBefore are the ids smaller than one, which is not the smallest.
func idsBefore(id string) idRange {
	u, err := uuid.Parse(id)
	for i := len(u) - 1; err == nil && i >= 0; i-- {
		if u[i]--; u[i] != 0xff {
			break
		}
	}
	return idRange{firstID, u.String()}
}

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

// ids are those that a page of a list can have, by their time and what came before. A job's time is the
// database's and its id's the server's, so this is not exact at the ends.
func (f JobFilter) ids(page store.Page) idRange {
	r := allIDs
	if !f.From.IsZero() {
		r.from = audit.FirstID(f.From.Add(-clockSkew))
	}
	if !f.To.IsZero() {
		r.to = audit.FirstID(f.To.Add(clockSkew))
	}
	if page.After != "" {
		r = r.and(idsBefore(page.After))
	}
	return r
}

// jobQuery is a list's SQL while it is put together. It walks one table, by the index whose order is
// what is asked for and then the id, and stops when the page is full. What is to be checked in the other
// table is a subquery for one row.
//
// A planner takes every mix of jobs to be even. With "endpoint_id = $1 order by job_id", or with a join,
// it would go through all jobs from the newest on, to meet enough that fit: so the order names both
// columns, and the range is one of pairs, which that one index alone can serve.
type jobQuery struct {
	table string // which is walked, with its letter
	order []string
	where []string
	args  []any
}

const (
	jobs     = "dispatch_job j"
	payloads = "dispatch_payload p"
)

// walk goes down an index of a table from its end: of the rows whose column has a value, those of a
// range of ids. No column is all rows.
func walk(table, column string, value any, ids idRange) *jobQuery {
	q := &jobQuery{table: table, order: []string{"p.job_id"}}
	if table == jobs {
		q.order = []string{"j.id"}
	}
	if column == "" {
		q.add(q.order[0]+" >= $", ids.from)
		q.add(q.order[0]+" <= $", ids.to)
		return q
	}
	q.order = append([]string{column}, q.order...)
	key := "(" + strings.Join(q.order, ", ") + ")"
	q.add(key+" >= ($, $)", value, ids.from)
	q.add(key+" <= ($, $)", value, ids.to)
	return q
}

// sortFew goes through the few rows of a table that a condition names, and sorts those of a range of ids.
// The key is written in a way that keeps its index out of it.
func sortFew(table, key string, ids idRange, condition string, values ...any) *jobQuery {
	key += ` || ''`
	q := &jobQuery{table: table, order: []string{key}}
	q.add(condition, values...)
	q.add(key+" >= $", ids.from)
	q.add(key+" <= $", ids.to)
	return q
}

// query finds the jobs of a filter. What never changes about a job has its indexes on dispatch_payload,
// which is written once; the statuses have one on dispatch_job. Of a status that is rare, the latter
// leads to fewer rows than an endpoint or an owner; of one that most jobs have, it does not.
func (f JobFilter) query(page store.Page, ids idRange) *jobQuery {
	ids = ids.and(f.ids(page))
	rare := f.Status == Retrying || f.Status == DeadLetter
	var q *jobQuery
	switch {
	case f.Status == InFlight: // as many as all servers send at once
		q = sortFew(jobs, "j.id", ids, "j.lease_until is not null and j.status = $", string(f.Status))
	case rare, f.Status != "" && f.EndpointID == "" && f.OwnerID == "":
		q = walk(jobs, "j.status", string(f.Status), ids)
		q.where = append(q.where, "j.lease_until is null") // the index's own condition
	case f.OwnerID != "":
		q = walk(payloads, "p.owner_id", f.OwnerID, ids)
		q.where = append(q.where, "p.owner_id is not null")
	case f.EndpointID != "":
		q = walk(payloads, "p.endpoint_id", f.EndpointID, ids)
	default:
		q = walk(payloads, "", nil, ids)
	}
	return q.check(f, page)
}

// queryOfDocuments finds the jobs of documents in a range of ids.
func (f JobFilter) queryOfDocuments(page store.Page, documents idRange) *jobQuery {
	return sortFew(payloads, "p.job_id", f.ids(page), "p.document_id >= $ and p.document_id <= $", documents.from, documents.to).check(f, page)
}

// check adds the filter to what is walked, whatever of it that has seen to.
func (q *jobQuery) check(f JobFilter, page store.Page) *jobQuery {
	ofJob := func(column string) string {
		if q.table == jobs {
			return "j." + column
		}
		return "(select j." + column + " from dispatch_job j where j.id = p.job_id)"
	}
	ofPayload := func(column string) string {
		if q.table == payloads {
			return "p." + column
		}
		return "(select p." + column + " from dispatch_payload p where p.job_id = j.id)"
	}
	for _, c := range []struct {
		asked     bool
		condition string
		value     any
	}{
		{f.Status != "" && q.table == payloads, ofJob("status") + " = $", string(f.Status)},
		{f.OwnerID != "" && q.order[0] != "p.owner_id", ofPayload("owner_id") + " = $", f.OwnerID},
		{f.EndpointID != "" && q.order[0] != "p.endpoint_id", q.table[len(q.table)-1:] + ".endpoint_id = $", f.EndpointID},
		{!f.From.IsZero(), ofJob("created_at") + " >= $", f.From.UnixMicro()},
		{!f.To.IsZero(), ofJob("created_at") + " < $", f.To.UnixMicro()},
	} {
		if c.asked {
			q.add(c.condition, c.value)
		}
	}
	q.args = append(q.args, page.Limit+1)
	return q
}

// add adds a condition, in which each $ is the place of an argument.
func (q *jobQuery) add(condition string, values ...any) {
	for _, value := range values {
		q.args = append(q.args, value)
		condition = strings.Replace(condition, "$", fmt.Sprintf("#%d", len(q.args)), 1)
	}
	q.where = append(q.where, strings.ReplaceAll(condition, "#", "$"))
}

// pageText is the statement that finds the ids.
func (q *jobQuery) pageText() string {
	order := strings.Join(q.order, " desc, ") + " desc"
	return `select ` + q.order[len(q.order)-1] + ` from ` + q.table + ` where ` + strings.Join(q.where, " and ") +
		` order by ` + order + fmt.Sprintf(` limit $%d`, len(q.args))
}

// text is the statement that gives their jobs.
func (q *jobQuery) text() string {
	return `with page (id) as materialized (` + q.pageText() + `)
		select ` + jobColumns + `
		  from page cross join dispatch_job j cross join dispatch_payload p
		 where j.id = page.id and p.job_id = page.id
		 order by page.id desc`
}
