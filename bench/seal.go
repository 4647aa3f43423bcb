package bench

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"
)

// sealEvents is how many events are sealed.
const sealEvents = 100_000

// Sealed is what sealing a number of events took, and then proving some of them.
type Sealed struct {
	Took   time.Duration
	Proofs []time.Duration
	Bytes  int64 // of an event with its indexes and its place in the log; 0: not measured
}

// measureSeal is how fast events that wait are sealed, in a database of their own, and how long a proof
// takes. The floor is what the arithmetic alone allows: one HMAC and one leaf hash of an envelope's size on
// one core, without a database.
func measureSeal(ctx context.Context, o Options, name, dir string) (figures []figure, err error) {
	databaseURL := "sqlite:" + filepath.Join(dir, "seal.db")
	if name == "postgres" {
		var drop func() error
		if databaseURL, drop, err = scratchDatabase(ctx, o.Postgres); err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, drop()) }()
	}
	floor := hashFloor()
	s, err := o.Seal(ctx, databaseURL, sealEvents)
	if err != nil {
		return nil, err
	}
	rate := sealEvents / s.Took.Seconds()
	figures = []figure{
		{name: "floor: HMAC and leaf hash of an envelope", value: perSecond(floor)},
		{name: fmt.Sprintf("sealing, %d events", sealEvents), value: perSecond(rate), ratio: ratio(rate, floor, "floor"), hold: "hold ≥ 50000/s"},
		{name: "  proof p50, p99", value: micros(quantile(s.Proofs, 0.5)) + ", " + micros(quantile(s.Proofs, 0.99)), hold: "hold ≤ 1 ms"},
	}
	if s.Bytes > 0 {
		figures = append(figures, figure{name: "  an event stored", value: fmt.Sprintf("%d bytes", s.Bytes), hold: "hold ≤ 800"})
	}
	return figures, nil
}

// hashFloor is how many envelopes a second one core can authenticate and hash.
func hashFloor() float64 {
	envelope, id := make([]byte, 73), []byte(strings.Repeat("x", 36))
	mac := hmac.New(sha256.New, make([]byte, 32))
	start, n := time.Now(), 0
	for time.Since(start) < 300*time.Millisecond {
		for range 1000 {
			mac.Reset()
			mac.Write(id)
			mac.Write(envelope)
			sum := mac.Sum(nil)
			envelope[0] ^= sum[0]
			leaf := sha256.Sum256(append([]byte{0}, envelope...))
			envelope[1] ^= leaf[0]
		}
		n += 1000
	}
	return float64(n) / time.Since(start).Seconds()
}

func micros(d time.Duration) string { return fmt.Sprintf("%d µs", d.Microseconds()) }
