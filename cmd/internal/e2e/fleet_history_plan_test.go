//go:build fleet

package e2e

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"opensessionmanager/agent"
)

// plan is everything about a run that its seed determines: hosts, faults and what each
// client does, but not how these meet in time.
type plan struct {
	seed      uint64
	length    time.Duration
	hosts     []hostPlan
	clients   int
	forgets   bool // deleted sessions are forgotten after a few seconds
	impatient bool // an agent that is away for three seconds counts as lost
	rough     bool // hosts fail to make sessions, and are cut off
	faults    []fault
}

type hostPlan struct {
	name, pool string
	limits     agent.Limits
}

// fault is one thing that is done to the fleet.
type fault struct {
	at     time.Duration
	what   deed
	target int // a broker or a host
	long   time.Duration
	n      int
}

type deed string

const (
	kill          deed = "kill" // kill -9
	leave         deed = "leave"
	start_        deed = "start"
	freeze        deed = "freeze"
	thaw          deed = "thaw"
	join          deed = "join"
	killConsul    deed = "kill Consul"
	startConsul   deed = "start Consul"
	pauseConsul   deed = "pause Consul"
	resumeConsul  deed = "resume Consul"
	deafen        deed = "deafen" // the others cannot connect to a broker
	hangPeers     deed = "hang"   // what the others send to a broker does not arrive
	cutConsul     deed = "cut from Consul"
	hangConsul    deed = "hang Consul of"
	reconnect     deed = "reconnect"
	cutOff        deed = "cut off" // the agent of a host
	mend          deed = "mend"
	failCreates   deed = "fail creates"
	slowCreates   deed = "slow creates"
	stallHost     deed = "stall"
	unhealthyHost deed = "unhealthy"
	lateStarts    deed = "late starts"
)

// owners of sessions: few, so that their limits matter.
var owners = []string{"ann", "bob", "cleo", "dan"}

// brokersAtFirst are joined by one more in some runs.
const brokersAtFirst = 3

func newPlan(seed uint64, length time.Duration) *plan {
	random := rand.New(rand.NewPCG(seed, 1))
	p := &plan{seed: seed, length: length, clients: 8, forgets: random.IntN(3) == 0, impatient: random.IntN(3) == 0, rough: random.IntN(2) == 0}
	for i := range 3 + random.IntN(3) {
		p.hosts = append(p.hosts, hostPlan{
			name: fmt.Sprintf("host-%d", i), pool: string(rune('a' + i%2)),
			limits: agent.Limits{MaxVirtual: pickOne[int32](random, 1, 2, 3, 5, -1), MaxPerUser: pickOne[int32](random, 1, 1, 2, -1), MaxConsole: 1},
		})
	}
	p.drawFaults(random)
	return p
}

func pickOne[T any](random *rand.Rand, of ...T) T { return of[random.IntN(len(of))] }

// drawFaults draws what happens when. A thing that is being harmed is left alone until
// that is over; different ones may be harmed at once.
func (p *plan) drawFaults(random *rand.Rand) {
	busy := map[string]time.Duration{}
	joined := false
	for at := 2 * time.Second; at < p.length-3*time.Second; at += time.Duration(500+random.IntN(3000)) * time.Millisecond {
		long := time.Duration(200+random.IntN(5000)) * time.Millisecond
		kind, target := random.IntN(100), random.IntN(brokersAtFirst)
		name := fmt.Sprint("broker ", target)
		switch {
		case kind < 16:
			p.pair(busy, name, at, long, kill, start_, target)
		case kind < 21:
			other := (target + 1) % brokersAtFirst
			p.pair(busy, name, at, long, kill, start_, target)
			p.pair(busy, fmt.Sprint("broker ", other), at, long+time.Second, kill, start_, other)
		case kind < 32:
			p.pair(busy, name, at, long, leave, start_, target)
		case kind < 47:
			p.pair(busy, name, at, time.Duration(1000+random.IntN(9000))*time.Millisecond, freeze, thaw, target)
		case kind < 53:
			if !joined {
				p.faults = append(p.faults, fault{at: at, what: join, target: brokersAtFirst})
				joined = true
			} else {
				p.pair(busy, fmt.Sprint("broker ", brokersAtFirst), at, long, pickOne(random, kill, leave), start_, brokersAtFirst)
			}
		case kind < 58:
			p.pair(busy, "Consul", at, long, killConsul, startConsul, 0)
		case kind < 65:
			p.pair(busy, "Consul", at, long, pauseConsul, resumeConsul, 0)
		case kind < 80:
			p.pair(busy, name, at, 2*long, pickOne(random, deafen, hangPeers, cutConsul, hangConsul), reconnect, target)
		default:
			p.drawHostFault(random, busy, at, long)
		}
	}
	slices.SortStableFunc(p.faults, func(a, b fault) int { return int(a.at - b.at) })
}

func (p *plan) drawHostFault(random *rand.Rand, busy map[string]time.Duration, at, long time.Duration) {
	target := random.IntN(len(p.hosts))
	what, n := pickOne(random, cutOff, cutOff, slowCreates, failCreates, stallHost, unhealthyHost, lateStarts), 1+random.IntN(4)
	if !p.rough {
		what = pickOne(random, cutOff, slowCreates)
		long = min(long, 2*time.Second)
	}
	p.pair(busy, fmt.Sprint("host ", target), at, long, what, mend, target)
	p.faults[len(p.faults)-1].n = n
	for i := range p.faults {
		if p.faults[i].what == what && p.faults[i].at == at {
			p.faults[i].n = n
		}
	}
}

// pair is a harm and what ends it, unless the thing is being harmed already.
func (p *plan) pair(busy map[string]time.Duration, name string, at, long time.Duration, harm, end deed, target int) {
	if busy[name] > at {
		return
	}
	busy[name] = at + long + time.Second
	p.faults = append(p.faults, fault{at: at, what: harm, target: target, long: long}, fault{at: at + long, what: end, target: target})
}

func (p *plan) String() string {
	var text strings.Builder
	fmt.Fprintf(&text, "seed %d: %d clients, forgets %t, impatient %t, rough %t", p.seed, p.clients, p.forgets, p.impatient, p.rough)
	for _, h := range p.hosts {
		fmt.Fprintf(&text, "; %s in pool %s %+v", h.name, h.pool, h.limits)
	}
	for _, f := range p.faults {
		fmt.Fprintf(&text, "\n  %6.3f %s %d", f.at.Seconds(), f.what, f.target)
	}
	return text.String()
}

// settings are those of every broker in a run.
func (p *plan) settings() []string {
	grace, keep := 30, 3600
	if p.impatient {
		grace = 3
	}
	if p.forgets {
		keep = 4
	}
	return []string{
		fmt.Sprintf("agent-grace-seconds = %d", grace),
		fmt.Sprintf("delete-session-duration-seconds = %d", keep),
		"session-creation-timeout-seconds = 15",
		"session-deletion-timeout-seconds = 15",
		"create-sessions-queue-max-time-seconds = 6",
	}
}
