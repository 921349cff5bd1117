package e2e

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"opensessionmanager/agent"
)

const (
	crashRounds  = 20
	crashHosts   = 4
	crashCreates = 3 // clients that create, and as many that delete
)

// Promise 1 (F1, F3, F42, F43): whatever the broker answered with success survives its kill -9 at
// any moment; nothing is doubled, and no host has more than it may.
func TestCrashes_NothingThatWasAnsweredIsLost(t *testing.T) {
	t.Parallel()
	long(t, "it kills a broker many times")
	seed := uint64(time.Now().UnixNano())
	if text := os.Getenv("E2E_SEED"); text != "" {
		var err error
		seed, err = strconv.ParseUint(text, 10, 64)
		require.NoError(t, err)
	}
	t.Logf("seed %d; repeat with E2E_SEED", seed)
	c := newCrashes(t, rand.New(rand.NewPCG(seed, 1)))
	for round := range crashRounds {
		c.disturb(round)
		c.check(round)
	}
	c.settle()
}

// crashes is what the clients of this story were answered.
type crashes struct {
	t      *testing.T
	broker *broker
	hosts  map[string]*simulated
	random *rand.Rand

	mu       sync.Mutex
	accepted map[string]string // session id -> owner
	tried    map[string]bool   // a deletion was asked
	deleted  map[string]bool   // and answered with success
	closed   map[string]*bool  // by server id; nil = the last answer did not come
	clients  []*client
	token    connectionData // of a session that nobody deletes
	refusals map[string]int
}

func newCrashes(t *testing.T, random *rand.Rand) *crashes {
	c := &crashes{t: t, random: random, hosts: map[string]*simulated{}, accepted: map[string]string{}, tried: map[string]bool{},
		deleted: map[string]bool{}, closed: map[string]*bool{}, refusals: map[string]int{}}
	c.broker = startBroker(t, "agent-grace-seconds = 5", "create-sessions-queue-max-size = 20", "log-level = info")
	c.clients = []*client{c.broker.api}
	for i := range crashHosts {
		name := fmt.Sprintf("host-%d", i)
		c.hosts[name] = c.broker.simulate(name, agent.Limits{MaxVirtual: 12, MaxPerUser: 5, MaxConsole: 1})
		s := c.broker.api.awaitServer(name, "AVAILABLE", "")
		open := false
		c.closed[s.ID] = &open
	}
	id := c.broker.api.created(virtual("keeper"))
	c.broker.api.awaitState(id, "READY")
	c.token = call[connectionData](c.broker.api, http.MethodGet, "/sessionConnectionData/"+id+"/keeper", nil)
	return c
}

// disturb kills the broker while clients use it, and starts it again.
func (c *crashes) disturb(round int) {
	stop := make(chan struct{})
	var workers sync.WaitGroup
	work := func(seed uint64, act func(*rand.Rand) bool) {
		workers.Go(func() {
			random := rand.New(rand.NewPCG(seed, 2))
			for act(random) {
				select {
				case <-stop:
					return
				default:
				}
			}
		})
	}
	for range crashCreates {
		work(c.random.Uint64(), c.create)
		work(c.random.Uint64(), c.delete)
	}
	work(c.random.Uint64(), c.closeOrOpen)
	moment := time.Duration(c.random.IntN(400)) * time.Millisecond
	if round%4 == 3 { // clients come and go, too
		c.clients = append(c.clients, c.broker.newClient(fmt.Sprintf("client %d", round)))
	}
	wait(c.t, moment)
	c.broker.proc.kill()
	close(stop)
	workers.Wait()
	if round%3 == 1 { // also while it is starting
		starting := start(c.t, c.broker.log, brokerProgram, "--config", c.broker.file)
		wait(c.t, time.Duration(c.random.IntN(80))*time.Millisecond)
		starting.kill()
	}
	c.broker.start()
}

// post sends a request and reports whether it was answered.
func (c *crashes) post(path string, items list) (results, bool) {
	a, err := c.broker.api.try(http.MethodPost, path, items)
	var out results
	if err != nil {
		return out, false
	}
	if a.status != http.StatusOK {
		if a.status != http.StatusServiceUnavailable {
			c.t.Errorf("%s: status %d: %s", path, a.status, a.body)
		}
		return out, true
	}
	if err := json.Unmarshal(a.body, &out); err != nil {
		c.t.Error(err)
	}
	return out, true
}

// create asks for one to three sessions, some of which may wait for room.
func (c *crashes) create(random *rand.Rand) bool {
	var items list
	for range 1 + random.IntN(3) {
		items = append(items, virtual(fmt.Sprintf("user-%d", random.IntN(30)), object{"EnqueueRequest": random.IntN(3) == 0}))
	}
	out, answered := c.post("/createSessions", items)
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range out.SuccessfulList {
		c.accepted[s.ID] = s.Owner
	}
	for _, f := range out.UnsuccessfulList {
		c.refusals[f.FailureReason]++
	}
	return answered
}

// delete ends one accepted session.
func (c *crashes) delete(random *rand.Rand) bool {
	id, owner := c.pick()
	if id == "" {
		wait(c.t, 5*time.Millisecond)
		return true
	}
	out, answered := c.post("/deleteSessions", list{object{"SessionId": id, "Owner": owner, "Force": random.IntN(4) == 0}})
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range out.SuccessfulList {
		c.deleted[s.SessionID] = true
	}
	for _, f := range out.UnsuccessfulList {
		c.refusals[f.FailureReason]++
	}
	return answered
}

// pick takes any session that nobody tried to delete; the order of maps is chance enough.
func (c *crashes) pick() (id, owner string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for id, owner := range c.accepted {
		if !c.tried[id] {
			c.tried[id] = true
			return id, owner
		}
	}
	return "", ""
}

// closeOrOpen switches one server.
func (c *crashes) closeOrOpen(random *rand.Rand) bool {
	wait(c.t, time.Duration(random.IntN(40))*time.Millisecond)
	c.mu.Lock()
	var id string
	for id = range c.closed {
		break
	}
	c.closed[id] = nil
	c.mu.Unlock()
	path, item, closed := "/openServers", object{"ServerId": id}, false
	if random.IntN(2) == 0 {
		path, item, closed = "/closeServers", object{"ServerId": id, "Force": true}, true
	}
	a, err := c.broker.api.try(http.MethodPost, path, list{item})
	if err != nil {
		return false
	}
	var out serverResults
	if err := json.Unmarshal(a.body, &out); err == nil && len(out.SuccessfulList) == 1 {
		c.mu.Lock()
		c.closed[id] = &closed
		c.mu.Unlock()
	}
	return true
}

// check compares a broker that has just started with what was answered before.
func (c *crashes) check(round int) {
	t := c.t
	all, err := c.broker.api.sessions()
	require.NoError(t, err, "round %d: a token of before is not accepted (F3)", round)
	for id, owner := range c.accepted {
		s, there := all[id]
		switch {
		case !there:
			t.Errorf("round %d: accepted session %s is absent", round, id)
		case s.Owner != owner:
			t.Errorf("round %d: session %s belongs to %q, not %q", round, id, s.Owner, owner)
		case c.deleted[id] && s.State != "DELETING" && s.State != "DELETED" && s.State != "UNKNOWN":
			t.Errorf("round %d: the deletion of %s is forgotten: %+v", round, id, s)
		case s.State == "DELETED" && !c.deleted[id] && s.StateReason == "" && !c.tried[id]:
			t.Errorf("round %d: session %s is over without a reason", round, id)
		}
	}
	c.checkServers(round)
	for _, client := range c.clients {
		_, err := client.try(http.MethodPost, "/describeServers", nil)
		require.NoError(t, err)
		require.NotEmpty(t, client.newToken())
	}
	c.checkConnectionToken(round)
	c.checkHosts(round)
}

func (c *crashes) checkServers(round int) {
	all, err := c.broker.api.servers()
	require.NoError(c.t, err)
	require.Len(c.t, all, crashHosts, "round %d", round)
	for name, s := range all {
		closed := s.UnavailabilityReason == "SERVER_CLOSED"
		if s.UnavailabilityReason == "UNREACHABLE_AGENT" || s.UnavailabilityReason == "UNHEALTHY_DCV_SERVER" {
			continue // says nothing about the flag
		}
		if want := c.closed[s.ID]; want != nil && *want != closed {
			c.t.Errorf("round %d: server %s: closed is %t, answered was %t: %+v", round, name, closed, *want, s)
		}
	}
}

// checkConnectionToken asks as the DCV server does (contract section 11).
func (c *crashes) checkConnectionToken(round int) {
	form := url.Values{"sessionId": {c.token.Session.ID}, "authenticationToken": {c.token.ConnectionToken}, "clientAddress": {"127.0.0.1"}}
	response, err := c.broker.api.http.PostForm(c.broker.agentURL("/agent/validate-authentication-token"), form)
	require.NoError(c.t, err)
	defer response.Body.Close()
	text := make([]byte, 200)
	n, _ := response.Body.Read(text)
	require.Equal(c.t, `<auth result="yes"><username>keeper</username></auth>`, string(text[:n]), "round %d", round)
}

func (c *crashes) checkHosts(round int) {
	for name, h := range c.hosts {
		require.NoError(c.t, exceeded(h), "round %d: host %s", round, name)
	}
}

// settle lets the broker finish, then compares its picture with the hosts, and at
// last has everything deleted.
func (c *crashes) settle() {
	t, api := c.t, c.broker.api
	var items list
	for id := range c.closed {
		items = append(items, object{"ServerId": id})
	}
	require.Empty(t, call[serverResults](api, http.MethodPost, "/openServers", items).UnsuccessfulList)
	await(t, "the broker's picture to be the hosts'", func() error { return c.compare(false) })
	t.Logf("%d sessions accepted, %d deletions; refusals: %v", len(c.accepted), len(c.deleted), c.refusals)
	all, err := api.sessions() // more than were answered
	require.NoError(t, err)
	for id, s := range all {
		if s.State != "DELETED" {
			_, answered := c.post("/deleteSessions", list{object{"SessionId": id, "Owner": s.Owner}})
			require.True(t, answered)
		}
	}
	await(t, "empty hosts", func() error { return c.compare(true) })
	for name := range c.hosts {
		require.Zero(t, api.awaitServer(name, "AVAILABLE", "").VirtualSessionCount)
	}
	log := c.broker.log.String()
	require.NotContains(t, log, "panic", "no actor may fail")
	_, err = os.Stat(filepath.Join(c.broker.dir, "work", "broker.db"))
	require.NoError(t, err)
}

// compare says what differs between the broker's picture and the hosts.
func (c *crashes) compare(empty bool) error {
	p, err := look(c.broker.api, c.hosts)
	if err != nil {
		return err
	}
	wrong := p.differences()
	for id, s := range p.sessions {
		if c.deleted[id] && s.State != "DELETED" || empty && s.State != "DELETED" {
			wrong = append(wrong, fmt.Sprintf("deleted, yet %+v", s))
		}
	}
	return problem(wrong)
}
