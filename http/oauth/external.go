package oauth

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sort"
	"sync"
	"sync/atomic"
	"time"

	"opensessionmanager/http/oauth/authserver"
	"opensessionmanager/http/oauth/keyset"
	"opensessionmanager/persistence"
)

const (
	kindAuthServer = "auth-server"
	maxAuthServers = 64
)

// Errors of AuthServers.
var (
	ErrUnknownAuthServer  = errors.New("oauth: no authorization server is registered with this URL")
	ErrTooManyAuthServers = fmt.Errorf("oauth: at most %d authorization servers can be registered", maxAuthServers)
)

// AuthServers are the external authorization servers whose access tokens open the
// API. Checking a token takes no lock.
type AuthServers struct {
	shelf  shelf[authserver.Server]
	epoch  epoch
	client *http.Client
	logger *slog.Logger
	now    func() time.Time

	list    atomic.Pointer[[]*external] // sorted by URL
	waiting atomic.Int64                // checks that wait for a fetch
	mu      sync.Mutex                  // of changes of list
	closed  bool
}

// external is a server with its keys.
type external struct {
	authserver.Server
	set *keyset.Set
}

// AuthServerStatus is a server and how its keys are.
type AuthServerStatus struct {
	authserver.Server
	keyset.Status
}

func loadAuthServers(ctx context.Context, cfg Config, e epoch) (*AuthServers, error) {
	a := &AuthServers{shelf: shelf[authserver.Server]{cfg.Store, kindAuthServer}, epoch: e,
		client: keyset.NewClient(cfg.AuthServerRoots), logger: cfg.Logger, now: cfg.Now}
	a.list.Store(&[]*external{})
	return a, a.refresh(ctx)
}

// Register makes tokens of a server good, here from now on and on the other brokers
// within a second. Registering a URL again replaces what was said about it, so that
// installers may be run twice. authserver.ErrInvalid, ErrTooManyAuthServers, or an
// error of the store.
func (a *AuthServers) Register(ctx context.Context, server authserver.Server) error {
	if err := server.Check(); err != nil {
		return err
	}
	id := authServerID(server.URL)
	_, err := a.shelf.change(ctx, id, func(s *authserver.Server) { *s = server })
	if errors.Is(err, persistence.ErrNotFound) {
		all, listErr := a.shelf.all(ctx)
		if listErr != nil {
			return listErr
		}
		if len(all) >= maxAuthServers {
			return ErrTooManyAuthServers
		}
		_, err = a.shelf.create(ctx, id, server)
	}
	if err != nil {
		return err
	}
	return a.changed(ctx)
}

// Unregister makes tokens of a server worthless. ErrUnknownAuthServer if it is not
// registered, or an error of the store.
func (a *AuthServers) Unregister(ctx context.Context, url string) error {
	err := a.shelf.remove(ctx, authServerID(url))
	if errors.Is(err, persistence.ErrNotFound) {
		return ErrUnknownAuthServer
	}
	if err != nil {
		return err
	}
	return a.changed(ctx)
}

func (a *AuthServers) changed(ctx context.Context) error {
	return errors.Join(a.refresh(ctx), a.epoch.announce(ctx))
}

// Describe lists the servers, as the store has them, in order of URL.
func (a *AuthServers) Describe(ctx context.Context) ([]AuthServerStatus, error) {
	if err := a.refresh(ctx); err != nil {
		return nil, err
	}
	list := *a.list.Load()
	described := make([]AuthServerStatus, len(list))
	for i, e := range list {
		described[i] = AuthServerStatus{e.Server, e.set.Status()}
	}
	return described, nil
}

// refresh adopts what the store says: a server about which something else is said
// than before begins anew, since its tokens have to be checked again.
func (a *AuthServers) refresh(ctx context.Context) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	records, err := a.shelf.all(ctx)
	if err != nil || a.closed {
		return err
	}
	before := map[string]*external{}
	for _, e := range *a.list.Load() {
		before[e.URL] = e
	}
	var list []*external
	for _, record := range records {
		server := record.Value
		if err := server.Check(); err != nil { // of a broker that allows more
			a.logger.Error("a registered authorization server is passed over", slog.Any("error", err))
			continue
		}
		e := before[server.URL]
		if e == nil || e.Server != server {
			e = &external{server, keyset.New(keyset.Config{URL: server.URL, Algorithm: server.Algorithm,
				Client: a.client, Logger: a.logger, Now: a.now})}
		} else {
			delete(before, server.URL)
		}
		list = append(list, e)
	}
	sort.Slice(list, func(i, j int) bool { return list[i].URL < list[j].URL })
	a.list.Store(&list)
	for _, gone := range before {
		gone.set.Close()
	}
	return nil
}

// Count is how many servers are registered.
func (a *AuthServers) Count() int { return len(*a.list.Load()) }

// fetchDue begins the fetches that are due.
func (a *AuthServers) fetchDue() {
	for _, e := range *a.list.Load() {
		e.set.Refresh()
	}
}

func (a *AuthServers) close() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.closed = true
	for _, e := range *a.list.Load() {
		e.set.Close()
	}
	a.list.Store(&[]*external{})
}

// authServerID makes a key of a URL, which may be longer than a key.
func authServerID(url string) string {
	sum := sha256.Sum256([]byte(url))
	return hex.EncodeToString(sum[:])
}
