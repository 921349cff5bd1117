// Package consul is the membership of brokers that share a Consul.
//
// Each broker is a service of its own ID, <service>-<ID>, with a TTL check on the agent
// it talks to; the fleet's view is the key <prefix>fleet/view, changed by check-and-set
// only, and a broker that leaves writes <prefix>fleet/left/<ID>. Several fleets may
// share one Consul and even the service's name: the prefix tells them apart.
//
// The ACL token needs
//
//	key_prefix "<prefix>" { policy = "write" }
//	service "<service>"   { policy = "write" }
//	node_prefix ""        { policy = "read" }
//
// the last because Consul lists a service only together with its node.
package consul

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/consul/api"

	"opensessionmanager/cluster/membership"
	"opensessionmanager/internal/consulapi"
)

// Defaults of Config.
const (
	DefaultService = "dcv-session-manager-broker"
	DefaultPrefix  = "dcv-session-manager/"
)

// ErrConfig: the configuration cannot work. Trying again does not help.
var ErrConfig = errors.New("consul: wrong configuration")

// Config says where Consul is. What is zero becomes its default.
type Config struct {
	// Addresses of agents of one cluster: host:port, http://host:port or
	// https://host:port. The agent of this machine is best, and comes first.
	Addresses []string
	Token     string // ACL token; "": what CONSUL_HTTP_TOKEN or CONSUL_HTTP_TOKEN_FILE say, else none
	TLS       TLS    // how to verify an https agent; setting any makes https the default scheme
	Service   string // name of the brokers' service; letters, digits, - and _
	Prefix    string // of all keys; letters, digits and -_./
	Tags      []string
	membership.Options
}

// TLS says how an https agent is verified.
type TLS = consulapi.TLS

// New makes the source of one incarnation of a broker. It does not ask Consul, which
// may be away for now; only ErrConfig is possible.
func New(cfg Config) (*membership.Keeper, error) {
	r, err := newRegistry(cfg)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrConfig, err)
	}
	return membership.New(r, cfg.Options), nil
}

// registry is a membership.Registry in Consul.
type registry struct {
	agents  *consulapi.Agents
	service string
	prefix  string // of the keys here, with "fleet/"
	tags    []string
	ttl     time.Duration

	mu     sync.Mutex
	listed map[*api.Client]bool // agents this broker registered with and may have to leave
}

func newRegistry(cfg Config) (*registry, error) {
	r := &registry{
		service: cmp.Or(cfg.Service, DefaultService),
		prefix:  strings.TrimSuffix(cmp.Or(cfg.Prefix, DefaultPrefix), "/") + "/fleet/",
		tags:    cfg.Tags,
		ttl:     cmp.Or(cfg.TTL, membership.DefaultTTL),
		listed:  map[*api.Client]bool{},
	}
	if !only(r.service, "-_") {
		return nil, fmt.Errorf("the service's name %q has other characters than letters, digits, - and _", r.service)
	}
	if !only(r.prefix, "-_./") || strings.HasPrefix(r.prefix, "/") {
		return nil, fmt.Errorf("the prefix %q begins with / or has other characters than letters, digits and -_./", r.prefix)
	}
	var err error
	r.agents, err = connect(cfg)
	return r, err
}

// only: s has no characters but ASCII letters, digits and others.
func only(s, others string) bool {
	for _, c := range s {
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && !strings.ContainsRune(others, c) {
			return false
		}
	}
	return true
}

func (r *registry) serviceID(id string) string { return r.service + "-" + id }
func (r *registry) checkID(id string) string   { return "service:" + r.serviceID(id) }
func (r *registry) viewKey() string            { return r.prefix + "view" }
func (r *registry) leftKey(id string) string   { return r.prefix + "left/" + id }

// Place implements membership.Registry.
func (r *registry) Place() string { return "Consul's key " + r.viewKey() }

// Close implements membership.Registry.
func (r *registry) Close() { r.agents.Close() }

// Keys of a service's meta data.
const (
	metaID       = "id"
	metaAddress  = "address"
	metaFleet    = "fleet"
	metaProtocol = "protocol"
	metaOldest   = "oldest-protocol"
)

// forgetAfter is when Consul drops a broker that died, at the earliest: its least.
const forgetAfter = time.Minute

// Register implements membership.Registry.
func (r *registry) Register(ctx context.Context, e membership.Entry) error {
	host, port, err := net.SplitHostPort(e.Address)
	if err != nil {
		return fmt.Errorf("consul: register: %w", err)
	}
	number, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return fmt.Errorf("consul: register: %w", err)
	}
	service := &api.AgentServiceRegistration{
		ID: r.serviceID(e.ID), Name: r.service, Tags: r.tags, Address: host, Port: int(number),
		Meta: map[string]string{metaID: e.ID, metaAddress: e.Address, metaFleet: r.prefix,
			metaProtocol: strconv.Itoa(e.Protocol), metaOldest: strconv.Itoa(e.Oldest)},
		Check: &api.AgentServiceCheck{CheckID: r.checkID(e.ID), TTL: r.ttl.String(), Status: api.HealthPassing,
			DeregisterCriticalServiceAfter: forgetAfter.String()},
	}
	// An agent answers when the leader knows, and keeps what it was told if that takes long.
	return explain("register", r.ask(ctx, true, func(c *api.Client) error {
		r.mu.Lock()
		r.listed[c] = true
		r.mu.Unlock()
		return c.Agent().ServiceRegisterOpts(service, api.ServiceRegisterOpts{}.WithContext(ctx))
	}))
}

// Beat implements membership.Registry. The check belongs to one agent: another one that
// takes its place does not know this broker, and is told.
func (r *registry) Beat(ctx context.Context, id string) error {
	err := r.each(ctx, func(c *api.Client) error {
		return c.Agent().UpdateTTLOpts(r.checkID(id), "", api.HealthPassing, options(ctx, 0, 0))
	})
	if status(err) == http.StatusNotFound {
		return membership.ErrNotRegistered
	}
	return explain("beat", err)
}

// Withdraw implements membership.Registry. An agent that is gone forgets by itself.
func (r *registry) Withdraw(ctx context.Context, id string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	var err error
	first := r.agents.First()
	for i := range r.agents.Len() {
		c := r.agents.Client(first + i)
		if !r.listed[c] {
			continue
		}
		failure := c.Agent().ServiceDeregisterOpts(r.serviceID(id), options(ctx, 0, 0))
		if failure != nil && status(failure) != http.StatusNotFound {
			err = cmp.Or(err, failure)
			continue
		}
		delete(r.listed, c)
	}
	return explain("deregister", err)
}

// Healthy implements membership.Registry. Consul's own idea of it, that all checks of the
// service and of its node pass, is not ours: a full disk or a maintenance that an operator
// told Consul of would remove a broker that works, or all.
func (r *registry) Healthy(ctx context.Context, after uint64, wait time.Duration) ([]membership.Entry, uint64, error) {
	var found []*api.ServiceEntry
	var meta *api.QueryMeta
	err := r.each(ctx, func(c *api.Client) (err error) {
		found, meta, err = c.Health().Service(r.service, "", false, options(ctx, after, wait))
		return err
	})
	switch {
	case err != nil:
		return nil, 0, explain("list the brokers", err)
	case meta.ResultsFilteredByACLs:
		return nil, 0, errors.New(`consul: the token may not see all brokers: it needs service:write and node_prefix "" read`)
	}
	var entries []membership.Entry
	for _, s := range found {
		if s != nil && s.Service != nil && s.Service.Meta[metaFleet] == r.prefix {
			e := entryOf(s.Service.Meta)
			e.Failing = r.failing(e.ID, s.Checks)
			entries = append(entries, e)
		}
	}
	return entries, next(after, meta), nil
}

// serfHealth is Consul's own check whether the agent of a node is there.
const serfHealth = "serfHealth"

// failing says why a broker does not count as healthy, "" if it does: by its own check, and
// by that of its agent.
func (r *registry) failing(id string, checks api.HealthChecks) string {
	why := "it has no check " + r.checkID(id)
	for _, c := range checks {
		switch {
		case c == nil:
		case c.CheckID == serfHealth && c.Status == api.HealthCritical:
			return fmt.Sprintf("check %s of node %.100q is critical: %.200q", serfHealth, c.Node, c.Output)
		case c.CheckID == r.checkID(id) && c.Status == api.HealthPassing:
			why = ""
		case c.CheckID == r.checkID(id):
			why = fmt.Sprintf("its check %s is %s: %.200q", c.CheckID, c.Status, c.Output)
		}
	}
	return why
}

// entryOf reads what Register wrote. What somebody else wrote makes an entry that
// membership does not take.
func entryOf(meta map[string]string) membership.Entry {
	protocol, _ := strconv.Atoi(meta[metaProtocol])
	oldest, _ := strconv.Atoi(meta[metaOldest])
	return membership.Entry{ID: meta[metaID], Address: meta[metaAddress], Protocol: protocol, Oldest: oldest}
}

// Fleet implements membership.Registry: one query for the view and the marks.
func (r *registry) Fleet(ctx context.Context, after uint64, wait time.Duration) (membership.Stored, uint64, error) {
	var place membership.Stored
	var pairs api.KVPairs
	var meta *api.QueryMeta
	err := r.each(ctx, func(c *api.Client) (err error) {
		pairs, meta, err = c.KV().List(r.prefix, options(ctx, after, wait))
		return err
	})
	switch {
	case err != nil:
		return place, 0, explain("read the view", err)
	case meta.ResultsFilteredByACLs:
		return place, 0, fmt.Errorf("consul: the token may not see all keys below %s", r.prefix)
	}
	for _, p := range pairs {
		if id, ok := strings.CutPrefix(p.Key, r.leftKey("")); ok {
			place.Left = append(place.Left, id)
		} else if p.Key == r.viewKey() {
			place.Document, place.Version = append([]byte{}, p.Value...), p.ModifyIndex
		}
	}
	return place, next(after, meta), nil
}

// maxClear is how many marks one transaction clears; Consul takes 64 operations.
const maxClear = 60

// Swap implements membership.Registry.
func (r *registry) Swap(ctx context.Context, version uint64, document []byte, clear []string) (bool, error) {
	operations := api.KVTxnOps{{Verb: api.KVCAS, Key: r.viewKey(), Value: document, Index: version}}
	for _, id := range clear[:min(len(clear), maxClear)] {
		operations = append(operations, &api.KVTxnOp{Verb: api.KVDelete, Key: r.leftKey(id)})
	}
	var done bool
	var answer *api.KVTxnResponse
	err := r.each(ctx, func(c *api.Client) (err error) {
		done, answer, _, err = c.KV().Txn(operations, options(ctx, 0, 0))
		return err
	})
	if err != nil {
		return false, explain("write the view", err)
	}
	if !done {
		for _, e := range answer.Errors {
			if e.OpIndex != 0 || !strings.Contains(e.What, "stale") {
				return false, fmt.Errorf("consul: write the view: %.300q", e.What)
			}
		}
	}
	return done, nil
}

// MarkLeft implements membership.Registry.
func (r *registry) MarkLeft(ctx context.Context, id string) error {
	return explain("say that this broker leaves", r.each(ctx, func(c *api.Client) error {
		_, err := c.KV().Put(&api.KVPair{Key: r.leftKey(id)}, (&api.WriteOptions{}).WithContext(ctx))
		return err
	}))
}
