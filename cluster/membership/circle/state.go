package circle

import (
	"context"
	"errors"
	"maps"
	"slices"
	"syscall"
	"time"

	"opensessionmanager/cluster/membership"
)

// Bounds of what is remembered.
const (
	maxKnown  = 512              // addresses
	maxRumour = maxKnown / 2     // of them those that no broker vouched for and where none answered
	forget    = 5 * time.Minute  // an address that nobody names and nobody answers at
	goneTime  = 30 * time.Second // how long a dead broker's ID is remembered
	downPause = time.Second      // between hellos to where nobody listens
	selfPause = 5 * time.Second  // between hellos to another address of this broker: it may move
	sayAgain  = 30 * time.Second // between two lines about the same trouble
)

// state is what a Circle knows, guarded by its mutex.
type state struct {
	peers    map[string]*peer // by address
	gone     map[string]time.Time
	complete bool
	started  time.Time
	settled  bool  // it has looked everywhere once
	unable   bool  // it may not lead
	sick     error // why it should not
	since    int64 // seniority, 0 until settled
	leaving  bool
	ticked   time.Time
	began    time.Time
	said     time.Time // the latest line about what is waited for

	role     Role // Alive and Gone are filled in by present
	told     Role
	acting   context.Context // ends with the role
	change   context.CancelFunc
	changed  chan struct{} // closed when the role changes
	memory   *membership.Memory
	line     *membership.Line
	document []byte // the newest view known
	permit   error  // why this broker might not act when it last decided
}

// peer is one address and what is known of it.
type peer struct {
	address string
	first   time.Time // when it was named first
	named   time.Time // when the finder or another broker named it last
	listed  bool      // the finder names it now
	self    bool
	said    hello
	at      time.Time // when its latest answer was asked for
	err     error     // of the latest exchange; nil: answered
	asked   bool      // an exchange ended since the start, or since we slept
	down    bool      // nobody listens there
	busy    bool
	next    time.Time
	warned  time.Time
}

var errNotAsked = errors.New("not asked yet")

func newState() state {
	s := state{peers: map[string]*peer{}, gone: map[string]time.Time{}, changed: make(chan struct{}), permit: ErrNoLeader, unable: true}
	s.acting, s.change = context.WithCancel(context.Background())
	return s
}

// alive: it answered lately, and does not go.
func (p *peer) alive(now time.Time, lease time.Duration) bool {
	return p.within(now, 2*lease)
}

func (p *peer) within(now time.Time, window time.Duration) bool {
	return !p.self && !p.down && !p.at.IsZero() && age(now, p.at) <= window && !p.said.Leaving
}

// know takes the addresses where brokers may be.
func (c *Circle) know(addresses []string, complete bool, now time.Time) {
	c.complete = complete
	if c.started.IsZero() {
		c.began, c.started = now, now
	}
	for _, p := range c.peers {
		p.listed = false
	}
	for _, a := range addresses { // before room is made for new ones
		if p := c.peers[a]; p != nil {
			p.listed = true
		}
	}
	for _, a := range addresses {
		c.name(a, complete, now)
		if p := c.peers[a]; p != nil {
			p.listed = true
		}
	}
	maps.DeleteFunc(c.peers, func(_ string, p *peer) bool {
		old := now.Sub(p.named) > forget || p.at.IsZero() && now.Sub(p.named) > goneTime
		return !p.listed && !p.busy && old && !p.alive(now, c.cfg.Lease)
	})
	maps.DeleteFunc(c.gone, func(_ string, at time.Time) bool { return now.Sub(at) > goneTime })
}

// name remembers an address. Those that an operator or a broker vouches for find room also
// when others are made up by the hundred.
func (c *Circle) name(address string, vouched bool, now time.Time) {
	if p := c.peers[address]; p != nil {
		p.named = now
		return
	}
	if CheckAddress(address) != nil {
		return
	}
	rumours := 0
	for _, p := range c.peers {
		if p.at.IsZero() && !p.self {
			rumours++
		}
	}
	if len(c.peers) >= maxKnown || !vouched && rumours >= maxRumour {
		if !c.makeRoom() {
			return
		}
	}
	c.peers[address] = &peer{address: address, first: now, named: now, self: address == c.address, asked: address == c.address, err: errNotAsked}
}

// makeRoom forgets an address that nobody names now and where nobody ever answered.
func (c *Circle) makeRoom() bool {
	for a, p := range c.peers {
		if p.at.IsZero() && !p.self && !p.busy && !p.listed {
			delete(c.peers, a)
			return true
		}
	}
	return false
}

// due are the addresses to say hello to now.
func (c *Circle) due(now time.Time) []*peer {
	var all []*peer
	for _, p := range c.peers {
		if p.address != c.address && !p.busy && !now.Before(p.next) {
			all = append(all, p)
		}
	}
	return all
}

// slept notices that this process stood still: whatever it knew may be over.
func (c *Circle) slept(now time.Time) {
	if !c.ticked.IsZero() && age(now, c.ticked) > c.cfg.Lease {
		for _, p := range c.peers {
			p.asked, p.next = p.self, time.Time{}
		}
	}
	c.ticked = now
}

// heard takes the outcome of an exchange.
func (c *Circle) heard(p *peer, answer hello, err error, asked time.Time) {
	now := c.cfg.Now()
	p.busy, p.asked, p.err = false, true, err
	p.next = now.Add(c.cfg.Beat)
	if err != nil {
		switch {
		case p.alive(now, c.cfg.Lease):
			p.next = now.Add(c.cfg.Beat / 5) // did it die, or only the connection?
		case p.at.IsZero() && !c.complete:
			p.next = now.Add(2 * c.cfg.Lease) // who is there greets us
		}
		if p.down = errors.Is(err, syscall.ECONNREFUSED); p.down {
			p.self = false
			c.bury(p.said.ID, now)
			p.next = now.Add(downPause)
		}
		c.complain(p, now)
		return
	}
	if answer.ID == c.self {
		p.self, p.down, p.said, p.at = true, false, hello{}, time.Time{}
		p.next = now.Add(selfPause)
		return
	}
	if p.said.ID != answer.ID {
		c.bury(p.said.ID, now) // another process has its place
	}
	p.self, p.down = false, answer.Leaving
	if answer.Leaving {
		c.bury(answer.ID, now)
	}
	p.said, p.at = answer, asked
	for _, a := range answer.Peers {
		c.name(a, true, now)
	}
}

func (c *Circle) bury(id string, now time.Time) {
	if id == "" {
		return
	}
	for _, p := range c.peers { // it may be known by two addresses
		if p.said.ID == id && p.err == nil && !p.down && !p.said.Leaving {
			return
		}
	}
	if len(c.gone) < maxKnown {
		c.gone[id] = now
	}
}

// complain tells an operator of a broker that refuses us, now and then.
func (c *Circle) complain(p *peer, now time.Time) {
	if errors.Is(p.err, ErrOtherAuthority) && now.Sub(p.warned) > sayAgain {
		p.warned = now
		c.log.Error("what answers at the address of a broker is not one of this fleet", "address", p.address, "error", p.err)
	}
}

// present is the role with who answers.
func (c *Circle) present() Role {
	r, now := c.role, c.cfg.Now()
	for _, p := range c.peers {
		if p.alive(now, c.cfg.Lease) && !slices.Contains(r.Alive, p.said.ID) {
			r.Alive = append(r.Alive, p.said.ID)
		}
	}
	r.Gone = slices.Sorted(maps.Keys(c.gone))
	slices.Sort(r.Alive)
	return r
}

func same(a, b Role) bool {
	return a.Self == b.Self && a.Leader == b.Leader && a.Term == b.Term && slices.Equal(a.Alive, b.Alive) && slices.Equal(a.Gone, b.Gone)
}

func (c *Circle) aliveAddresses() []string {
	var all []string
	for _, p := range c.peers {
		if p.alive(c.cfg.Now(), c.cfg.Lease) {
			all = append(all, p.address)
		}
	}
	return all
}

// others are the hellos of all that answer, one for each broker.
func (c *Circle) others(now time.Time) []hello {
	newest := map[string]*peer{}
	for _, p := range c.peers {
		if best := newest[p.said.ID]; p.alive(now, c.cfg.Lease) && (best == nil || p.at.After(best.at)) {
			newest[p.said.ID] = p
		}
	}
	all := make([]hello, 0, len(newest))
	for _, p := range newest {
		all = append(all, p.said)
	}
	return all
}

// hello is what this broker says now.
func (c *Circle) hello(now time.Time) hello {
	h := hello{ID: c.self, Address: c.address, Since: c.since, Term: c.role.Term, Leader: c.role.Leader, Leaving: c.leaving,
		Epoch: membership.Epoch(c.document), Unable: c.unable, Sick: c.sick != nil}
	if c.role.Leader == c.self {
		h.Followers = 1
	}
	for _, p := range c.peers {
		if !p.alive(now, c.cfg.Lease) {
			continue
		}
		if len(h.Peers) < maxPeers {
			h.Peers = append(h.Peers, p.address)
		}
		switch {
		case p.said.ID == c.role.Leader:
			h.Heard = p.err == nil && age(now, p.at) <= c.cfg.Lease
		case c.role.Leader == c.self && p.said.Leader == c.self:
			h.Followers++
		}
	}
	slices.Sort(h.Peers)
	return h
}
