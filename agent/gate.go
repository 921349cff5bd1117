package agent

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"

	"opensessionmanager/agent/driver"
	"opensessionmanager/messages"
)

// Session types on the agent protocol.
const (
	typeConsole = "console"
	typeVirtual = "virtual"
)

// doubtful is how long a slot stays taken after a create whose outcome is unknown:
// the server may still be at it.
const doubtful = time.Minute

// gate admits creates within the host's limits. It counts what is really there
// plus what was admitted and cannot be seen yet, so that parallel creates cannot
// pass together.
type gate struct {
	limits Limits
	now    func() time.Time
	turn   chan struct{} // guards held, over a call to the driver
	held   map[string]slot
	made   map[string]bool // sessions that were admitted here and are there
}

// slot is an admitted create that the DCV server may not show yet.
type slot struct {
	kind, owner string
	until       time.Time // zero: until settled
}

func newGate(limits Limits) *gate {
	return &gate{limits: limits, now: time.Now, turn: make(chan struct{}, 1)}
}

// admit takes a slot for the session, or returns it if it is there already, or
// says why there is no room (driver.ErrLimit). list tells what is there now.
func (g *gate) admit(
	ctx context.Context,
	spec *messages.CreateSessionRequest,
	list func(context.Context) ([]*messages.DcvSession, error),
) (*messages.DcvSession, error) {
	if err := g.lock(ctx); err != nil {
		return nil, err
	}
	defer g.unlock()
	present, err := list(ctx)
	if err != nil {
		return nil, err
	}
	for id, s := range g.held {
		if !s.until.IsZero() && g.now().After(s.until) {
			delete(g.held, id)
		}
	}
	for _, s := range present {
		if s.GetId() == spec.GetSessionId() {
			return s, nil
		}
	}
	if err := g.limits.room(g.counted(present), g.held, spec); err != nil {
		return nil, err
	}
	if g.held == nil {
		g.held = make(map[string]slot)
	}
	g.held[spec.GetSessionId()] = slot{kind: spec.GetType(), owner: spec.GetOwner()}
	return nil, nil
}

// settle gives the slot back once the create is over: the session is listed from
// now on, or will never be, or nobody knows.
func (g *gate) settle(id string, known bool) {
	g.turn <- struct{}{}
	defer g.unlock()
	if s, found := g.held[id]; found && !known {
		s.until = g.now().Add(doubtful)
		g.held[id] = s
		return
	}
	delete(g.held, id)
	if g.made == nil {
		g.made = make(map[string]bool)
	}
	g.made[id] = true // a failed one is forgotten at the next look
}

func (g *gate) lock(ctx context.Context) error {
	select {
	case g.turn <- struct{}{}:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("%w: waiting to be admitted", driver.ErrTimeout)
	}
}

func (g *gate) unlock() { <-g.turn }

// room reports whether one more session fits beside those present and held.
func (l Limits) room(present []*messages.DcvSession, held map[string]slot, spec *messages.CreateSessionRequest) error {
	var console, virtual, owned int32
	count := func(kind, owner string) {
		switch {
		case kind == typeConsole:
			console++
		default:
			virtual++
			if owner == spec.GetOwner() {
				owned++
			}
		}
	}
	for _, s := range present {
		if _, twice := held[s.GetId()]; !twice {
			count(s.GetType(), s.GetOwner())
		}
	}
	for id, s := range held {
		if id != spec.GetSessionId() { // a slot kept in doubt is this session's own
			count(s.kind, s.owner)
		}
	}
	if spec.GetType() == typeConsole {
		return within("console sessions", console, l.MaxConsole)
	}
	if err := within("virtual sessions", virtual, l.MaxVirtual); err != nil {
		return err
	}
	return within("virtual sessions of this owner", owned, l.MaxPerUser)
}

// counted leaves out what the limits do not count: virtual sessions that somebody made
// on the host (contract section 4). Ours are those admitted here and, after a restart
// of the agent, those with the UUIDs that brokers give. One console session is all a
// host has, whoever made it.
func (g *gate) counted(present []*messages.DcvSession) []*messages.DcvSession {
	made := make(map[string]bool, len(present))
	var counted []*messages.DcvSession
	for _, s := range present {
		_, admitted := g.held[s.GetId()]
		if admitted || g.made[s.GetId()] || uuid.Validate(s.GetId()) == nil {
			made[s.GetId()] = true
		} else if s.GetType() != typeConsole {
			continue
		}
		counted = append(counted, s)
	}
	g.made = made
	return counted
}

func within(what string, present, limit int32) error {
	if limit < 0 || present < limit {
		return nil
	}
	return fmt.Errorf("%w: %d of %d %s", driver.ErrLimit, present, limit, what)
}
