package circle

import (
	"context"
	"fmt"
	"time"

	"opensessionmanager/cluster/membership"
)

// decide follows or leads as the situation demands.
func (c *Circle) decide(now time.Time) {
	others := c.others(now)
	c.settle(others, now)
	gone := make(map[string]bool, len(c.gone))
	for id := range c.gone {
		gone[id] = true
	}
	c.sick = c.cfg.Health()
	c.unable = !c.settled || c.complete && quorum(c.seats(now, 2*c.cfg.Lease)) != nil // who may not act must not lead
	pick := elect(c.hello(now), others, gone)
	switch {
	case pick.claim:
		c.claim(pick.term, others, now)
	case pick.leader != c.role.Leader || pick.leader != "" && pick.term != c.role.Term:
		c.follow(pick, now)
	}
	c.permit = c.judge(now)
	c.waiting(now)
}

// settle ends the look around: every address known soon after the start has been asked, and
// none of those the operator named turned out to be of another fleet. What is named later
// is not waited for: whoever can announce addresses could go on for ever.
func (c *Circle) settle(others []hello, now time.Time) {
	if c.settled {
		return
	}
	youngest := int64(0)
	for _, p := range c.peers {
		if !p.asked && p.first.Sub(c.started) <= 2*c.cfg.Lease || c.complete && p.listed && isForeign(p.err) {
			return
		}
	}
	for _, h := range others {
		youngest = max(youngest, h.Since)
	}
	c.settled, c.since = true, max(now.UnixMilli(), youngest+1)
}

// claim begins to lead: with the newest view there is, in an epoch that is above every
// one that somebody may have seen.
func (c *Circle) claim(term uint64, others []hello, now time.Time) {
	above := uint64(0)
	for _, h := range others {
		above = max(above, h.Epoch)
	}
	memory := membership.NewMemory(c.cfg.TTL)
	if c.document != nil {
		next, err := membership.Succeed(c.document, above)
		if err != nil {
			c.log.Error("the fleet's view cannot be carried on; it is made anew", "error", err)
		} else {
			c.document = next
			memory.Put(next)
		}
	}
	c.enter(Role{Self: c.self, Leader: c.self, Term: term})
	c.memory, c.line = memory, memory.Connect()
	c.log.Info("this broker leads the others", "term", term, "others", len(others), "epoch", membership.Epoch(c.document))
}

// follow has somebody else lead, or nobody for now. Who led before becomes the youngest:
// what it knows may be over.
func (c *Circle) follow(pick choice, now time.Time) {
	if c.role.Leader == c.self && c.settled {
		c.since = now.UnixMilli()
		for _, h := range c.others(now) {
			c.since = max(c.since, h.Since+1)
		}
		c.log.Warn("this broker leads no more", "term", c.role.Term, "leader", pick.leader, "health", c.sick)
	}
	if pick.leader == "" {
		pick.term = c.role.Term
	} else {
		c.log.Info("another broker leads", "leader", pick.leader, "term", pick.term)
	}
	c.enter(Role{Self: c.self, Leader: pick.leader, Term: pick.term})
}

// enter changes the role; whatever goes on under the former one ends.
func (c *Circle) enter(r Role) {
	c.change()
	c.acting, c.change = context.WithCancel(c.life)
	c.role, c.memory, c.line = r, nil, nil
	close(c.changed)
	c.changed = make(chan struct{})
}

// judge says whether this broker, if it leads, may act. Others count while they answered
// within a lease: those that a leader does not hear of for longer do not count as followers
// of its store, and what it wrote without them would be nothing to those who go on.
func (c *Circle) judge(now time.Time) error {
	if c.complete {
		if err := quorum(c.seats(now, c.cfg.Lease)); err != nil {
			return err
		}
	}
	if c.role.Leader != c.self {
		return ErrNoLeader
	}
	for _, p := range c.peers {
		if c.complete && p.alive(now, c.cfg.Lease) && p.said.Term > c.role.Term && p.said.Leader != "" {
			return fmt.Errorf("%w in term %d: %s knows of a later one", ErrNoLeader, c.role.Term, p.address)
		}
		if !p.asked && !p.at.IsZero() {
			return fmt.Errorf("%w: %s was not asked since this broker stood still", ErrNoLeader, p.address)
		}
	}
	return nil
}

// seats are the addresses the finder names, and those of brokers that it does not name
// but that answer. Who answered within the window is alive.
func (c *Circle) seats(now time.Time, window time.Duration) []seat {
	var seats []seat
	known := map[string]bool{}
	for _, listed := range []bool{true, false} {
		for _, p := range c.peers {
			alive, id := p.self || p.within(now, window), p.said.ID
			if p.self {
				id = c.self
			}
			if p.listed != listed || !listed && !alive || !p.asked || alive && known[id] {
				continue
			}
			s := seat{address: p.address, alive: alive, down: p.down, trouble: "no answer"}
			if p.err != nil {
				s.trouble = shorten(p.err.Error())
			}
			known[id] = known[id] || alive
			seats = append(seats, s)
		}
	}
	if !known[c.self] {
		seats = append(seats, seat{address: c.address, alive: true})
	}
	return seats
}

// waiting tells an operator now and then what a broker waits for that cannot act.
func (c *Circle) waiting(now time.Time) {
	if c.role.Leader == c.self && c.permit == nil || c.role.Leader != "" && c.role.Leader != c.self {
		if !c.said.IsZero() {
			c.log.Info("this broker is with the others again", "leader", c.role.Leader)
		}
		c.began, c.said = now, time.Time{}
		return
	}
	if now.Sub(c.began) < 2*c.cfg.Lease || !c.said.IsZero() && now.Sub(c.said) < sayAgain {
		return
	}
	c.said = now
	why := c.permit
	for _, p := range c.peers {
		if c.role.Leader == "" && !c.settled && isForeign(p.err) {
			why = fmt.Errorf("%s: %w", p.address, p.err)
		}
	}
	c.log.Error("this broker changes nothing for now", "because", why, "for", now.Sub(c.began).Round(time.Second))
}

// keep remembers the newest view.
func (c *Circle) keep(document []byte) {
	if epoch := membership.Epoch(document); epoch > membership.Epoch(c.document) && epoch <= maxEpoch {
		c.document = document
	}
}

func (c *Circle) newest() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return membership.Epoch(c.document)
}

// Permit is nil while this broker leads and may act: it reaches enough of the others, and
// has asked them since it last stood still.
func (c *Circle) Permit() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.cfg.Now()
	if age(now, c.ticked) > c.cfg.Lease {
		return fmt.Errorf("%w: this broker stood still", ErrNoLeader)
	}
	return c.judge(now)
}
