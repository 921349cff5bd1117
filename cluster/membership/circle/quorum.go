package circle

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// seat is one of the addresses that are known to be all.
type seat struct {
	address string
	alive   bool   // it answers, or is this broker
	down    bool   // nobody listens there: no broker goes on behind it
	trouble string // why it does not answer
}

// quorum is nil if this side may act. What does not answer may go on without us; of
// those that may, this side must have more than half, or half with the lowest address.
// Fewer than three have no majority worth the name: there both sides go on.
func quorum(seats []seat) error {
	if len(seats) < 3 {
		return nil
	}
	slices.SortFunc(seats, func(a, b seat) int { return strings.Compare(a.address, b.address) })
	var missing []string
	eligible, alive, first := 0, 0, false
	for _, s := range seats {
		if s.down {
			continue
		}
		if eligible++; eligible == 1 {
			first = s.alive
		}
		if s.alive {
			alive++
		} else if len(missing) < 3 {
			missing = append(missing, s.address+" ("+s.trouble+")")
		}
	}
	if 2*alive > eligible || 2*alive == eligible && first {
		return nil
	}
	return fmt.Errorf("%w: %d of %d do not answer, such as %s; if they are gone for good, take them out of the list",
		ErrMinority, eligible-alive, len(seats), strings.Join(missing, ", "))
}

// age is the time since then by the monotonic or the wall clock, whichever says more:
// the former stands still while a virtual machine is suspended.
func age(now, then time.Time) time.Duration {
	return max(now.Sub(then), now.Round(0).Sub(then.Round(0)))
}
