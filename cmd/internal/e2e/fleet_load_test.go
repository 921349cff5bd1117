//go:build fleet

package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/stretchr/testify/require"
)

// requestTime is how long a client of a load waits for an answer.
const requestTime = 8 * time.Second

// load is clients that create, look at and delete sessions through any broker, and take
// another one when one fails. What they were answered is held against the fleet.
type load struct {
	f       *fleet
	seed    uint64
	halt    context.CancelFunc
	ctx     context.Context
	workers sync.WaitGroup

	mu       sync.Mutex
	down     map[*broker]bool  // clients of a load balancer are not sent there
	accepted map[string]string // session id -> owner
	deleted  map[string]bool   // true: answered; false: asked
	kept     map[string]bool   // not for clients to delete
	pace     time.Duration     // a worker's rest after each request
	requests int
	retried  map[string]int // why a request was sent to another broker
	failed   []string       // requests that failed twice
	slowest  map[string]time.Duration
	good     map[string][]time.Time // when requests of a kind succeeded
}

func (f *fleet) load(clients int) *load { return f.pacedLoad(clients, 0) }

func (f *fleet) pacedLoad(clients int, pace time.Duration) *load {
	l := &load{f: f, pace: pace, seed: uint64(time.Now().UnixNano()), down: map[*broker]bool{}, accepted: map[string]string{}, deleted: map[string]bool{}, kept: map[string]bool{},
		retried: map[string]int{}, slowest: map[string]time.Duration{}, good: map[string][]time.Time{}}
	f.t.Logf("seed %d", l.seed)
	l.ctx, l.halt = context.WithCancel(f.t.Context())
	for i := range clients {
		l.workers.Go(func() { l.work(i, rand.New(rand.NewPCG(l.seed, uint64(i)))) })
	}
	f.t.Cleanup(l.stop)
	return l
}

func (l *load) stop() {
	l.halt()
	l.workers.Wait()
}

func (l *load) work(worker int, random *rand.Rand) {
	for n := 0; l.ctx.Err() == nil; n++ {
		rest(l.ctx, l.pace)
		switch id, owner := l.pick(); {
		case id != "" && random.IntN(4) == 0:
			l.delete(id, owner, random)
		case id != "" && random.IntN(2) == 0:
			l.describe(id, random)
		default:
			l.create(fmt.Sprintf("user-%d-%d", worker, n), random)
		}
	}
}

// rest waits unless the context ends.
func rest(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

func (l *load) create(owner string, random *rand.Rand) {
	var out results
	if !l.request("create", random, "/createSessions", list{virtual(owner)}, &out) {
		return
	}
	if len(out.SuccessfulList) != 1 {
		if code := out.UnsuccessfulList[0].FailureCode; code == "NO_SERVER" && l.f.terrain.limits.MaxVirtual > 0 {
			return // the hosts are full, as some stories want them to be
		}
		l.fail("create: %+v", out.UnsuccessfulList)
		return
	}
	s := out.SuccessfulList[0]
	l.mu.Lock()
	l.accepted[s.ID] = owner
	l.mu.Unlock()
	l.describe(s.ID, random)
}

// describe looks at an accepted session, which nobody deletes meanwhile.
func (l *load) describe(id string, random *rand.Rand) {
	var out describedSessions
	if !l.request("read", random, "/describeSessions", object{"SessionIds": list{id}}, &out) {
		return
	}
	if len(out.Sessions) != 1 {
		l.f.t.Errorf("%s accepted session %s is absent", time.Now().Format("15:04:05.000"), id)
		return
	}
	l.mu.Lock()
	_, over := l.deleted[id]
	l.mu.Unlock()
	if s := out.Sessions[0]; !over && s.State != "CREATING" && s.State != "READY" {
		l.f.t.Errorf("accepted session %s is %s: %s", id, s.State, s.StateReason)
	}
}

func (l *load) delete(id, owner string, random *rand.Rand) {
	l.mu.Lock()
	_, taken := l.deleted[id]
	if !taken {
		l.deleted[id] = false
	}
	l.mu.Unlock()
	if taken {
		return
	}
	var out results
	if !l.request("delete", random, "/deleteSessions", list{object{"SessionId": id, "Owner": owner}}, &out) {
		return
	}
	if len(out.SuccessfulList) != 1 && !deletedAlready(out) {
		l.fail("delete %s: %+v", id, out.UnsuccessfulList)
		return
	}
	l.mu.Lock()
	l.deleted[id] = true
	l.mu.Unlock()
}

// deletedAlready: the first try was done although its answer was lost.
func deletedAlready(out results) bool {
	return len(out.UnsuccessfulList) == 1 && out.UnsuccessfulList[0].FailureCode == "SESSION_DELETED"
}

// request sends to a broker, and once more to another one if that fails in a way that
// clients have to expect. It reports whether there is an answer.
func (l *load) request(kind string, random *rand.Rand, path string, body, out any) bool {
	began := time.Now()
	var tried *broker
	for attempt := range 2 {
		b := l.choose(random, tried)
		if b == tried { // there is one address only, of a balancer: more connections may have broken with the first
			wait(l.f.t, 100*time.Millisecond)
		}
		again, err := l.try(b, path, body, out)
		if l.ctx.Err() != nil {
			return false
		}
		l.mu.Lock()
		l.requests++
		if err == nil {
			l.good[kind] = append(l.good[kind], time.Now())
			l.slowest[kind] = max(l.slowest[kind], time.Since(began))
			l.mu.Unlock()
			return true
		}
		l.retried[kind+": "+cut(err.Error())]++
		l.mu.Unlock()
		if !again {
			l.f.t.Errorf("%s at %s: %v", kind, b.url(), err)
			return false
		}
		if attempt == 1 {
			l.fail("%s, second try: %v", kind, err)
		}
		tried = b
	}
	return false
}

// cut takes the ports out of errors, so that equal ones count as one.
func cut(text string) string { return text[:min(len(text), 110)] }

// choose is any broker that is not known to be down; a second try goes elsewhere.
func (l *load) choose(random *rand.Rand, tried *broker) *broker {
	l.mu.Lock()
	defer l.mu.Unlock()
	up := slices.DeleteFunc(slices.Clone(l.f.brokers), func(b *broker) bool { return l.down[b] || b == tried })
	if len(up) == 0 {
		return tried
	}
	return up[random.IntN(len(up))]
}

// setDown is the load balancer finding out about brokers.
func (l *load) setDown(down bool, brokers ...*broker) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, b := range brokers {
		l.down[b] = down
	}
}

// try sends one request; again says that the failure is one to expect.
func (l *load) try(b *broker, path string, body, out any) (again bool, err error) {
	ctx, cancel := context.WithTimeout(l.ctx, requestTime)
	defer cancel()
	a, err := l.f.at(b).send(ctx, http.MethodPost, path+"?explain=true", body)
	if errors.Is(err, syscall.ECONNREFUSED) {
		return true, errors.New("nobody listens")
	}
	if err != nil {
		return true, errors.New("no answer") // the connection broke, or it took too long
	}
	switch a.status {
	case http.StatusOK:
		if err := json.Unmarshal(a.body, out); err != nil {
			return false, err
		}
		if r, ok := out.(*results); ok && len(r.UnsuccessfulList) == 1 {
			if failure := r.UnsuccessfulList[0]; slices.Contains(retryable, failure.FailureCode) {
				*r = results{}
				return true, fmt.Errorf("%s %s", failure.FailureCode, failure.FailureReason)
			}
		}
		return false, nil
	case http.StatusRequestTimeout: // of a broker that was paused meanwhile
		return true, errors.New("408")
	case http.StatusBadGateway, http.StatusGatewayTimeout: // of a load balancer that lost the broker
		return true, fmt.Errorf("%d", a.status)
	case http.StatusServiceUnavailable:
		return true, fmt.Errorf("503 %s", a.header.Get("X-Error-Code"))
	default:
		return false, fmt.Errorf("status %d: %s", a.status, a.body)
	}
}

// retryable are the refusals of items that are worth another try.
var retryable = []string{"BUSY", "NOT_READY", "TIMEOUT", "STORE_UNAVAILABLE", "UNREACHABLE"}

func (l *load) fail(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.failed = append(l.failed, time.Now().Format("15:04:05.000 ")+fmt.Sprintf(format, args...))
}

// own counts a session as accepted that somebody else made and nobody deletes.
func (l *load) own(id, owner string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.accepted[id], l.kept[id] = owner, true
}

// keep is own for the answer of a create.
func (l *load) keep(owner string, a answer) {
	var out results
	if err := json.Unmarshal(a.body, &out); err == nil {
		for _, s := range out.SuccessfulList {
			l.own(s.ID, owner)
		}
	}
}

// pick takes any accepted session that nobody deletes.
func (l *load) pick() (id, owner string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for id, owner := range l.accepted {
		if _, over := l.deleted[id]; !over && !l.kept[id] {
			return id, owner
		}
	}
	return "", ""
}

// take is pick for somebody who is about to delete the session.
func (l *load) take() (id, owner string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for id, owner := range l.accepted {
		if _, over := l.deleted[id]; !over && !l.kept[id] {
			l.deleted[id] = false
			return id, owner
		}
	}
	return "", ""
}

func (l *load) awaitAccepted(more int) {
	l.f.t.Helper()
	begin := l.count()
	await(l.f.t, fmt.Sprintf("%d more sessions", more), func() error {
		if n := l.count(); n < begin+more {
			return fmt.Errorf("%d so far", n-begin)
		}
		return nil
	})
}

func (l *load) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.accepted)
}

// report logs how the clients fared, and when a kind of request succeeded first after t
// and after which pause at most.
func (l *load) report(since time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for kind, times := range l.good {
		first, longest := time.Duration(-1), time.Duration(0)
		last := since
		for _, at := range times {
			if at.Before(since) {
				continue
			}
			if first < 0 {
				first = at.Sub(since)
			}
			longest = max(longest, at.Sub(last))
			last = at
		}
		l.f.t.Logf("%s: %d succeeded, first after the event %v, longest pause %v, slowest %v", kind, len(times),
			first.Round(time.Millisecond), longest.Round(time.Millisecond), l.slowest[kind].Round(time.Millisecond))
	}
	l.f.t.Logf("%d requests, %d accepted, retried: %v; failed twice: %d %v", l.requests, len(l.accepted), l.retried, len(l.failed), l.failed[:min(len(l.failed), 5)])
}

// check stops the load and compares what was answered with every living broker, and
// these with the hosts.
func (l *load) check(brokers ...*broker) {
	t := l.f.t
	t.Helper()
	l.stop()
	for _, b := range brokers {
		await(t, "the picture of "+b.url()+" to be the hosts'", func() error {
			p, err := look(l.f.at(b), l.f.hosts)
			if err != nil {
				return err
			}
			wrong := p.differences()
			for id, owner := range l.accepted {
				s, there := p.sessions[id]
				done, asked := l.deleted[id]
				switch {
				case !there:
					t.Fatalf("accepted session %s is absent at %s", id, b.url())
				case s.Owner != owner:
					t.Fatalf("session %s belongs to %q, not %q", id, s.Owner, owner)
				case done && s.State != "DELETED":
					wrong = append(wrong, fmt.Sprintf("deleted, yet %+v", s))
				case !asked && s.State != "READY":
					wrong = append(wrong, fmt.Sprintf("accepted, yet %+v", s))
				}
			}
			return problem(wrong)
		})
	}
	l.checkDoubled(brokers[0])
}

// checkDoubled: a create whose answer was lost may have come to be, and was sent again.
// Of those there may not be more than such answers.
func (l *load) checkDoubled(b *broker) {
	all, err := l.f.at(b).sessions()
	require.NoError(l.f.t, err)
	unknown := 0
	for id, s := range all {
		if _, ok := l.accepted[id]; !ok && s.State != "DELETED" {
			unknown++
		}
	}
	lost := l.retried["create: no answer"] + l.retried["create: TIMEOUT"] + 4 // as many workers were stopped in the middle
	l.f.t.Logf("%d sessions whose create was never answered, %d answers of creates were lost", unknown, lost-4)
	require.LessOrEqual(l.f.t, unknown, lost, "creates that were refused came to be")
}
