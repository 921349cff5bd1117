package oauth

import (
	"context"
	"crypto/hmac"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"opensessionmanager/persistence"
)

const kindAPIClient = "api-client"

// Errors of the keepers of clients and statements.
var (
	// ErrNameTaken: an active client has this name.
	ErrNameTaken = errors.New("oauth: an active client has this name")
	// ErrUnknownClient: no client has this id.
	ErrUnknownClient = errors.New("oauth: unknown client")
	// ErrInactive: the client was unregistered.
	ErrInactive = errors.New("oauth: the client is not active")
)

// Description is what an administrator sees of a client. Secrets cannot be read again.
type Description struct {
	ID     string `json:"id"`
	Name   string `json:"name"`
	Active bool   `json:"active"`
}

// clientRecord is a client in the store, of the API or an agent.
type clientRecord struct {
	Name    string    `json:"name"`
	Active  bool      `json:"active"`
	Hash    []byte    `json:"hash"`
	Created time.Time `json:"created"`
	// The secret before the last rotation, and until when it counts.
	Previous      []byte    `json:"previous,omitempty"`
	PreviousUntil time.Time `json:"previousUntil,omitzero"`
	// Statement is the id of the software statement or enrolment token with which an
	// agent registered.
	Statement string `json:"statement,omitempty"`
}

// client is a client in memory. Whoever holds one sees its deactivation at once.
type client struct {
	id, name string
	secrets  atomic.Pointer[secrets]
	active   atomic.Bool
	version  int64 // under Clients.mu
}

// secrets are what the store keeps of a client's secret, and of the one before.
type secrets struct {
	hash, previous []byte
	until          time.Time
}

func (r clientRecord) secrets() *secrets { return &secrets{r.Hash, r.Previous, r.PreviousUntil} }

// Clients are the API clients. Reads take no lock; a change is in the store
// before it is seen here. Changes of other brokers arrive with Refresh.
type Clients struct {
	shelf  shelf[clientRecord]
	hasher hasher
	epoch  epoch
	now    func() time.Time
	table  sync.Map // id → *client
	mu     sync.Mutex
}

func loadClients(ctx context.Context, cfg Config, e epoch) (*Clients, error) {
	c := &Clients{shelf: shelf[clientRecord]{cfg.Store, kindAPIClient}, hasher: newHasher(cfg.Keys), epoch: e, now: cfg.Now}
	return c, c.Refresh(ctx)
}

// Register makes a client and returns its id and password; the password exists
// nowhere else. ErrName, ErrNameTaken, or an error of the store.
func (c *Clients) Register(ctx context.Context, name string) (id, password string, err error) {
	if err := checkName(name); err != nil {
		return "", "", err
	}
	if err := c.Refresh(ctx); err != nil { // another broker may have registered it
		return "", "", err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.nameTaken(name) {
		return "", "", fmt.Errorf("%w: %q", ErrNameTaken, name)
	}
	id, password = uuid.NewString(), newSecret()
	record := clientRecord{Name: name, Active: true, Hash: c.hasher.hash(id, password), Created: c.now().UTC()}
	version, err := c.shelf.create(ctx, id, record)
	if err != nil {
		return "", "", err
	}
	c.adopt(kept[clientRecord]{ID: id, Version: version, Value: record})
	return id, password, nil
}

// Unregister deactivates a client: it gets no tokens, and those it has are
// refused, here from now on and on the other brokers within a second. ErrUnknownClient if there is none.
func (c *Clients) Unregister(ctx context.Context, id string) error {
	k, err := deactivate(ctx, c.shelf, id)
	if err != nil {
		return err
	}
	c.mu.Lock()
	c.adopt(k)
	c.mu.Unlock()
	return c.epoch.announce(ctx)
}

// Describe lists all clients, in order of registration id, as the store has them.
func (c *Clients) Describe(ctx context.Context) ([]Description, error) {
	return describe(ctx, c.shelf)
}

// Refresh adopts what other brokers changed.
func (c *Clients) Refresh(ctx context.Context) error {
	all, err := c.shelf.all(ctx)
	if err != nil {
		return err
	}
	for _, id := range c.adoptAll(all) {
		if _, err := deactivate(ctx, c.shelf, id); err != nil {
			return err
		}
	}
	return nil
}

// adoptAll returns the clients that a backup brought back: they were unregistered, and
// there is no way back from that but a restored store (F52).
func (c *Clients) adoptAll(all []kept[clientRecord]) (revived []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, k := range all {
		if cl := c.adopt(k); k.Value.Active && !cl.active.Load() && k.Version >= cl.version {
			revived = append(revived, k.ID)
		}
	}
	return revived
}

// authenticate checks credentials. The error is the store's: then nobody knows.
func (c *Clients) authenticate(ctx context.Context, id, secret string) (bool, error) {
	known, err := c.lookup(ctx, id)
	if err != nil {
		return false, err
	}
	if known == nil {
		c.hasher.matches(nil, id, secret) // the same work as for a known client
		return false, nil
	}
	if !known.secrets.Load().match(c.hasher, id, secret, c.now()) {
		// Another broker may have made this one a moment ago. Who guesses is slowed down
		// before this (see guess).
		if known, err = c.read(ctx, id); err != nil || known == nil {
			return false, err
		}
	}
	return known.secrets.Load().match(c.hasher, id, secret, c.now()) && known.active.Load(), nil
}

// match compares with both secrets whatever comes of the first.
func (s *secrets) match(h hasher, id, secret string, now time.Time) bool {
	given := h.hash(id, secret)
	newest, before := hmac.Equal(s.hash, given), hmac.Equal(s.previous, given)
	return newest || before && now.Before(s.until)
}

// Rotate gives a client another password. The one before counts for overlap longer, so
// that a portal can be told of the new one meanwhile; tokens that were issued stay good.
// ErrUnknownClient, ErrInactive, or an error of the store.
func (c *Clients) Rotate(ctx context.Context, id string, overlap time.Duration) (password string, until time.Time, err error) {
	if uuid.Validate(id) != nil {
		return "", time.Time{}, ErrUnknownClient
	}
	password, until = newSecret(), c.now().Add(overlap).UTC()
	fresh := c.hasher.hash(id, password)
	k, err := c.shelf.change(ctx, id, func(r *clientRecord) {
		if hmac.Equal(r.Hash, fresh) || !r.Active {
			return // a write whose outcome was unknown had been done; or nothing is to be done
		}
		r.Previous, r.PreviousUntil, r.Hash = r.Hash, until, fresh
		if overlap <= 0 {
			r.Previous, r.PreviousUntil = nil, time.Time{}
		}
	})
	switch {
	case errors.Is(err, persistence.ErrNotFound):
		return "", time.Time{}, ErrUnknownClient
	case err != nil:
		return "", time.Time{}, err
	case !k.Value.Active:
		return "", time.Time{}, ErrInactive
	}
	c.mu.Lock()
	c.adopt(k)
	c.mu.Unlock()
	return password, until, c.epoch.announce(ctx)
}

// lookup finds a client in memory, or in the store if another broker has just
// registered it. Nil without error: there is none.
func (c *Clients) lookup(ctx context.Context, id string) (*client, error) {
	if known, ok := c.table.Load(id); ok {
		return known.(*client), nil
	}
	if uuid.Validate(id) != nil || len(id) != 36 {
		return nil, nil
	}
	return c.read(ctx, id)
}

// read takes a client from the store. Nil without error: there is none.
func (c *Clients) read(ctx context.Context, id string) (*client, error) {
	k, err := c.shelf.load(ctx, id)
	if errors.Is(err, persistence.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.adopt(k), nil
}

// adopt puts a record into the table unless a newer one is there. Under mu.
func (c *Clients) adopt(k kept[clientRecord]) *client {
	if known, ok := c.table.Load(k.ID); ok {
		cl := known.(*client)
		if k.Version > cl.version {
			cl.version = k.Version
			cl.secrets.Store(k.Value.secrets())
			if !k.Value.Active {
				cl.active.Store(false)
			}
		}
		return cl
	}
	cl := &client{id: k.ID, name: k.Value.Name, version: k.Version}
	cl.secrets.Store(k.Value.secrets())
	cl.active.Store(k.Value.Active)
	c.table.Store(k.ID, cl)
	return cl
}

// nameTaken walks over the clients: there are few, and it is asked rarely.
func (c *Clients) nameTaken(name string) (taken bool) {
	c.table.Range(func(_, value any) bool {
		cl := value.(*client)
		taken = cl.name == name && cl.active.Load()
		return !taken
	})
	return taken
}

func deactivate(ctx context.Context, s shelf[clientRecord], id string) (kept[clientRecord], error) {
	if uuid.Validate(id) != nil {
		return kept[clientRecord]{}, ErrUnknownClient
	}
	k, err := s.change(ctx, id, func(r *clientRecord) { r.Active = false })
	if errors.Is(err, persistence.ErrNotFound) {
		return k, ErrUnknownClient
	}
	return k, err
}

func describe(ctx context.Context, s shelf[clientRecord]) ([]Description, error) {
	all, err := s.all(ctx)
	if err != nil {
		return nil, err
	}
	list := make([]Description, len(all))
	for i, k := range all {
		list[i] = Description{ID: k.ID, Name: k.Value.Name, Active: k.Value.Active}
	}
	return list, nil
}
