package heap

const (
	// soon is the wait for a collection, in seconds, after one that allocations made
	// necessary; late is the runtime's own.
	soon, late = 10, 120
	// worthwhile is how much memory a process must have before it is worth the work.
	worthwhile = 128 << 20
)

// idle says when to collect although nothing is allocated: after a storm, when the
// runtime would keep for two minutes what nobody uses any more. While that finds
// nothing the wait grows to the runtime's, so that a large broker with little to do
// does not collect in vain.
type idle struct {
	cycles  int64
	live    int64
	seconds int // since the last collection
	wait    int
	asked   bool // the next collection was asked for here
}

// due is asked once a second, with the number of collections until now, what the last
// of them found live, and how much memory the process has, in bytes.
func (i *idle) due(cycles, live, has int64) bool {
	if cycles != i.cycles {
		if inVain := i.asked && live > i.live-i.live/4; inVain {
			i.wait = min(2*i.wait, late)
		} else {
			i.wait = soon
		}
		i.cycles, i.live, i.seconds, i.asked = cycles, live, 0, false
		return false
	}
	i.seconds++
	i.asked = i.seconds >= i.wait && has >= worthwhile
	return i.asked
}
