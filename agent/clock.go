package agent

import (
	"errors"
	"time"
)

var (
	errNoAck = errors.New("agent: the broker does not confirm reports")
	errDeaf  = errors.New("agent: the broker does not answer pings")
	errSlept = errors.New("agent: the host was suspended")
)

// suspendGap is how far the wall clock may run ahead of the monotonic clock
// between two looks. Setting the clock by less is nothing to worry about; by more
// costs one reconnection, which is harmless (expectation F16).
const suspendGap = 10 * time.Second

// suspendDetector notices that the host slept: the monotonic clock stands still
// in suspend and hibernation while the wall clock goes on. A socket from before is
// probably dead although it looks established (expectations C2, F7).
type suspendDetector struct {
	wall   time.Time
	steady time.Duration
}

// slept reports whether the host slept since the previous call. wall is the time
// of day, steady any monotonic clock's reading.
func (d *suspendDetector) slept(wall time.Time, steady time.Duration) bool {
	wall = wall.Round(0) // compare times of day, not Go's monotonic reading
	first := d.wall.IsZero()
	ahead := wall.Sub(d.wall) - (steady - d.steady)
	d.wall, d.steady = wall, steady
	return !first && ahead > suspendGap
}

// liveness judges a connection that still looks established. What the broker sends does
// not prove that it hears us: where only our direction is dead its pings may still come
// for a while, and our side would count the silence from the last of them (F6). Only an
// answer proves it.
type liveness struct {
	patience time.Duration // for the confirmation of a report
	suspend  suspendDetector
	waiting  bool
	since    time.Duration // the oldest unconfirmed report

	pong    time.Duration // for an answer to a ping
	crowded time.Duration // for one that stands behind much else, sent or received
	asking  bool
	asked   time.Duration // the oldest unanswered ping
	much    bool          // was since the latest answer
}

// muchBytes is what a slow line may need longer for than a ping may take.
const muchBytes = 64 << 10

func (v *liveness) moved(bytes int) { v.much = v.much || bytes > muchBytes }

func (v *liveness) pinged(now time.Duration) {
	if !v.asking {
		v.asking, v.asked = true, now
	}
}

// ponged takes when the latest answer came.
func (v *liveness) ponged(at time.Duration) {
	if v.asking && at >= v.asked {
		v.asking, v.much = false, false
	}
}

func (v *liveness) reported(now time.Duration) {
	if !v.waiting {
		v.waiting, v.since = true, now
	}
}

func (v *liveness) acked() { v.waiting = false }

func (v *liveness) look(wall time.Time, now time.Duration) error {
	if v.suspend.slept(wall, now) {
		return errSlept
	}
	if v.waiting && now-v.since > v.patience {
		return errNoAck
	}
	patience := v.pong
	if v.much {
		patience = max(v.pong, v.crowded)
	}
	if v.asking && now-v.asked > patience {
		return errDeaf
	}
	return nil
}
