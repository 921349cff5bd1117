package oauth_test

import (
	"context"
	"encoding/json"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"opensessionmanager/http/oauth"
	"opensessionmanager/persistence"
	"opensessionmanager/persistence/memory"
)

// enrol registers an agent with a statement.
func (w *world) enrol(t testing.TB, statement string) (id, secret string) {
	t.Helper()
	body, err := json.Marshal(map[string]string{"software_statement": statement, "client_name": "host"})
	require.NoError(t, err)
	answer := ask(w.RegisterHandler(), "/agent/register", "", string(body))
	require.Equal(t, 201, answer.StatusCode(), "%s", answer.Body())
	var made struct {
		ID     string `json:"client_id"`
		Secret string `json:"client_secret"`
	}
	require.NoError(t, json.Unmarshal(answer.Body(), &made))
	return made.ID, made.Secret
}

func (w *world) askAgentToken(id, secret string) (status int, code string) {
	answer := ask(w.AgentTokenHandler(), "/agent/oauth2/token", basic(id, secret), "grant_type=client_credentials")
	var said struct{ Error string }
	_ = json.Unmarshal(answer.Body(), &said)
	return answer.StatusCode(), said.Error
}

// An agent that was unregistered is told so, which an agent that the broker never heard
// of is not: that one registers anew by itself, this one must not.
func TestAgents_UnregisteredIsNotUnknown(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	statement, err := w.Statements().Generate(t.Context(), "1")
	require.NoError(t, err)
	id, secret := w.enrol(t, statement)
	status, _ := w.askAgentToken(id, secret)
	require.Equal(t, 200, status)
	require.NoError(t, w.Agents().Unregister(t.Context(), id))
	status, code := w.askAgentToken(id, secret)
	require.Equal(t, 400, status)
	require.Equal(t, "unauthorized_client", code)
	status, code = w.askAgentToken(id, "guessed")
	require.Equal(t, 401, status)
	require.Equal(t, "invalid_client", code, "who has not the secret learns nothing")
}

// deactivate-software-statement --with-agents takes in those that registered with it.
func TestAgents_AreUnregisteredWithTheirStatement(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	stolen, err := w.Statements().Generate(t.Context(), "1")
	require.NoError(t, err)
	good, err := w.Statements().Generate(t.Context(), "1")
	require.NoError(t, err)
	a, aSecret := w.enrol(t, stolen)
	b, _ := w.enrol(t, stolen)
	c, cSecret := w.enrol(t, good)
	id, err := w.Statements().Deactivate(t.Context(), stolen)
	require.NoError(t, err)
	status, _ := w.askAgentToken(a, aSecret)
	require.Equal(t, 200, status, "agents stay unless it is asked for")
	n, err := w.Agents().UnregisterAll(t.Context(), id)
	require.NoError(t, err)
	require.Equal(t, 2, n)
	revoked, err := w.Agents().Revoked(t.Context(), map[string]bool{a: true, b: true, c: true, "unknown": true})
	require.NoError(t, err)
	require.Equal(t, map[string]bool{a: true, b: true}, revoked)
	status, _ = w.askAgentToken(c, cSecret)
	require.Equal(t, 200, status)
	n, err = w.Agents().UnregisterAll(t.Context(), id)
	require.NoError(t, err)
	require.Zero(t, n, "again")
}

// Every broker is told that something changed, again when it could not look, and once
// more for what was under way.
func TestServer_RunTellsOfChangesElsewhere(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	statement, err := w.Statements().Generate(t.Context(), "1")
	require.NoError(t, err)
	id, _ := w.enrol(t, statement)
	var calls atomic.Int32
	other := join(t, w.store, func(c *oauth.Config) {
		c.Changed = func(context.Context) error {
			if calls.Add(1) == 1 {
				return errors.New("the store was away")
			}
			return nil
		}
	})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); other.Run(ctx, 20*time.Millisecond) }() // more often by itself after 2.4 s
	require.NoError(t, w.Agents().Unregister(t.Context(), id))
	require.Eventually(t, func() bool { return calls.Load() == 3 }, time.Minute, time.Millisecond)
	require.Never(t, func() bool { return calls.Load() > 3 }, 50*time.Millisecond, 10*time.Millisecond)
	cancel()
	<-ended
}

// F36: a broker that unregistered an agent and died before it told anybody is no reason
// for the socket to stay; nor is it that the first look fails.
func TestServer_RunLooksNowAndThenWithoutBeingTold(t *testing.T) {
	t.Parallel()
	var calls atomic.Int32
	w := newWorld(t, func(c *oauth.Config) {
		c.Changed = func(ctx context.Context) error {
			deadline, ok := ctx.Deadline()
			if !ok || time.Until(deadline) < 5*time.Second {
				t.Error("it has no time of its own")
			}
			if calls.Add(1) == 1 {
				return errors.New("the store was away")
			}
			return nil
		}
	})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); w.Run(ctx, time.Millisecond) }()
	awaitTrue(t, "the look to be repeated", func() bool { return calls.Load() >= 3 })
	cancel()
	<-ended
}

// walked is a store that can walk, as Consul's, and counts what it reads for that.
type walked struct {
	persistence.Store
	read atomic.Int64
}

func (w *walked) Walk(ctx context.Context, kind string, want func(string) bool, each func([]persistence.Record) error) error {
	return persistence.Walk(ctx, w.Store, kind, want, func(page []persistence.Record) error {
		w.read.Add(int64(len(page)))
		return each(page)
	})
}

// Who is connected is asked about, not every agent that there ever was.
func TestAgents_RevokedReadsOnlyThoseAskedFor(t *testing.T) {
	t.Parallel()
	store := &walked{Store: memory.New()}
	w := join(t, store)
	statement, err := w.Statements().Generate(t.Context(), "1")
	require.NoError(t, err)
	ids := map[string]bool{}
	for i := range 30 {
		id, _ := w.enrol(t, statement)
		if i < 3 {
			ids[id] = true
			require.NoError(t, w.Agents().Unregister(t.Context(), id))
		}
	}
	store.read.Store(0)
	revoked, err := w.Agents().Revoked(t.Context(), ids)
	require.NoError(t, err)
	require.Equal(t, ids, revoked)
	require.EqualValues(t, 3, store.read.Load())
}
