//go:build fleet

package e2e

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// F1, promises 1 to 3: kill -9 of one of three brokers under load.
func TestFleet_GoesOnAfterTheDeathOfABroker(t *testing.T) {
	f := startFleet(t, 3, 6)
	load := f.load(4)
	load.awaitAccepted(100)
	victim, others := f.brokers[2], f.brokers[:2]
	died := time.Now()
	victim.proc.kill()
	f.awaitRehomed(victim, died)
	load.awaitAccepted(100)
	load.report(died)
	load.check(others...)
	require.Empty(t, load.failed, "requests that failed at two brokers")
	require.NotContains(t, f.logs(), "panic")
}

// F2: kill -9 of two of three at once; the third goes on alone.
func TestFleet_GoesOnWithTheLastBroker(t *testing.T) {
	f := startFleet(t, 3, 6)
	load := f.load(4)
	load.awaitAccepted(60)
	died := time.Now()
	for _, victim := range f.brokers[1:] {
		victim.proc.kill()
	}
	load.setDown(true, f.brokers[1:]...)
	for _, victim := range f.brokers[1:] {
		f.awaitRehomed(victim, died)
	}
	load.awaitAccepted(60)
	load.report(died)
	load.check(f.brokers[0])
	require.NotContains(t, f.logs(), "panic")
}

// F4: a broker that was paused finds itself removed and joins again; what it meant to
// write is fenced.
func TestFleet_GoesOnWhileABrokerIsPaused(t *testing.T) {
	f := startFleet(t, 3, 6)
	load := f.load(4)
	load.awaitAccepted(60)
	paused := f.brokers[1]
	load.setDown(true, paused) // whoever is there waits for ever: the others are of interest
	began := time.Now()
	paused.freeze()
	defer paused.thaw()
	wait(t, 10*time.Second)
	load.report(began)
	resumed := time.Now()
	paused.thaw()
	await(t, "the paused broker to be back", paused.healthy)
	t.Logf("back after %v", time.Since(resumed).Round(time.Millisecond))
	load.setDown(false, paused)
	load.awaitAccepted(60)
	load.report(resumed)
	load.check(f.brokers...)
	require.Empty(t, load.failed, "requests that failed at two brokers")
	require.NotContains(t, f.logs(), "panic")
}

// F47: all brokers are restarted one after the other under load, as in an upgrade.
func TestFleet_GoesOnThroughARollingRestart(t *testing.T) {
	f := startFleet(t, 3, 6)
	load := f.load(4)
	load.awaitAccepted(60)
	began := time.Now()
	for _, b := range f.brokers {
		require.Zero(t, b.proc.stop())
		load.awaitAccepted(20)
		b.start()
		load.awaitAccepted(20)
	}
	load.report(began)
	load.check(f.brokers...)
	require.Empty(t, load.failed, "requests that failed at two brokers")
	require.NotContains(t, f.logs(), "panic")
}

// F3: all brokers die at once; everything comes back from Consul.
func TestFleet_ComesBackAfterTheDeathOfAllBrokers(t *testing.T) {
	f := startFleet(t, 3, 6)
	load := f.load(4)
	load.awaitAccepted(60)
	load.stop()
	for _, b := range f.brokers {
		b.proc.kill()
	}
	died := time.Now()
	for i, b := range f.brokers { // each waits until it is ready, so the first one is alone with the dead
		began := time.Now()
		b.start()
		t.Logf("broker %d is ready %v after its start, %v after the death of all", i+1, time.Since(began).Round(time.Millisecond), time.Since(died).Round(time.Millisecond))
	}
	load.check(f.brokers...)
	require.NotContains(t, f.logs(), "panic")
}

// F3 in containers: those who come have other addresses than the dead.
func TestFleet_ComesBackElsewhereAfterTheDeathOfAllBrokers(t *testing.T) {
	f := startFleet(t, 3, 0)
	for _, b := range f.brokers {
		b.proc.kill()
	}
	began := time.Now()
	another := f.add()
	t.Logf("the first broker is ready %v after its start", time.Since(began).Round(time.Millisecond))
	all, err := f.at(another).sessions()
	require.NoError(t, err)
	require.Empty(t, all)
}

// F19: without Consul what there is can be read, nothing is accepted that could be
// lost, and all is well again when it is back.
func TestFleet_AnswersReadsWhileConsulIsDown(t *testing.T) {
	f := startFleet(t, 3, 6)
	load := f.load(4)
	load.awaitAccepted(60)
	load.stop()
	f.consul.Kill()
	down := time.Now()
	for time.Since(down) < 8*time.Second {
		for _, b := range f.brokers {
			all, err := f.at(b).sessions()
			require.NoError(t, err, "%v after Consul died", time.Since(down))
			for id := range load.accepted {
				require.Contains(t, all, id)
			}
		}
		wait(t, 200*time.Millisecond)
	}
	a, err := f.at(f.brokers[0]).try("POST", "/createSessions?explain=true", list{virtual("nobody")})
	require.NoError(t, err)
	require.Zero(t, countAccepted(a), "%s", a.body)
	f.consul.Restart()
	back := time.Now()
	await(t, "a create to be accepted", func() error {
		a, err := f.at(f.brokers[1]).try("POST", "/createSessions?explain=true", list{virtual("somebody")})
		if err == nil && countAccepted(a) == 0 {
			err = errors.New(string(a.body))
		}
		return err
	})
	t.Logf("writes are back %v after Consul", time.Since(back).Round(time.Millisecond))
	for _, b := range f.brokers {
		await(t, "a healthy broker", b.healthy)
	}
	load.check(f.brokers...)
	require.NotContains(t, f.logs(), "panic")
}

// F20: somebody deletes everything in Consul. The sessions run on their hosts all the
// while; they are shown again when the hosts have reported them.
func TestFleet_RebuildsWhatWasDeletedInConsul(t *testing.T) {
	f := startFleet(t, 3, 6)
	load := f.load(4)
	load.awaitAccepted(60)
	load.stop()
	await(t, "calm", func() error { return f.compare(f.brokers[0]) })
	f.consul.Wipe()
	wiped := time.Now()
	for _, b := range f.brokers {
		await(t, "the sessions to be shown again", func() error { return f.compare(b) })
	}
	await(t, "a create to be accepted", func() error {
		a, err := f.at(f.brokers[1]).try("POST", "/createSessions?explain=true", list{virtual("somebody")})
		if err == nil && countAccepted(a) == 0 {
			err = errors.New(string(a.body))
		}
		return err
	})
	t.Logf("all is back after %v", time.Since(wiped).Round(time.Millisecond))
	all, err := f.at(f.brokers[2]).sessions()
	require.NoError(t, err)
	for id, s := range all {
		await(t, "the deletion of "+id, func() error {
			out := call[results](f.at(f.brokers[2]), "POST", "/deleteSessions?explain=true", list{object{"SessionId": id, "Owner": s.Owner}})
			if len(out.SuccessfulList) == 1 || deletedAlready(out) {
				return nil
			}
			return fmt.Errorf("%+v", out.UnsuccessfulList)
		})
	}
	await(t, "empty hosts", func() error {
		for _, h := range f.hosts {
			if n := h.dcv.Count(); n > 0 {
				return fmt.Errorf("%s has %d sessions", h.name, n)
			}
		}
		return nil
	})
	require.Contains(t, f.logs(), "The records in Consul were deleted", "a loud event")
	require.NotContains(t, f.logs(), "panic")
}

// compare says what differs between a broker's picture and the hosts.
func (f *fleet) compare(b *broker) error {
	p, err := look(f.at(b), f.hosts)
	if err != nil {
		return err
	}
	return problem(p.differences())
}

// awaitRehomed waits until all agents are at other brokers and all servers available.
func (f *fleet) awaitRehomed(gone *broker, since time.Time) {
	f.t.Helper()
	await(f.t, "agents at other brokers", func() error {
		for _, h := range f.hosts {
			if s := h.agent.Status(); !s.Connected || s.Broker == gone.agentAddress() {
				return errors.New(h.name + " is not")
			}
		}
		return nil
	})
	f.t.Logf("agents re-homed after %v", time.Since(since).Round(time.Millisecond))
}

func (f *fleet) logs() string {
	all := ""
	for _, b := range f.brokers {
		all += b.log.String()
	}
	return all
}
