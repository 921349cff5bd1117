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
	epoch  epoch
	now    func() time.Time
}

func newAgentClients(cfg Config, e epoch) *AgentClients {
	return &AgentClients{shelf[clientRecord]{cfg.Store, kindAgentClient}, newHasher(cfg.Keys), e, cfg.Now}
}

// Describe lists all agents; names may repeat.
func (a *AgentClients) Describe(ctx context.Context) ([]Description, error) {
	return describe(ctx, a.shelf)
}

// Unregister deactivates an agent: it gets no tokens, its socket is closed within
// seconds, on whatever broker it is, and it cannot connect again. ErrUnknownClient if
// there is none.
func (a *AgentClients) Unregister(ctx context.Context, id string) error {
	if _, err := deactivate(ctx, a.shelf, id); err != nil {
		return err
	}
	return a.epoch.announce(ctx)
}

// UnregisterAll deactivates the agents that registered with a software statement or
// an enrolment token, by its id, and says how many.
func (a *AgentClients) UnregisterAll(ctx context.Context, statementID string) (int, error) {
	all, err := a.shelf.all(ctx)
	if err != nil {
		return 0, err
	}
	count := 0
	for _, k := range all {
		if k.Value.Statement != statementID || !k.Value.Active {
			continue
		}
		if _, err := deactivate(ctx, a.shelf, k.ID); err != nil {
			return count, err
		}
		count++
	}
	return count, a.epoch.announce(ctx)
}

// Revoked are those of ids that were unregistered. It reads only these: the store keeps
// every agent that ever registered.
func (a *AgentClients) Revoked(ctx context.Context, ids map[string]bool) (map[string]bool, error) {
	revoked := map[string]bool{}
	err := a.shelf.walk(ctx, func(id string) bool { return ids[id] }, func(k kept[clientRecord]) {
		if !k.Value.Active {
			revoked[k.ID] = true
		}
	})
	return revoked, err
}

func (a *AgentClients) register(ctx context.Context, name, statementID string) (id, secret string, err error) {
	id, secret = uuid.NewString(), newSecret()
	record := clientRecord{Name: name, Active: true, Hash: a.hasher.hash(id, secret), Created: a.now().UTC(), Statement: statementID}
	_, err = a.shelf.create(ctx, id, record)
	return id, secret, err
}

// ensure makes a client whose id and secret are given, unless it is there already:
// ErrInactive if it was unregistered since.
func (a *AgentClients) ensure(ctx context.Context, id, secret, name, tokenID string) error {
	record := clientRecord{Name: name, Active: true, Hash: a.hasher.hash(id, secret), Created: a.now().UTC(), Statement: tokenID}
	_, err := a.shelf.create(ctx, id, record)
	if !errors.Is(err, persistence.ErrConflict) && !errors.Is(err, persistence.ErrUncertain) {
		return err
	}
	k, err := a.shelf.load(ctx, id)
	if err != nil {
		return err
	}
	if !k.Value.Active {
		return ErrInactive
	}
	return nil
}

// authenticate checks credentials. Whoever has the right ones of an agent that was
// unregistered is told so (ErrInactive): it must not register anew by itself.
func (a *AgentClients) authenticate(ctx context.Context, id, secret string) (bool, error) {
	record, err := a.find(ctx, id)
	if err != nil || !a.hasher.matches(record.Hash, id, secret) {
		return false, err
	}
	if !record.Active {
		return false, ErrInactive
	}
	return true, nil
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
