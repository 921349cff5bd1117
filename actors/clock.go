package actors

import (
	"container/heap"
	"sync"
	"time"
)

// SystemClock is the real Clock: one goroutine and a heap instead of a timer in
// each grain. Deadlines follow the monotonic clock (F16).
type SystemClock struct {
	mu     sync.Mutex
	alarms alarmHeap
	wake   chan struct{}
	done   chan struct{}
	over   sync.WaitGroup
}

type alarm struct {
	at   time.Time
	ring func()
}

// NewSystemClock starts the clock; Close stops it.
func NewSystemClock() *SystemClock {
	c := &SystemClock{wake: make(chan struct{}, 1), done: make(chan struct{})}
	c.over.Go(c.run)
	return c
}

// Now implements Clock.
func (c *SystemClock) Now() time.Time { return time.Now() }

// At implements Clock.
func (c *SystemClock) At(t time.Time, f func()) {
	// A time that was read from the store has no monotonic part: give it one, so
	// that a step of the wall clock does not move it.
	t = time.Now().Add(time.Until(t))
	c.mu.Lock()
	heap.Push(&c.alarms, alarm{t, f})
	first := c.alarms[0].at.Equal(t)
	c.mu.Unlock()
	if first {
		select {
		case c.wake <- struct{}{}:
		default:
		}
	}
}

// Close stops the clock; alarms that have not rung never will.
func (c *SystemClock) Close() {
	close(c.done)
	c.over.Wait()
}

func (c *SystemClock) run() {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		due, wait := c.due(time.Now())
		for _, ring := range due {
			ring()
		}
		timer.Reset(wait)
		select {
		case <-timer.C:
		case <-c.wake:
		case <-c.done:
			return
		}
	}
}

func (c *SystemClock) due(now time.Time) (due []func(), wait time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(c.alarms) > 0 && !c.alarms[0].at.After(now) {
		due = append(due, heap.Pop(&c.alarms).(alarm).ring)
	}
	if len(c.alarms) == 0 {
		return due, time.Hour
	}
	return due, c.alarms[0].at.Sub(now)
}

type alarmHeap []alarm

func (h alarmHeap) Len() int           { return len(h) }
func (h alarmHeap) Less(i, j int) bool { return h[i].at.Before(h[j].at) }
func (h alarmHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *alarmHeap) Push(x any)        { *h = append(*h, x.(alarm)) }
func (h *alarmHeap) Pop() any {
	old := *h
	last := old[len(old)-1]
	old[len(old)-1] = alarm{}
	*h = old[:len(old)-1]
	return last
}
