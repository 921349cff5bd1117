//go:build fleet

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"opensessionmanager/agent"
)

// pausedFor is longer than any time within which the others, or agents, find out.
const pausedFor = time.Minute

// F4: a broker is paused for a minute, with requests in its sockets that it reads when it
// resumes. It is fenced: what it then answers with success is so, and the rest it
// refuses. It joins again under a new identity, and its agents have long been elsewhere.
func TestFleet_ABrokerComesBackAfterAMinuteOfPause(t *testing.T) {
	t.Parallel()
	f := &field{fleet: startFleetOn(t, terrain{limits: agent.Limits{MaxVirtual: -1, MaxPerUser: -1, MaxConsole: 1},
		settings: []string{"agent-ping-interval-seconds = 4"}}, 12, brokerProgram, brokerProgram, brokerProgram)}
	f.onlooker = f.watch()
	load := f.pacedLoad(2, 50*time.Millisecond)
	for id, owner := range f.onlooker.owners {
		load.own(id, owner)
	}
	load.awaitAccepted(40)
	paused, others := f.brokers[1], f.brokers[2:]
	late := f.lateClients(paused, load)
	lost := f.agentsAt(paused)
	load.setDown(true, paused)
	began := time.Now()
	paused.freeze()
	defer paused.thaw()
	load.awaitAccepted(10) // so that there are sessions which the paused broker never heard of
	late.send(load)
	f.rehomed("SIGSTOP", lost, began)
	wait(t, time.Until(began.Add(pausedFor)))
	resumed := time.Now()
	paused.thaw()
	late.check(load)
	await(t, "the paused broker to be back", paused.healthy)
	t.Logf("back after %v", time.Since(resumed).Round(time.Millisecond))
	load.setDown(false, paused)
	load.awaitAccepted(20)
	load.report(began)
	load.check(f.brokers...)
	f.onlooker.report(began)
	f.onlooker.await(shown, f.brokers...)
	f.onlooker.stays(shown, began.Add(10*time.Second), others...)
	f.onlooker.stop()
	require.Contains(t, paused.log.String(), "the fleet went on without this broker; it starts anew")
	judge(t, len(load.failed) == 0, "requests that failed at two brokers: %v", load.failed)
	require.NotContains(t, f.logs(), "panic")
}

// lateness is requests that lie in the sockets of a paused broker. Their connections
// were made before.
type lateness struct {
	f    *field
	at   *client
	news list // ids of sessions that were made while it paused
	all  sync.WaitGroup

	mu      sync.Mutex
	answers []string
}

const lateRequests = 8 // of each kind

func (f *field) lateClients(b *broker, load *load) *lateness {
	f.t.Helper()
	own := *f.at(b)
	transport := &http.Transport{TLSClientConfig: b.trust(), MaxIdleConnsPerHost: 3 * lateRequests}
	f.t.Cleanup(transport.CloseIdleConnections)
	own.http = &http.Client{Transport: transport}
	l := &lateness{f: f, at: &own}
	var warm sync.WaitGroup
	for range 3 * lateRequests { // one connection each
		warm.Go(func() { _, _ = own.servers() })
	}
	warm.Wait()
	return l
}

// send puts requests into the sockets: reads of what the broker cannot know, deletes and
// creates.
func (l *lateness) send(load *load) {
	for range lateRequests {
		made := l.f.at(l.f.brokers[0]).create(virtual("made-meanwhile"))
		require.Len(l.f.t, made.SuccessfulList, 1, "%+v", made.UnsuccessfulList)
		load.own(made.SuccessfulList[0].ID, "made-meanwhile")
		l.news = append(l.news, made.SuccessfulList[0].ID)
	}
	for range lateRequests {
		l.all.Go(func() {
			var out describedSessions
			if l.ask("read", "/describeSessions", object{"SessionIds": l.news}, &out) && len(out.Sessions) != len(l.news) {
				l.f.t.Errorf("a broker that was paused shows %d of %d sessions", len(out.Sessions), len(l.news))
			}
		})
		l.all.Go(func() {
			var out results
			if l.ask("create", "/createSessions", list{virtual("late")}, &out) && len(out.SuccessfulList) == 1 {
				load.own(out.SuccessfulList[0].ID, "late")
			}
		})
		id, owner := load.take()
		l.all.Go(func() {
			var out results
			if l.ask("delete", "/deleteSessions", list{object{"SessionId": id, "Owner": owner}}, &out) && len(out.SuccessfulList) == 1 {
				load.mu.Lock()
				load.deleted[id] = true
				load.mu.Unlock()
			}
		})
	}
}

// ask reports whether there is an answer; refusals are to have a reason.
func (l *lateness) ask(kind, path string, body, out any) bool {
	ctx, cancel := context.WithTimeout(l.f.t.Context(), pausedFor+patience)
	defer cancel()
	a, err := l.at.send(ctx, http.MethodPost, path+"?explain=true", body)
	outcome := "no answer"
	if err == nil {
		outcome = fmt.Sprint(a.status, " ", a.header.Get("X-Error-Code"))
	}
	l.mu.Lock()
	l.answers = append(l.answers, kind+" "+outcome)
	l.mu.Unlock()
	if err != nil || a.status != http.StatusOK {
		return false
	}
	if err := json.Unmarshal(a.body, out); err != nil {
		l.f.t.Errorf("late %s: %v", kind, err)
	}
	return true
}

func (l *lateness) check(load *load) {
	l.f.t.Helper()
	l.all.Wait()
	counts := map[string]int{}
	for _, a := range l.answers {
		counts[a]++
	}
	load.mu.Lock()
	load.retried["create: no answer"] += lateRequests // at most so many came to be unsaid
	load.mu.Unlock()
	l.f.t.Logf("answers to what it read when it resumed: %v", counts)
}
