package store

import (
	"crypto/rand"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
)

// NewID makes an id: a UUIDv7 (RFC 9562) in its text form, so that ids made later sort later.
func NewID() string {
	id, _ := NewTimedID()
	return id
}

// NewTimedID makes an id and gives the time that is in it, to the microsecond: of two ids of one
// process, the one that sorts later never has the earlier time, unless the clock was set back.
func NewTimedID() (string, time.Time) {
	var random [8]byte
	_, _ = rand.Read(random[:]) // never fails: crypto/rand ends the program instead
	at := ticks.next(time.Now())
	return formatID(at, random), at.time()
}

func formatID(at tick, random [8]byte) string {
	var id uuid.UUID
	for i := range 6 {
		id[i] = byte(at >> (52 - 8*i)) //nolint:gosec // the low eight bits are meant
	}
	id[6] = 0x70 | byte(at>>8)&0x0f //nolint:gosec // version, and the low four bits
	id[7] = byte(at)                //nolint:gosec // the low eight bits are meant
	copy(id[8:], random[:])
	id[8] = 0x80 | id[8]&0x3f // variant
	return id.String()
}

// tick is a time as a UUIDv7 has it: the millisecond of the epoch, and in the lowest 12 bits the
// fraction of it (RFC 9562, section 6.2, method 3), so 244 ns.
type tick int64

func tickOf(t time.Time) tick {
	ns := t.UnixNano()
	return tick((ns/1e6)<<12 | ((ns%1e6)<<12)/1e6)
}

// FirstID is the smallest id of a time's microsecond, so that a span of time is a range of ids. A time
// that no id can have gives the first or the last of all.
func FirstID(t time.Time) string {
	us := min(max(t.UnixMicro(), 0), 1<<48*1000-1)
	return formatID(tick((us/1000)<<12|((us%1000)<<12+999)/1000), [8]byte{}) // the first tick that is not before it
}

// time is the tick's microsecond.
func (t tick) time() time.Time {
	return time.UnixMicro(int64((t>>12)*1000 + ((t&0xfff)*1000)>>12)).UTC()
}

// ticker gives each tick once, in order.
type ticker struct {
	mu   sync.Mutex
	last tick
}

var ticks ticker

// maxAhead is how far the ticks may be ahead of the clock: many are made within one tick, or the clock
// was set back a little. Further back, it is followed, since a wrong time would be written until it
// has caught up.
const maxAhead = tick(1000 << 12) // a second

func (c *ticker) next(now time.Time) tick {
	c.mu.Lock()
	defer c.mu.Unlock()
	t := tickOf(now)
	if t <= c.last && c.last-t < maxAhead {
		t = c.last + 1
	}
	c.last = t
	return t
}

// ValidID tells whether a text has an id's form, before a database is asked for it.
func ValidID(id string) bool {
	return len(id) == 36 && uuid.Validate(id) == nil && strings.ToLower(id) == id
}
