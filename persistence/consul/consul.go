// Package consul keeps records in the KV store of a Consul cluster, which the
// brokers of a fleet share and which is replicated by Consul itself.
//
// A record is one key, <prefix>records/<kind>/<escaped ID>, so that an operator can
// read it with `consul kv get`; its value is a format byte and the Data. A write is
// a check-and-set on the key's ModifyIndex, in transactions of up to 63 operations:
// five lone writes cost as much as one full transaction, so use Apply
// (persistence.Committer does) rather than many Saves. Reads are consistent: the
// leader confirms with a quorum that it is still the leader.
//
// # Versions
//
// A version is the generation of the whole store and, below it, the key's
// ModifyIndex. Consul's index rises with every write of any key, so no version is
// used twice, also not after a delete. It starts anew when an operator wipes or
// replaces Consul's data; then an index from before could come up again and let a
// stale writer pass. The generation prevents that: a number of its own, the minute of
// its making, kept in <prefix>generation by the first broker that misses that key. It is
// also the name of the mark <prefix>generation/<number>, which every transaction checks;
// the key alone would not do, as its index too can come up again. A wiped store, or one that goes back to a
// life before that, therefore refuses all older versions (ErrConflict), gives out higher
// ones, and is logged as an error. (Unless it was itself begun in the same minute.)
//
// `consul snapshot restore` brings back the same generation, and is not noticed here. On
// a cluster that lives Consul's index goes on rising, so what was written since the
// snapshot is refused all the same. On a new cluster the index goes on where the snapshot
// ended: a writer that remembers a record from after that could, rarely, pass for the
// current one. Restart the brokers after such a restore.
//
// Consul must be 1.14 or later. The ACL token needs `key_prefix "<prefix>" { policy = "write" }`.
package consul

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"opensessionmanager/internal/consulapi"
	"opensessionmanager/persistence"
)

// DefaultPrefix is where in the KV store the keys are if Config does not say.
const DefaultPrefix = "dcv-session-manager/"

// DefaultTimeout is longer than the 7 seconds (rpc_hold_timeout) for which a Consul
// without a leader holds a write, so that its clear "No cluster leader" arrives.
const DefaultTimeout = 8 * time.Second

// ErrConfig: the configuration cannot work. Trying again does not help.
var ErrConfig = errors.New("consul: wrong configuration")

// Config says where Consul is. What is zero becomes its default.
type Config struct {
	// Addresses of Consul agents, tried in turn: host:port, http://host:port or
	// https://host:port. Default consulapi.DefaultAddress, the agent of this machine.
	Addresses []string
	Token     string        // ACL token; "": what CONSUL_HTTP_TOKEN or CONSUL_HTTP_TOKEN_FILE say, else none
	TLS       TLS           // how to verify an https agent; setting any makes https the default scheme
	Prefix    string        // of all keys; letters, digits and -_./; default DefaultPrefix
	Timeout   time.Duration // of one request to one agent; default DefaultTimeout
	Logger    *slog.Logger  // default: nowhere
}

// TLS says how an https agent is verified.
type TLS = consulapi.TLS

func (c Config) withDefaults() Config {
	c.Prefix = strings.TrimSuffix(cmp.Or(c.Prefix, DefaultPrefix), "/") + "/"
	c.Timeout = cmp.Or(c.Timeout, DefaultTimeout)
	c.Logger = cmp.Or(c.Logger, slog.New(slog.DiscardHandler))
	return c
}

// Store is a persistence.Store in Consul's KV.
type Store struct {
	prefix string
	agents *agents
	log    *slog.Logger

	closing sync.RWMutex // held for reading by every call
	closed  bool

	generations sync.Mutex
	current     *generation // nil: to be asked for
	newest      generation  // ever seen

	// groupBytes is the most bytes of one transaction's request. It shrinks when
	// Consul is configured to take less.
	groupBytes atomic.Int64
}

var (
	_ persistence.Store  = (*Store)(nil)
	_ persistence.Walker = (*Store)(nil)
)

// Open makes a store. It does not ask Consul, so that a broker can start, and say
// that it is not ready, while Consul is away; only ErrConfig is possible.
func Open(cfg Config) (*Store, error) {
	cfg = cfg.withDefaults()
	if err := consulapi.CheckPrefix(cfg.Prefix); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrConfig, err)
	}
	all, err := connect(cfg)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrConfig, err)
	}
	s := &Store{prefix: cfg.Prefix, agents: all, log: cfg.Logger}
	s.groupBytes.Store(maxGroupBytes)
	return s, nil
}

// Close implements persistence.Store. Records stay in Consul.
func (s *Store) Close() error {
	s.closing.Lock()
	defer s.closing.Unlock()
	s.closed = true
	s.agents.Close()
	return nil
}

// begin is called by every method; after nil, end must follow.
func (s *Store) begin(ctx context.Context) error {
	s.closing.RLock()
	err := ctx.Err()
	if s.closed {
		err = errors.New("closed")
	}
	if err == nil {
		return nil
	}
	s.closing.RUnlock()
	return fmt.Errorf("%w: %w", persistence.ErrUnavailable, err)
}

func (s *Store) end() { s.closing.RUnlock() }

func (s *Store) kindPrefix(kind string) string { return s.prefix + "records/" + kind + "/" }

func (s *Store) keyOf(key persistence.Key) string { return s.kindPrefix(key.Kind) + escape(key.ID) }

// format is the first byte of a value. Another one was written by a program that
// keeps records in another way.
const format = '1'

func encodeValue(data []byte) []byte {
	value := make([]byte, 1, 1+len(data))
	value[0] = format
	return append(value, data...)
}

func decodeValue(key string, value []byte) ([]byte, error) {
	if len(value) == 0 || value[0] != format {
		return nil, fmt.Errorf("%w: the value of the key %q is no record of this program: take it away with consul kv delete", persistence.ErrUnavailable, key)
	}
	return value[1:], nil
}
