//go:build fleet

package e2e

import (
	"context"
	"errors"
	"net"
	"slices"
	"sync"
	"time"
)

// front is a load balancer for agents, as they see it: one address, and whoever connects
// to it is led to a broker that was well a moment ago. It works at the agents' end, so
// that an agent keeps its own address.
type front struct {
	f *fleet

	mu   sync.Mutex
	well []*broker
	turn int
	at   map[int]*broker // where an agent was led last
}

const (
	frontAddress = "localhost:1"
	// A balancer finds out about a broker after that at most.
	frontLooks, frontPatience = 500 * time.Millisecond, time.Second
)

// behindFront makes an agent know the front only.
func (f *fleet) behindFront(i int, how simulation) simulation {
	if f.front == nil {
		f.front = &front{f: f, well: slices.Clone(f.brokers), at: map[int]*broker{}}
		ctx, stop := context.WithCancel(context.Background())
		var all sync.WaitGroup
		f.t.Cleanup(func() { stop(); all.Wait() })
		for _, b := range f.brokers {
			all.Go(func() { f.front.look(ctx, b) })
		}
	}
	how.fronts, how.dial = []string{frontAddress}, f.front.dialer(i, f.terrain.network.agentDialer(i))
	return how
}

// look asks one broker for its health until ctx ends.
func (f *front) look(ctx context.Context, b *broker) {
	for ctx.Err() == nil {
		try, cancel := context.WithTimeout(ctx, frontPatience)
		a, err := f.f.at(b).send(try, "GET", "/health", nil)
		cancel()
		f.mark(b, err == nil && a.status == 200)
		rest(ctx, frontLooks)
	}
}

func (f *front) mark(b *broker, well bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.well = slices.DeleteFunc(f.well, func(other *broker) bool { return other == b })
	if well {
		f.well = append(f.well, b)
	}
}

type dial func(ctx context.Context, network, address string) (net.Conn, error)

func (f *front) dialer(agent int, connect dial) dial {
	return func(ctx context.Context, network, _ string) (net.Conn, error) {
		f.mu.Lock()
		if len(f.well) == 0 {
			f.mu.Unlock()
			return nil, errors.New("no broker is well")
		}
		f.turn++
		b := f.well[f.turn%len(f.well)]
		f.at[agent] = b
		f.mu.Unlock()
		return connect(ctx, network, b.agentAddress())
	}
}

// led is where an agent was led last; nil if it does not know the front.
func (f *front) led(agent int) *broker {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.at[agent]
}
