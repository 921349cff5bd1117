package actors

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/stretchr/testify/require"

	"opensessionmanager/actors/roster"
	"opensessionmanager/messages"
	"opensessionmanager/persistence"
	"opensessionmanager/persistence/faulty"
	"opensessionmanager/persistence/memory"
)

// chaos is a broker, its hosts and what has been promised to clients, while
// everything that can go wrong does.
type chaos struct {
	*testing.T
	dice    *rand.Rand
	store   persistence.Store
	failing atomic.Bool
	w       *world
	hosts   []*host
	ids     []string
	log     []string
	asks    sync.WaitGroup

	mu       sync.Mutex
	promised map[string]time.Time // accepted sessions, and when they were last seen not to be over
	ended    map[string]bool      // deletes that were answered with success; false = also by force
	over     map[string]bool      // sessions that were once seen to be over
	lying    bool                 // the store sometimes loses the answer to a write that it made
}

// Promises 1, 5 and 6 hold whatever happens: nothing accepted is absent before its
// time, no server is over-committed, and once the storm is over everything settles.
func TestWorld_KeepsItsPromisesWhateverHappens(t *testing.T) {
	t.Parallel()
	first := uint64(time.Now().UnixNano())
	for i := range uint64(12) {
		t.Run(fmt.Sprint("seed ", first+i), func(t *testing.T) {
			t.Parallel()
			newChaos(t, first+i).storm(120)
		})
	}
}

func newChaos(t *testing.T, seed uint64) *chaos {
	c := &chaos{T: t, dice: rand.New(rand.NewPCG(seed, 0)), lying: seed%2 == 0,
		promised: map[string]time.Time{}, ended: map[string]bool{}, over: map[string]bool{}}
	faults := faulty.Odds{Unavailable: 0.1, RequestLost: 0.1}
	if c.lying {
		faults.AnswerLost = 0.1
	}
	odds := faulty.Seeded(seed, faults)
	c.store = faulty.New(memory.New(), faulty.Config{Decide: func(call faulty.Call) faulty.Fault {
		if !c.failing.Load() {
			return faulty.None
		}
		return odds(call)
	}})
	c.w = worldOver(t, c.store, c.tune)
	for i, limits := range [][2]int32{{2, 2}, {3, 1}, {-1, 2}} {
		h := c.w.host(fmt.Sprint("host", i), limited(limits[0], limits[1]))
		h.gate = true
		h.dial()
		c.hosts = append(c.hosts, h)
	}
	return c
}

func (c *chaos) tune(cfg *Config) { cfg.QueueSize = 5 }

func (c *chaos) storm(steps int) {
	defer func() {
		if c.Failed() {
			for _, line := range c.log {
				c.Log(line)
			}
		}
	}()
	for range steps {
		c.step()
		c.check()
	}
	c.settle()
}

func (c *chaos) step() {
	h := c.hosts[c.dice.IntN(len(c.hosts))]
	switch n := c.dice.IntN(100); {
	case n < 28:
		c.create()
	case n < 40:
		c.delete()
	case n < 48:
		c.note("%s away", h.id)
		h.disconnect()
	case n < 62:
		c.back(h)
	case n < 70:
		h.report()
	case n < 73:
		if running := h.running(); len(running) > 0 {
			id := running[c.dice.IntN(len(running))]
			c.note("%s loses %s", h.id, id)
			h.lose(id)
		}
	case n < 76:
		silent, mute, fail := c.dice.IntN(4) == 0, c.dice.IntN(4) == 0, ""
		if c.dice.IntN(4) == 0 {
			fail = messages.AgentFailed
		}
		c.note("%s silent %v mute %v fail %q", h.id, silent, mute, fail)
		h.set(func(h *host) { h.silent, h.mute, h.fail = silent, mute, fail })
	case n < 79:
		c.failing.Store(!c.failing.Load())
		c.note("store failing %v", c.failing.Load())
	case n < 82:
		c.restart()
	case n < 86:
		c.passivate()
	default:
		d := []time.Duration{100 * time.Millisecond, time.Second, 3 * time.Second, 40 * time.Second, 2 * time.Minute}[c.dice.IntN(5)]
		c.note("clock +%s", d)
		c.w.clock.Advance(d)
	}
	c.breathe()
}

// breathe gives the actors a moment, or none.
func (c *chaos) breathe() {
	if d := time.Duration(c.dice.IntN(3)) * time.Millisecond; d > 0 {
		<-time.After(d)
	}
}

func (c *chaos) note(format string, args ...any) {
	c.log = append(c.log, c.w.clock.Now().Format("15:04:05.000 ")+fmt.Sprintf(format, args...))
}

func (c *chaos) create() {
	id := fmt.Sprint("s-", len(c.ids))
	if len(c.ids) > 0 && c.dice.IntN(6) == 0 {
		id = c.ids[c.dice.IntN(len(c.ids))] // the same request again
	} else {
		c.ids = append(c.ids, id)
	}
	owner := c.owner(id)
	spec := &messages.SessionSpec{Owner: owner, Type: messages.SessionType_SESSION_TYPE_VIRTUAL, EnqueueRequest: len(id)%2 == 0}
	c.ask(id, func(future *actor.PID) {
		c.w.peers.Tell(messages.KindSession, id, &messages.CreateSession{SessionId: id, Spec: spec, RequestDigest: []byte(owner)}, future)
	}, func(view *messages.SessionView, now time.Time) {
		if _, known := c.promised[id]; !known && view.GetState() != deleted { // a repeated request may be answered late in its life
			c.promised[id] = now
		}
	})
	c.note("create %s", id)
}

func (c *chaos) owner(id string) string { return fmt.Sprint("owner", len(id)+int(id[len(id)-1])%3) }

func (c *chaos) delete() {
	if len(c.ids) == 0 {
		return
	}
	id, force := c.ids[c.dice.IntN(len(c.ids))], c.dice.IntN(3) == 0
	c.ask(id, func(future *actor.PID) {
		c.w.peers.Tell(messages.KindSession, id, &messages.DeleteSession{SessionId: id, Owner: c.owner(id), Force: force}, future)
	}, func(v *messages.SessionView, _ time.Time) {
		c.over[id] = c.over[id] || v.GetState() == deleted // its host may show it again before anybody looks
		// Dropped by force it is closed once; then its host is believed (contract 1.6).
		if _, asked := c.ended[id]; force || !asked {
			c.ended[id] = !force
		}
	})
	c.note("delete %s force %v", id, force)
}

// ask sends and notes later whether it was answered with a session.
func (c *chaos) ask(id string, send func(*actor.PID), accepted func(*messages.SessionView, time.Time)) {
	future := actor.NewFuture(c.w.deps.System, 20*time.Second)
	clock := c.w.clock
	send(future.PID())
	c.asks.Go(func() {
		answer, err := future.Result()
		c.mu.Lock()
		defer c.mu.Unlock()
		if view, ok := answer.(*messages.SessionView); err == nil && ok {
			accepted(view, clock.Now())
		}
	})
}

// back brings a host's agent back, sometimes as a new process, sometimes after a boot.
func (c *chaos) back(h *host) {
	h.disconnect()
	switch c.dice.IntN(4) {
	case 0:
		h.restartAgent()
		h.set(func(h *host) { h.sequence = 0 })
	case 1:
		h.restartAgent()
		h.set(func(h *host) {
			h.sequence, h.boot, h.sessions = 0, h.boot+"+", map[string]*messages.DcvSession{}
		})
	}
	c.note("%s back, boot %s", h.id, h.boot)
	h.dialAndReport()
}

// dialAndReport connects and reports once let in; who waits does not hold up the test.
func (h *host) dialAndReport() {
	socket := h.dial()
	go func() {
		select {
		case welcome := <-socket.welcome:
			if welcome.GetResult().GetSuccess() {
				h.report()
			}
		case <-socket.closed:
			h.mu.Lock()
			defer h.mu.Unlock()
			if h.socket == socket {
				h.link = nil
			}
		}
	}()
}

// restart kills the broker and starts another one over the same store.
func (c *chaos) restart() {
	c.note("kill -9")
	for _, h := range c.hosts {
		h.set(func(h *host) { h.link, h.socket = nil, nil })
	}
	c.w.stop()
	failing := c.failing.Swap(false)
	now := c.w.clock.Now()
	c.w = worldOver(c.T, c.store, c.tune, func(*Config) {})
	c.w.clock.Advance(now.Sub(c.w.clock.Now()))
	c.failing.Store(failing)
	for _, h := range c.hosts {
		h.w = c.w
		if c.dice.IntN(3) > 0 {
			h.dialAndReport()
		}
	}
}

func (c *chaos) passivate() {
	for _, id := range c.ids {
		if c.dice.IntN(2) == 0 {
			c.w.peers.passivate(messages.KindSession, id)
		}
	}
}

// passivate is the sweep of idle grains: it wakes nobody.
func (p *localPeers) passivate(kind, id string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if pid := p.grains[kind+"/"+id]; pid != nil {
		p.deps.System.Root.Send(pid, &messages.Passivate{})
	}
}

// check is what holds at every moment.
func (c *chaos) check() {
	c.mu.Lock()
	defer c.mu.Unlock()
	views := c.w.deps.Roster.Snapshot()
	now := c.w.clock.Now()
	for id, alive := range c.promised {
		entry, ok := views.Session(id)
		switch {
		case !ok:
			// What was decided is seen a little later, while the clock leaps.
			require.Greater(c, now.Sub(alive), c.w.deps.Config.Session.KeepDeleted*5/6, "%s was accepted and is absent", id)
		case entry.View.GetState() != deleted:
			c.promised[id] = now
		}
	}
	for _, s := range views.Servers(roster.ServerCursor{}, 0).Servers {
		c.checkRoom(s.View, views.SessionsOn(s.View.GetId()))
	}
}

// checkRoom: no server has more sessions than it may. Sessions that were over and that
// the host showed again count nothing: they are there whether there is room or not.
// With a store that lies about its writes one slot may for a moment be promised twice,
// and the agent has the last word.
func (c *chaos) checkRoom(server *messages.ServerView, sessions []*roster.Session) {
	if c.lying {
		return
	}
	returned, byOwner := 0, map[string]int{}
	for _, s := range sessions {
		id := s.View.GetId()
		if s.View.GetState() == deleted {
			c.over[id] = true
		} else if c.over[id] {
			returned++
			byOwner[s.View.GetOwner()]++
		}
	}
	facts := server.GetFacts()
	if most := int(facts.GetMaxVirtualSessions()); most >= 0 {
		require.LessOrEqual(c, int(server.GetVirtualSessions())-returned, most, "%s is over-committed: %v", server, sessions)
	}
	for owner, n := range server.GetVirtualByOwner() {
		require.LessOrEqual(c, int(n)-byOwner[owner], int(facts.GetMaxConcurrentSessionsPerUser()), "%s has too many of %s", server, owner)
	}
}

// settle ends the storm and waits until nothing moves any more.
func (c *chaos) settle() {
	c.note("calm")
	c.failing.Store(false)
	for _, h := range c.hosts {
		h.set(func(h *host) { h.silent, h.mute, h.fail = false, false, "" })
	}
	rounds := 0
	await(c, "everything to settle", func() error {
		rounds++
		c.w.clock.Advance(time.Second)
		for _, h := range c.hosts {
			h.mu.Lock()
			away := h.link == nil
			h.mu.Unlock()
			switch {
			case away:
				h.dialAndReport()
			case rounds%10 == 0:
				h.report()
			}
		}
		c.check()
		err := c.settled()
		if rounds%300 == 0 {
			c.Log("after ", rounds, " rounds: ", err)
		}
		return err
	})
}

func (c *chaos) settled() error {
	views := c.w.deps.Roster.Snapshot()
	shown := map[string]map[string]bool{}
	for _, s := range views.Sessions(roster.SessionQuery{Limit: 10_000}).Sessions {
		v := s.View
		switch v.GetState() {
		case ready:
			if shown[v.GetServerId()] == nil {
				shown[v.GetServerId()] = map[string]bool{}
			}
			shown[v.GetServerId()][v.GetDcvId()] = true
			c.mu.Lock()
			over := c.ended[v.GetId()]
			c.mu.Unlock()
			if over {
				return fmt.Errorf("%s was deleted and is READY", v.GetId())
			}
		case deleted:
		case creating:
			if v.GetSubstate() != messages.SessionSubstate_SESSION_SUBSTATE_PLACING || v.GetServerId() != "" {
				return fmt.Errorf("%v", v)
			}
		default:
			return fmt.Errorf("%v", v)
		}
	}
	for _, h := range c.hosts {
		if err := h.agrees(c.w.server(h.id), shown[h.id]); err != nil {
			return err
		}
	}
	return nil
}

// agrees: the broker shows what runs on the host, and counts it.
func (h *host) agrees(view *messages.ServerView, shown map[string]bool) error {
	running := h.running()
	if !view.GetReachable() || int(view.GetVirtualSessions()) != len(running) || len(shown) != len(running) {
		return fmt.Errorf("%s runs %v, shown are %v, the server is %v", h.id, running, shown, view)
	}
	for _, id := range running {
		if !shown[id] {
			return fmt.Errorf("%s runs %s, which is not shown there", h.id, id)
		}
	}
	return nil
}
