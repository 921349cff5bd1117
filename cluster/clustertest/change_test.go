//go:build fleet && !race

package clustertest

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
)

// F47, promise 3: a broker that joins shows everything before it is ready, and while it
// joins nothing is refused and nothing absent anywhere.
func TestFleet_LosesNothingWhenABrokerJoins(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 3)
	for i, b := range f.brokers {
		f.host(fmt.Sprintf("host-%d", i), roomy, b)
	}
	f.awaitServers(3, f.brokers...)
	load := f.load(f.brokers...)
	load.awaitCreated(60)
	joined := f.add()
	before := load.accepted()
	all, err := joined.api.sessions()
	require.NoError(t, err)
	for id := range before {
		require.Contains(t, all, id, "the broker that joined lacks a session")
	}
	load.awaitCreated(150)
	load.stop()
	load.check(f.brokers...)
}

// A broker that leaves in good order takes nothing with it.
func TestFleet_LosesNothingWhenABrokerLeaves(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 3)
	stay := f.brokers[:2]
	for i := range 3 {
		f.host(fmt.Sprintf("host-%d", i), roomy, stay...)
	}
	f.awaitServers(3, f.brokers...)
	load := f.load(stay...)
	load.awaitCreated(60)
	f.brokers[2].stop()
	load.awaitCreated(150)
	load.stop()
	load.check(stay...)
	for i, s := range load.accepted() {
		stay[len(i)%2].api.delete(s)
	}
	for id := range load.accepted() {
		stay[0].api.awaitState(id, "DELETED")
	}
}

// load is clients that create sessions through some brokers and look at them through
// the others.
type load struct {
	f       *fleet
	brokers []*broker
	halt    chan struct{}
	workers sync.WaitGroup
	created atomic.Int64

	mu       sync.Mutex
	sessions map[string]session
}

func (f *fleet) load(brokers ...*broker) *load {
	l := &load{f: f, brokers: brokers, halt: make(chan struct{}), sessions: map[string]session{}}
	for i := range brokers {
		l.workers.Go(func() { l.work(i) })
	}
	f.t.Cleanup(l.stop)
	return l
}

func (l *load) work(worker int) {
	for n := 0; ; n++ {
		select {
		case <-l.halt:
			return
		default:
		}
		api := l.brokers[worker].api
		out, err := post[results](api, "/createSessions", list{virtual(fmt.Sprintf("user-%d-%d", worker, n))})
		if err != nil || len(out.SuccessfulList) != 1 {
			l.f.t.Errorf("create %d through broker %s failed: %v %+v", n, l.brokers[worker].name, err, out.UnsuccessfulList)
			continue
		}
		s := out.SuccessfulList[0]
		l.mu.Lock()
		l.sessions[s.ID] = s
		l.mu.Unlock()
		for _, b := range l.brokers {
			if _, err := b.api.session(s.ID); err != nil {
				l.f.t.Errorf("session %d through broker %s, created through %s: %v", n, b.name, l.brokers[worker].name, err)
			}
		}
		l.created.Add(1)
	}
}

func (l *load) stop() {
	select {
	case <-l.halt:
	default:
		close(l.halt)
	}
	l.workers.Wait()
}

func (l *load) awaitCreated(n int64) {
	l.f.t.Helper()
	await(l.f.t, fmt.Sprintf("%d sessions", n), func() error {
		if made := l.created.Load(); made < n {
			return fmt.Errorf("only %d so far", made)
		}
		return nil
	})
}

func (l *load) accepted() map[string]session {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := make(map[string]session, len(l.sessions))
	for id, s := range l.sessions {
		all[id] = s
	}
	return all
}

// check waits until all brokers show every accepted session READY, and no other.
func (l *load) check(brokers ...*broker) {
	l.f.t.Helper()
	accepted := l.accepted()
	for _, b := range brokers {
		await(l.f.t, "all sessions READY at broker "+b.name, func() error {
			all, err := b.api.sessions()
			if err != nil {
				return err
			}
			for id := range accepted {
				if s, ok := all[id]; !ok {
					l.f.t.Fatalf("broker %s lost session %s", b.name, id)
				} else if s.State != "READY" {
					return fmt.Errorf("%+v", s)
				}
			}
			if len(all) != len(accepted) {
				return fmt.Errorf("%d sessions, of which %d were accepted", len(all), len(accepted))
			}
			return nil
		})
	}
}
