//go:build fleet

package e2e

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"opensessionmanager/agent"
)

// deleteKeys is `consul kv delete -recurse`.
func (f *fleet) deleteKeys() {
	f.t.Helper()
	request, err := http.NewRequestWithContext(f.t.Context(), http.MethodDelete, "http://"+f.consul.Address()+"/v1/kv/dcv-session-manager/?recurse=true", nil)
	require.NoError(f.t, err)
	response, err := http.DefaultClient.Do(request)
	require.NoError(f.t, err)
	defer response.Body.Close()
	text, _ := io.ReadAll(response.Body)
	require.Equal(f.t, http.StatusOK, response.StatusCode, "%s", text)
}

// keys lists what is stored of a kind.
func (f *fleet) keys(kind string) int {
	f.t.Helper()
	response, err := http.Get("http://" + f.consul.Address() + "/v1/kv/dcv-session-manager/records/" + kind + "/?keys=true")
	require.NoError(f.t, err)
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	require.NoError(f.t, err)
	return strings.Count(string(text), "records/"+kind+"/")
}

// belongings is what a fleet must have again after somebody deleted its data.
type belongings struct {
	f          *fleet
	sessions   map[string]session
	servers    map[string]string // ids by name
	closed     string
	identities map[string]string
	stored     map[string]int
}

var kinds = []string{"session", "server", "key", "api-client", "agent-client", "software-statement"}

// belongings gives the fleet something of everything: sessions, deleted ones too, a
// closed server, clients and agents.
func (f *fleet) belongings() *belongings {
	f.t.Helper()
	load := f.load(4)
	load.awaitAccepted(60)
	load.stop()
	await(f.t, "calm", func() error { return f.compare(f.brokers[0]) })
	o := &belongings{f: f, closed: "host-0", servers: map[string]string{}, identities: map[string]string{}, stored: map[string]int{}}
	all, err := f.api.servers()
	require.NoError(f.t, err)
	for name, s := range all {
		o.servers[name] = s.ID
	}
	out := call[struct{ SuccessfulList []object }](f.api, http.MethodPost, "/closeServers", list{object{"ServerId": o.servers[o.closed], "Force": true}})
	require.Len(f.t, out.SuccessfulList, 1)
	o.sessions, err = f.api.sessions()
	require.NoError(f.t, err)
	for name, h := range f.hosts {
		o.identities[name] = h.agent.Status().ServerID
	}
	for _, kind := range kinds {
		o.stored[kind] = f.keys(kind)
		require.NotZero(f.t, o.stored[kind], kind)
	}
	return o
}

// awaitStored waits until Consul holds as much again as before.
func (o *belongings) awaitStored() {
	o.f.t.Helper()
	began := time.Now()
	for _, kind := range kinds {
		await(o.f.t, kind+" records", func() error {
			if n := o.f.keys(kind); n != o.stored[kind] {
				return fmt.Errorf("%d of %d", n, o.stored[kind])
			}
			return nil
		})
	}
	o.f.t.Logf("all records are back after %v", time.Since(began).Round(time.Millisecond))
}

// check holds a broker against what there was: with the old token, with the old
// password, through agents that kept their identity.
func (o *belongings) check(b *broker) {
	t, f := o.f.t, o.f
	t.Helper()
	fresh := f.at(b)
	fresh.token = fresh.newToken()
	await(t, "the fleet's belongings at "+b.url(), func() error {
		for _, c := range []*client{f.at(b), fresh} {
			all, err := c.sessions()
			if err != nil {
				return err
			}
			for id, before := range o.sessions {
				now, ok := all[id]
				if !ok {
					t.Fatalf("session %s, which was %s, is absent at %s", id, before.State, b.url())
				}
				if now.State != before.State || now.Owner != before.Owner {
					return fmt.Errorf("%+v became %+v", before, now)
				}
			}
		}
		for name, h := range f.hosts {
			if s := h.agent.Status(); !s.Connected || s.ServerID != o.identities[name] {
				return fmt.Errorf("the agent of %s has %+v, before %s", name, s, o.identities[name])
			}
		}
		return f.compare(b)
	})
	f.at(b).awaitServer(o.closed, "UNAVAILABLE", "SERVER_CLOSED")
}

// admit lets one more agent in with the statement from before the wipe.
func (o *belongings) admit(b *broker, name string) {
	b.statementFile = o.f.brokers[0].statementFile
	b.simulate(name, agent.Limits{MaxVirtual: -1, MaxPerUser: -1, MaxConsole: 1})
	o.f.at(b).awaitServer(name, "AVAILABLE", "")
}

const wipeNoticed = "The records in the store were deleted"

// F20: a Consul that comes back empty. The brokers write everything back by themselves,
// and then each of them can be restarted.
func TestFleet_SurvivesARollingRestartAfterAWipe(t *testing.T) {
	f := startFleet(t, 3, 6)
	o := f.belongings()
	f.consul.Wipe()
	o.awaitStored()
	for _, b := range f.brokers { // one that is restarted before it looks would not say so
		await(t, b.url()+" to notice the wipe", func() error {
			if !strings.Contains(b.log.String(), wipeNoticed) {
				return errors.New("said nothing")
			}
			return nil
		})
	}
	for i, b := range f.brokers {
		require.Zero(t, b.proc.stop())
		b.start()
		o.check(b)
		o.admit(b, fmt.Sprintf("new-%d", i))
	}
	for _, b := range f.brokers {
		o.check(b)
		require.Equal(t, 1, strings.Count(b.log.String(), wipeNoticed), "said once")
	}
	require.NotContains(t, f.logs(), "panic")
}

// F20: somebody deletes all keys, and a broker is restarted at once: it must not begin a
// new fleet beside those that remember.
func TestFleet_ABrokerThatRestartsAtAWipeWaitsForTheOthers(t *testing.T) {
	f := startFleet(t, 3, 6)
	o := f.belongings()
	first := f.brokers[0]
	wait(t, 3*time.Second) // until the others know also the agents that registered just now
	first.proc.kill()
	f.deleteKeys()
	wiped := time.Now()
	first.start()
	t.Logf("back %v after the wipe", time.Since(wiped).Round(time.Millisecond))
	for _, b := range f.brokers {
		o.check(b)
	}
	o.awaitStored()
	o.admit(first, "new")
	require.NotContains(t, f.logs(), "goes on with new keys")
	require.NotContains(t, f.logs(), "holds other keys")
	require.NotContains(t, f.logs(), "panic")
}

// A wipe while sessions are made, deleted and looked at: what was accepted is there.
func TestFleet_LosesNothingInAWipeUnderLoad(t *testing.T) {
	f := startFleet(t, 3, 6)
	load := f.load(4)
	load.awaitAccepted(60)
	f.deleteKeys()
	wiped := time.Now()
	load.awaitAccepted(60)
	load.report(wiped)
	load.check(f.brokers...)
	await(t, "every session to be stored", func() error {
		all, err := f.api.sessions()
		if err != nil {
			return err
		}
		if n := f.keys("session"); n < len(all) {
			return errors.New(fmt.Sprint(n, " of ", len(all)))
		}
		return nil
	})
	require.NotContains(t, f.logs(), "panic")
}
