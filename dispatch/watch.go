package dispatch

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"sealpost/store"
)

// Who watches jobs (the dashboard) is told of changes some moments after they are committed. It must
// cost those who make them nothing: they leave a job's id, in memory and only while somebody watches,
// and go on. A goroutine of the watchers' own collects ids, reads the jobs as they then are, and tells
// everybody. What is too much for that, or for one watcher, becomes a word that something was left out.

// JobChange tells of a job that has changed, as it is now. Resync says instead that changes were left
// out, so that whatever was read before may be old.
type JobChange struct {
	Job    Job
	Resync bool
}

const (
	watchGather  = 50 * time.Millisecond // for how long changes are collected, to be read together
	watchOthers  = time.Second           // how often other servers' changes are looked for
	watchOverlap = 10 * time.Second      // how long a transaction may take, and clocks may differ, before one is missed
	watchJobs    = 256                   // jobs that are told of at a time; for more there is one Resync
	watchBuffer  = 256                   // changes that wait for one watcher
	watchTries   = 3                     // how often a job is looked for whose transaction is still open
)

// changes is who watches, and what they are to be told.
type changes struct {
	watched atomic.Bool

	mu       sync.Mutex
	watchers map[*watcher]bool
	noted    map[string]int // ids of changed jobs, with how often each was looked for
	left     bool           // there were more
	stop     context.CancelFunc
	stopped  chan struct{}

	wake chan struct{}
}

type watcher struct {
	to   chan JobChange
	left bool // it was too slow for some
}

// Watch tells of jobs that change, on this server and on others, until stop is called. It begins with
// a Resync. A watcher that does not keep up misses changes and is told so by a Resync: nobody waits
// for it. The channel is never closed.
func (d *Dispatcher) Watch() (_ <-chan JobChange, stop func()) {
	c := &d.changes
	w := &watcher{to: make(chan JobChange, watchBuffer)}
	w.to <- JobChange{Resync: true}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.watchers) == 0 {
		c.watchers, c.noted, c.left = map[*watcher]bool{}, map[string]int{}, false
		ctx, cancel := context.WithCancel(context.Background())
		stopped := make(chan struct{})
		c.stop, c.stopped = cancel, stopped
		go func() {
			defer close(stopped)
			d.follow(ctx)
		}()
	}
	c.watchers[w] = true
	c.watched.Store(true)
	return w.to, sync.OnceFunc(func() { c.remove(w) })
}

// remove ends a watcher, and with the last one the goroutine.
func (c *changes) remove(w *watcher) {
	c.mu.Lock()
	delete(c.watchers, w)
	last := len(c.watchers) == 0
	stop, stopped := c.stop, c.stopped
	if last {
		c.watched.Store(false)
	}
	c.mu.Unlock()
	if last {
		stop()
		<-stopped
	}
}

// note leaves the id of a job that has changed. It never waits for anything but a short lock.
func (c *changes) note(id string) {
	if !c.watched.Load() {
		return
	}
	c.mu.Lock()
	c.add(id, 0)
	c.mu.Unlock()
	c.kick()
}

// noteTurn leaves the ids of what one turn of the loop has changed.
func (c *changes) noteTurn(ended []*delivery, begun claimed) {
	if !c.watched.Load() || len(ended)+len(begun.jobs)+len(begun.events) == 0 {
		return
	}
	c.mu.Lock()
	for _, list := range [...][]*delivery{ended, begun.jobs} {
		for _, dl := range list {
			c.add(dl.jobID, 0)
		}
	}
	for _, e := range begun.events {
		c.add(e.EntityID, 0)
	}
	c.mu.Unlock()
	c.kick()
}

// noteMany says that jobs have changed, and not which.
func (c *changes) noteMany() {
	if !c.watched.Load() {
		return
	}
	c.mu.Lock()
	c.left = true
	c.mu.Unlock()
	c.kick()
}

// add is note with the lock held.
func (c *changes) add(id string, tries int) {
	switch {
	case id == "":
		c.left = true
	case len(c.noted) < watchJobs:
		c.noted[id] = tries
	default:
		c.left = true
	}
}

func (c *changes) kick() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// follow tells the watchers until ctx ends.
func (d *Dispatcher) follow(ctx context.Context) {
	ticker := time.NewTicker(watchOthers)
	defer ticker.Stop()
	gather := time.NewTimer(watchGather)
	defer gather.Stop()
	others := newOtherServers(d)
	failing := false
	for {
		var err error
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			err = others.look(ctx)
		case <-d.changes.wake:
			gather.Reset(watchGather)
			select {
			case <-ctx.Done():
				return
			case <-gather.C:
			}
		}
		if e := d.tell(ctx); err == nil {
			err = e
		}
		if err != nil && !failing && ctx.Err() == nil {
			d.o.Logger.Warn("changes of jobs cannot be told to who watches them", "error", err)
		}
		failing = err != nil
	}
}

// tell reads what was noted and gives it to every watcher.
func (d *Dispatcher) tell(ctx context.Context) error {
	c := &d.changes
	c.mu.Lock()
	noted, left := c.noted, c.left
	c.noted, c.left = map[string]int{}, false
	c.mu.Unlock()
	jobs, err := d.readNoted(ctx, noted)
	found := make(map[string]bool, len(jobs))
	for _, j := range jobs {
		found[j.ID] = true
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if err != nil {
		c.left = true // when the database answers again
		return err
	}
	for id, tries := range noted { // of a transaction that is not yet committed, or never was
		if !found[id] && tries+1 < watchTries && len(c.noted) < watchJobs/4 {
			c.add(id, tries+1)
		}
	}
	for w := range c.watchers {
		w.left = w.left || left
		for _, j := range jobs {
			w.give(JobChange{Job: j})
		}
		if w.left {
			w.left = false
			w.give(JobChange{Resync: true})
		}
	}
	return nil
}

// give never waits.
func (w *watcher) give(change JobChange) {
	select {
	case w.to <- change:
	default:
		w.left = true
	}
}

func (d *Dispatcher) readNoted(ctx context.Context, noted map[string]int) ([]Job, error) {
	if len(noted) == 0 {
		return nil, nil
	}
	args := make([]any, 0, 2*len(noted))
	for id := range noted {
		args = append(args, id)
	}
	args = store.Padded(args, 0)
	var jobs []Job
	err := d.log.Store().Read(ctx, func(tx *store.Tx) error {
		return tx.Each(ctx, func(scan func(...any) error) error {
			var job Job
			err := scan(job.fields()...)
			job.normal()
			jobs = append(jobs, job)
			return err
		}, `select `+jobColumns+` from dispatch_job j join dispatch_payload p on p.job_id = j.id
		     where j.id in (`+store.Placeholders(1, len(args))+`)`, args...)
	})
	if err != nil {
		return nil, fmt.Errorf("read changed jobs: %w", err)
	}
	return jobs, nil
}

// otherServers finds what other servers have changed: what they tell the audit log, and what they have
// leased, which is no event. On SQLite there are none.
type otherServers struct {
	d     *Dispatcher
	known map[string]bool // events that were told of
	since time.Time       // by the database's clock
}

func newOtherServers(d *Dispatcher) *otherServers { return &otherServers{d: d} }

func (o *otherServers) look(ctx context.Context) error {
	d := o.d
	if d.log.Store().Dialect() == store.SQLite {
		return nil
	}
	notices, err := d.log.Others(ctx, "DispatchJob", time.Now().Add(-watchOverlap), watchJobs)
	if err != nil {
		return err
	}
	leased, err := o.leased(ctx)
	if err != nil {
		return err
	}
	known := make(map[string]bool, len(notices))
	c := &d.changes
	c.mu.Lock()
	defer c.mu.Unlock()
	c.left = c.left || len(notices) == watchJobs
	for _, n := range notices {
		known[n.ID] = true
		if !o.known[n.ID] {
			c.add(n.EntityID, 0)
		}
	}
	o.known = known
	for _, id := range leased {
		c.add(id, 0)
	}
	return nil
}

// leased gives what others have begun to send since it was last asked. There are never more leases than
// all servers can send at once, and they have an index.
func (o *otherServers) leased(ctx context.Context) (ids []string, err error) {
	err = o.d.log.Store().Read(ctx, func(tx *store.Tx) error {
		now, err := tx.Now(ctx)
		if err != nil {
			return err
		}
		since := o.since
		o.since = now.Add(-watchOthers) // its transaction may have taken a while
		if since.IsZero() {
			return nil
		}
		return tx.Each(ctx, func(scan func(...any) error) error {
			var id string
			err := scan(&id)
			ids = append(ids, id)
			return err
		}, `select id from dispatch_job where lease_until is not null and lease_node <> $1 and updated_at > $2 limit $3`,
			o.d.log.Writer(), since.UnixMicro(), watchJobs)
	})
	if err != nil {
		return nil, fmt.Errorf("look for other servers' leases: %w", err)
	}
	return ids, nil
}
