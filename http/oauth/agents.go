package oauth

import (
	"context"
	"errors"
	"time"

	"github.com/google/uuid"

	"opensessionmanager/persistence"
)

const kindAgentClient = "agent-client"

// AgentClients are the registered agents. Nothing is kept in memory: a fleet has
// thousands, each is asked for when its agent connects, and a deactivation on
// any broker must count on all.
type AgentClients struct {
	shelf  shelf[clientRecord]
	hasher hasher
	now    func() time.Time
}

// NewAgentClients keeps agents in store.
func NewAgentClients(store persistence.Store, keys *Keys, now func() time.Time) *AgentClients {
	return &AgentClients{shelf[clientRecord]{store, kindAgentClient}, newHasher(keys), now}
}

// Describe lists all agents; names may repeat.
func (a *AgentClients) Describe(ctx context.Context) ([]Description, error) {
	return describe(ctx, a.shelf)
}

// Unregister deactivates an agent: it gets no tokens and cannot connect again.
// ErrUnknownClient if there is none.
func (a *AgentClients) Unregister(ctx context.Context, id string) error {
	_, err := deactivate(ctx, a.shelf, id)
	return err
}

func (a *AgentClients) register(ctx context.Context, name string) (id, secret string, err error) {
	id, secret = uuid.NewString(), newSecret()
	record := clientRecord{Name: name, Active: true, Hash: a.hasher.hash(id, secret), Created: a.now().UTC()}
	_, err = a.shelf.create(ctx, id, record)
	return id, secret, err
}

func (a *AgentClients) authenticate(ctx context.Context, id, secret string) (bool, error) {
	record, err := a.find(ctx, id)
	return a.hasher.matches(record.Hash, id, secret) && record.Active, err
}

func (a *AgentClients) active(ctx context.Context, id string) (bool, error) {
	record, err := a.find(ctx, id)
	return record.Active, err
}

// find returns an empty record, without error, if there is none.
func (a *AgentClients) find(ctx context.Context, id string) (clientRecord, error) {
	if uuid.Validate(id) != nil || len(id) != 36 {
		return clientRecord{}, nil
	}
	k, err := a.shelf.load(ctx, id)
	if errors.Is(err, persistence.ErrNotFound) {
		return clientRecord{}, nil
	}
	return k.Value, err
}
