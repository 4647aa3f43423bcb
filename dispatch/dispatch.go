// Package dispatch brings each accepted job to its endpoint, and keeps trying until the receiver has
// it (runbook §5). An accepted job is never lost; delivery is at least once, and each attempt carries
// the same key, by which a receiver can make it once.
//
// The way of a job: Accept (accept.go) stores it together with whatever else is being accepted.
// The loop (loop.go) stores what has ended and claims what is due, fairly by endpoint, in one
// transaction (complete.go, claim.go). Deliver (deliver.go) sends it, with no transaction open, and
// the answer becomes a verdict (verdict.go). A lease with a token holds a job while it is sent: it
// ends with its server's life, and an answer that comes after it changes nothing (lease.go).
package dispatch

import (
	"log/slog"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/trace"

	"sealpost/audit"
	"sealpost/keys"
)

// Options are a dispatcher's settings, from SPEC §2's DISPATCH_ variables.
type Options struct {
	MaxAttempts          int           // of a job whose endpoint says nothing else
	Backoff              time.Duration // the first wait; it doubles up to an hour
	Timeout              time.Duration // of one attempt
	Concurrency          int           // deliveries in flight on this server
	EndpointConcurrency  int           // leases at one endpoint, over all servers
	PayloadRetention     time.Duration // how long the payloads of ended jobs are kept; 0: for ever
	AllowPrivateNetworks bool
	AllowedNetworks      []netip.Prefix
	Server               string // names this installation across restarts; "" where it has no name
	Logger               *slog.Logger
	Tracer               trace.Tracer // nil: attempts are no spans
}

// Dispatcher accepts jobs and delivers them. Accepting works without Run.
type Dispatcher struct {
	log       *audit.Log
	data      *keys.Ring
	o         Options
	jitter    func(time.Duration) time.Duration // fullJitter
	breakers  breakerRules
	transport *http.Transport
	accept    acceptQueue

	wake     chan struct{} // there may be something to claim
	running  atomic.Bool
	lastTurn atomic.Int64 // when the loop last went round without an error, in microseconds

	turning sync.Mutex // held while a turn's claims are not yet known to be in flight

	mu       sync.Mutex
	inFlight map[*delivery]bool // leased here: being sent, or answered and not yet stored
	sending  int                // of those, how many are being sent
	ended    []*delivery        // answered, waiting to be stored
	load     load               // what is being sent where
	cursor   string             // the endpoint at which the last claim stopped
	doubt    time.Time          // until then leases may be ours unawares: a commit's outcome is not known

	endpoints endpointCache
	metrics   *metrics
	trials    chan struct{} // under way
	changes   changes       // who watches jobs
}

// New makes a dispatcher on an audit log's database. data is the ring of DATA_ENCRYPTION_KEY.
func New(log *audit.Log, data *keys.Ring, o Options) *Dispatcher {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	d := &Dispatcher{
		log: log, data: data, o: o,
		jitter:    fullJitter,
		breakers:  defaultBreakers,
		transport: newTransport(o), wake: make(chan struct{}, 1),
		trials:   make(chan struct{}, maxTrials),
		inFlight: map[*delivery]bool{}, load: newLoad(o.Concurrency),
		endpoints: endpointCache{entries: map[string]cachedSecrets{}, failed: map[string]time.Time{}},
	}
	d.accept.d = d
	d.metrics = newMetrics(d)
	log.CountBy(actDied, "reason")
	d.changes.wake = make(chan struct{}, 1)
	return d
}

// Wake tells the loop that there may be something to claim. It never waits.
func (d *Dispatcher) Wake() {
	select {
	case d.wake <- struct{}{}:
	default:
	}
}
