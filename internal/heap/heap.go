// Package heap keeps a process with much live data from taking twice as much memory.
//
// Go's collector by itself lets the heap double between collections. That is cheap
// while the heap is small, and half of the machine's memory once it is large. The
// runtime's memory limit bounds it, but a fixed limit makes a process that needs more
// collect all the time. So the limit here follows what is live, and what a storm left
// behind is collected soon after it (see idle).
package heap

import (
	"context"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

const (
	// floor is the limit of a process that needs little: below it nothing changes.
	floor = 384 << 20
	// leastRoom and roomShare are what may be allocated between two collections
	// beyond the floor: a quarter of what is needed, and 64 MiB at least.
	leastRoom = 64 << 20
	roomShare = 4
	// every is how soon the limit follows growth.
	every = time.Second
)

// Bound sets the memory limit of this process and adjusts it until ctx ends. It does
// nothing if the environment has a limit or a percentage of its own (GOMEMLIMIT, GOGC).
func Bound(ctx context.Context) {
	if os.Getenv("GOMEMLIMIT") != "" || os.Getenv("GOGC") != "" {
		return
	}
	defer debug.SetMemoryLimit(debug.SetMemoryLimit(-1)) // as it was
	tick := time.NewTicker(every)
	defer tick.Stop()
	read := newReader()
	quiet := idle{wait: soon}
	for last := int64(0); ; {
		now := read.now()
		if next := limit(now.needed); next != last {
			debug.SetMemoryLimit(next)
			last = next
		}
		if quiet.due(now.cycles, now.live, now.has) {
			runtime.GC()
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// limit is how much memory a process may have that needs so much, in bytes.
func limit(needed int64) int64 {
	return max(floor, needed+max(leastRoom, needed/roomShare))
}

// Names of runtime/metrics.
const (
	live     = "/gc/heap/live:bytes"
	objects  = "/memory/classes/heap/objects:bytes"
	unused   = "/memory/classes/heap/unused:bytes"
	free     = "/memory/classes/heap/free:bytes"
	released = "/memory/classes/heap/released:bytes"
	total    = "/memory/classes/total:bytes"
	cycles   = "/gc/cycles/total:gc-cycles"
)

type reader struct{ samples []metrics.Sample }

func newReader() reader {
	var r reader
	for _, name := range []string{live, objects, unused, free, released, total, cycles} {
		r.samples = append(r.samples, metrics.Sample{Name: name})
	}
	return r
}

// usage is in bytes, but for the number of collections.
type usage struct {
	// needed is what the latest collection left, and what is no heap: stacks mostly.
	needed            int64
	live, has, cycles int64
}

func (r reader) now() usage {
	metrics.Read(r.samples)
	value := make(map[string]int64, len(r.samples))
	for _, s := range r.samples {
		value[s.Name] = int64(s.Value.Uint64())
	}
	return usage{
		needed: value[live] + value[total] - value[objects] - value[unused] - value[free] - value[released],
		live:   value[live], has: value[total] - value[released], cycles: value[cycles],
	}
}
