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
	"time"

	"github.com/hashicorp/consul/api"

	"opensessionmanager/cluster/membership"
)

// Defaults of Config.
const (
	DefaultAddress = "127.0.0.1:8500"
	DefaultService = "dcv-session-manager-broker"
	DefaultPrefix  = "dcv-session-manager/"
)

// ErrConfig: the configuration cannot work. Trying again does not help.
var ErrConfig = errors.New("consul: wrong configuration")

// Config says where Consul is. What is zero becomes its default.
type Config struct {
	Address string // of an agent: host:port, http://host:port or https://host:port; the agent of this machine is best
	Token   string // ACL token; "": what CONSUL_HTTP_TOKEN or CONSUL_HTTP_TOKEN_FILE say, else none
	TLS     TLS    // how to verify an https agent; setting any makes https the default scheme
	Service string // name of the brokers' service; letters, digits, - and _
	Prefix  string // of all keys; letters, digits and -_./
	Tags    []string
	membership.Options
}

// TLS names PEM files. Without CAFile the system's authorities are trusted.
type TLS struct {
	CAFile     string
	CertFile   string // of this client, with KeyFile, if Consul asks for one
	KeyFile    string
	ServerName string // expected in the certificate instead of the address's host
}

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
	client    *api.Client
	transport *http.Transport
	service   string
	prefix    string // of the keys here, with "fleet/"
	tags      []string
	ttl       time.Duration
}

func newRegistry(cfg Config) (*registry, error) {
	r := &registry{
		service: cmp.Or(cfg.Service, DefaultService),
		prefix:  strings.TrimSuffix(cmp.Or(cfg.Prefix, DefaultPrefix), "/") + "/fleet/",
		tags:    cfg.Tags,
		ttl:     cmp.Or(cfg.TTL, membership.DefaultTTL),
	}
	if !only(r.service, "-_") {
		return nil, fmt.Errorf("the service's name %q has other characters than letters, digits, - and _", r.service)
	}
	if !only(r.prefix, "-_./") || strings.HasPrefix(r.prefix, "/") {
		return nil, fmt.Errorf("the prefix %q begins with / or has other characters than letters, digits and -_./", r.prefix)
	}
	var err error
	r.client, r.transport, err = connect(cfg)
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
func (r *registry) Close() { r.transport.CloseIdleConnections() }

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
	return explain("register", r.client.Agent().ServiceRegisterOpts(service, api.ServiceRegisterOpts{}.WithContext(ctx)))
}

// Beat implements membership.Registry.
func (r *registry) Beat(ctx context.Context, id string) error {
	err := r.client.Agent().UpdateTTLOpts(r.checkID(id), "", api.HealthPassing, options(ctx, 0, 0))
	if status(err) == http.StatusNotFound {
		return membership.ErrNotRegistered
	}
	return explain("beat", err)
}

// Withdraw implements membership.Registry.
func (r *registry) Withdraw(ctx context.Context, id string) error {
	err := r.client.Agent().ServiceDeregisterOpts(r.serviceID(id), options(ctx, 0, 0))
	if status(err) == http.StatusNotFound {
		return nil
	}
	return explain("deregister", err)
}

// Healthy implements membership.Registry.
func (r *registry) Healthy(ctx context.Context, after uint64, wait time.Duration) ([]membership.Entry, uint64, error) {
	found, meta, err := r.client.Health().Service(r.service, "", true, options(ctx, after, wait))
	switch {
	case err != nil:
		return nil, 0, explain("list the brokers", err)
	case meta.ResultsFilteredByACLs:
		return nil, 0, errors.New(`consul: the token may not see all brokers: it needs service:write and node_prefix "" read`)
	}
	var entries []membership.Entry
	for _, s := range found {
		if s != nil && s.Service != nil && s.Service.Meta[metaFleet] == r.prefix {
			entries = append(entries, entryOf(s.Service.Meta))
		}
	}
	return entries, next(after, meta), nil
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
	pairs, meta, err := r.client.KV().List(r.prefix, options(ctx, after, wait))
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
	done, answer, _, err := r.client.KV().Txn(operations, options(ctx, 0, 0))
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
	_, err := r.client.KV().Put(&api.KVPair{Key: r.leftKey(id)}, (&api.WriteOptions{}).WithContext(ctx))
	return explain("say that this broker leaves", err)
}
