package listen

import (
	"math"
	"net/netip"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
	"github.com/valyala/fasthttp"
)

// CodeThrottled is in X-Error-Code of an answer that a Throttle made.
const CodeThrottled = "TOO_MANY_REQUESTS"

// maxCallers bounds how many callers a Throttle remembers: 3 MB or so. Beyond it the
// one that was quiet for longest is forgotten, and may make a full burst again.
const maxCallers = 16384

// Throttle bounds how often each caller may do something. Its cost does not depend on
// how many there are. Its methods may be called concurrently.
//
// It is the generic cell rate algorithm (ITU-T I.371), which needs one time for each
// caller: when that would be due if the burst were spread evenly. x/time/rate cannot be
// asked without taking, and gives back more than was taken.
type Throttle[K comparable] struct {
	interval, tolerance time.Duration
	refused             atomic.Int64

	mu  sync.Mutex
	due *simplelru.LRU[K, time.Time]
}

// NewThrottle allows perSecond and, after a rest, burst at once.
func NewThrottle[K comparable](perSecond float64, burst int) *Throttle[K] {
	due, err := simplelru.NewLRU[K, time.Time](maxCallers, nil)
	if err != nil { // only of a size below 1
		panic(err)
	}
	interval := max(time.Duration(float64(time.Second)/perSecond), 1)
	return &Throttle[K]{interval: interval, tolerance: interval * time.Duration(max(burst, 1)-1), due: due}
}

// Allow counts what caller does. If that is once too often, nothing is counted and
// wait is the time after which it may.
func (t *Throttle[K]) Allow(caller K, now time.Time) (wait time.Duration, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	due, known := t.due.Get(caller)
	if !known || due.Before(now) {
		due = now
	}
	if wait = due.Sub(now) - t.tolerance; wait > 0 {
		t.refused.Add(1)
		return wait, false
	}
	t.due.Add(caller, due.Add(t.interval))
	return 0, true
}

// Exhausted says whether Allow would refuse, and counts nothing.
func (t *Throttle[K]) Exhausted(caller K, now time.Time) (wait time.Duration, exhausted bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	due, known := t.due.Peek(caller)
	if wait = due.Sub(now) - t.tolerance; !known || wait <= 0 {
		return 0, false
	}
	return wait, true
}

// Refused is how often Allow said no since the start.
func (t *Throttle[K]) Refused() int64 { return t.refused.Load() }

// Throttled puts a Throttle by the caller's address in front of a port. Requests for the
// paths in free are always answered. refused is told of who is sent away; it must bound
// what it makes of that.
func Throttled(next fasthttp.RequestHandler, t *Throttle[netip.Addr], refused func(*fasthttp.RequestCtx), free ...string) fasthttp.RequestHandler {
	return func(rc *fasthttp.RequestCtx) {
		if slices.Contains(free, string(rc.Path())) {
			next(rc)
			return
		}
		if wait, ok := t.Allow(Household(Caller(rc).Addr()), time.Now()); !ok {
			FailThrottled(rc, wait)
			refused(rc)
			return
		}
		next(rc)
	}
}

// ThrottledRefusals puts a Throttle in front of one path, which counts only requests that
// were refused: agents behind one address may all come back at once, and whoever has no
// business there may not try as fast as it can. refused is as for Throttled.
func ThrottledRefusals(next fasthttp.RequestHandler, t *Throttle[netip.Addr], refused func(*fasthttp.RequestCtx), path string) fasthttp.RequestHandler {
	return func(rc *fasthttp.RequestCtx) {
		if string(rc.Path()) != path {
			next(rc)
			return
		}
		caller := Household(Caller(rc).Addr())
		if wait, over := t.Exhausted(caller, time.Now()); over {
			t.refused.Add(1)
			FailThrottled(rc, wait)
			refused(rc)
			return
		}
		next(rc)
		if status := rc.Response.StatusCode(); status >= fasthttp.StatusBadRequest && status < fasthttp.StatusInternalServerError {
			t.Allow(caller, time.Now())
		}
	}
}

// FailThrottled answers 429 and when to come again.
func FailThrottled(rc *fasthttp.RequestCtx, wait time.Duration) {
	Fail(rc, fasthttp.StatusTooManyRequests, CodeThrottled, "Too many requests")
	rc.Response.Header.Set(fasthttp.HeaderRetryAfter, strconv.Itoa(max(1, int(math.Ceil(wait.Seconds())))))
}

// Household is who is counted together: an IPv4 address, or the /64 of an IPv6 address,
// out of which one machine can take as many as it likes.
func Household(a netip.Addr) netip.Addr {
	if !a.Is6() || a.Is4In6() {
		return a.Unmap()
	}
	network, err := a.WithZone("").Prefix(64)
	if err != nil { // an IPv6 address has 128 bits
		return a
	}
	return network.Addr()
}
