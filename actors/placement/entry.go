package placement

import (
	"cmp"
	"math"
	"strings"

	"opensessionmanager/messages"
)

// kind is a session type as an array index.
type kind uint8

const (
	virtual kind = iota
	console
	kinds
)

func kindOf(t messages.SessionType) (kind, bool) {
	switch t {
	case messages.SessionType_SESSION_TYPE_VIRTUAL:
		return virtual, true
	case messages.SessionType_SESSION_TYPE_CONSOLE:
		return console, true
	}
	return 0, false
}

// entry is one server: its picture, what is pending, and what follows from both.
type entry struct {
	view    *messages.ServerView
	limited int32 // virtual sessions that the limits count
	pending [kinds]int32
	owners  map[string]int32 // pending virtual sessions by owner; nil if none

	room [kinds]Criterion // Fits, or why no session of that type fits, whoever asks
	rank rank
}

// see takes a picture.
func (e *entry) see(v *messages.ServerView) {
	e.view, e.limited = v, 0
	for _, n := range v.VirtualByOwner {
		e.limited += n
	}
}

// limits are what a server allows; below zero means no limit.
type limits struct {
	virtual, perOwner, console int32
}

func (e *entry) limits() limits {
	facts := e.view.GetFacts()
	l := limits{
		virtual:  facts.GetMaxVirtualSessions(),
		perOwner: facts.GetMaxConcurrentSessionsPerUser(),
		console:  max(0, min(facts.GetMaxConsoleSessions(), 1)),
	}
	if strings.EqualFold(facts.GetOs().GetFamily(), "windows") {
		l.virtual = 0 // console sessions only (contract section 4)
	}
	return l
}

// judge works out room and rank anew.
func (e *entry) judge() {
	l, state := e.limits(), e.state()
	for k := range kinds {
		e.room[k] = state
	}
	if state == Fits {
		e.room[virtual] = seat(l.virtual, e.limited+e.pending[virtual])
		e.room[console] = seat(l.console, e.view.ConsoleSessions+e.pending[console])
		if l.perOwner == 0 {
			e.room[virtual] = TypeNotOffered
		}
	}
	e.rank.set(e, l)
}

func seat(limit, taken int32) Criterion {
	switch {
	case limit == 0:
		return TypeNotOffered
	case limit > 0 && taken >= limit:
		return Full
	}
	return Fits
}

// state is what the server's availability says. Whether it is full depends on
// the type and on what is pending, so that is worked out here.
func (e *entry) state() Criterion {
	if e.view.Availability == messages.Availability_AVAILABILITY_AVAILABLE {
		return Fits
	}
	switch e.view.UnavailabilityReason {
	case messages.UnavailabilityReason_UNAVAILABILITY_REASON_SERVER_FULL:
		return Fits
	case messages.UnavailabilityReason_UNAVAILABILITY_REASON_UNREACHABLE_AGENT:
		return Unreachable
	case messages.UnavailabilityReason_UNAVAILABILITY_REASON_UNHEALTHY_DCV_SERVER:
		return Unhealthy
	case messages.UnavailabilityReason_UNAVAILABILITY_REASON_SERVER_CLOSED:
		return Closed
	case messages.UnavailabilityReason_UNAVAILABILITY_REASON_EXISTING_LOGGED_IN_USER:
		return LoggedInUser
	}
	return StateUnknown
}

// admits says whether a server with room takes one more session of this owner.
func (e *entry) admits(k kind, owner string) bool {
	if k != virtual {
		return true
	}
	limit := e.view.GetFacts().GetMaxConcurrentSessionsPerUser()
	return limit < 0 || e.view.VirtualByOwner[owner]+e.owners[owner] < limit
}

func (e *entry) reserve(k kind, owner string) {
	e.pending[k]++
	if k == virtual {
		if e.owners == nil {
			e.owners = map[string]int32{}
		}
		e.owners[owner]++
	}
}

// settle ends a pending reservation, if there is one.
func (e *entry) settle(k kind, owner string) {
	if k == virtual {
		n := e.owners[owner]
		if n == 0 {
			return
		}
		if n == 1 {
			delete(e.owners, owner)
		} else {
			e.owners[owner] = n - 1
		}
	}
	e.pending[k] = max(0, e.pending[k]-1)
}

// rank is the place of a server among those with room.
type rank struct {
	fill float64 // sessions relative to capacity
	load float64 // one-minute load per CPU
	id   string
	slot uint32
}

func (r *rank) set(e *entry, l limits) {
	cpus := max(1, e.view.GetFacts().GetCpu().GetNumberOfCpus())
	capacity := l.virtual
	if capacity < 0 {
		capacity = cpus
	}
	sessions := e.view.ConsoleSessions + e.view.VirtualSessions + e.pending[console] + e.pending[virtual]
	r.fill = float64(sessions) / float64(max(1, int64(capacity)+int64(l.console)))
	r.load = float64(e.view.GetLoad().GetLoadOneMinute()) / float64(cpus)
	if math.IsNaN(r.load) {
		r.load = math.MaxFloat64 // an order needs numbers; who reports nonsense comes last
	}
}

func before(a, b rank) bool {
	if a.fill != b.fill {
		return a.fill < b.fill
	}
	if a.load != b.load {
		return a.load < b.load
	}
	return cmp.Less(a.id, b.id)
}
