//go:build fleet

package consul_test

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"opensessionmanager/cluster/membership"
	"opensessionmanager/cluster/membership/consul"
	"opensessionmanager/cluster/membership/membershiptest"
	"opensessionmanager/persistence/consul/consultest"
)

const patience = 60 * time.Second

func TestMain(m *testing.M) {
	if os.Getenv(asMember) != "" {
		os.Exit(runMember())
	}
	// The tests wait more than they work: more of them at once than there are processors.
	flag.Parse()
	if err := flag.Set("test.parallel", "8"); err != nil {
		panic(err)
	}
	goleak.VerifyTestMain(m)
}

func await(t *testing.T, what string, try func() bool) {
	t.Helper()
	require.Eventually(t, try, patience, 20*time.Millisecond, "%s", what)
}

var fleets atomic.Int64

// config is one of a fleet of its own.
func config(t testing.TB, address string) consul.Config {
	return consul.Config{Addresses: []string{address}, Prefix: fmt.Sprintf("test/%d", fleets.Add(1)), Tags: []string{"broker"},
		Options: membership.Options{Logger: slog.New(slog.NewTextHandler(t.Output(), nil))}}
}

func open(t testing.TB, cfg consul.Config) *membership.Keeper {
	t.Helper()
	k, err := consul.New(cfg)
	require.NoError(t, err)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = k.Leave(ctx)
	})
	return k
}

func member(id string) membership.Member {
	return membership.Member{ID: id, Address: id + ".test:47200"}
}

func alive(context.Context, membership.Member) error { return nil }

// start makes a fleet of several, on one Consul.
func start(t testing.TB, cfg consul.Config, ids ...string) []*membership.Keeper {
	t.Helper()
	var all []*membership.Keeper
	for _, id := range ids {
		k := open(t, cfg)
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		require.NoError(t, k.Join(ctx, member(id), alive))
		cancel()
		all = append(all, k)
	}
	return all
}

func sizes(t *testing.T, n int, all []*membership.Keeper) {
	t.Helper()
	for _, k := range all {
		await(t, fmt.Sprintf("a view of %d", n), func() bool { return len(k.Current().Members) == n })
	}
}

func contact(t *testing.T, all []*membership.Keeper) {
	t.Helper()
	for _, k := range all {
		await(t, "contact", func() bool { return k.Contact() == nil })
	}
}

func client(t testing.TB, cfg consul.Config) *api.Client {
	t.Helper()
	c, err := api.NewClient(&api.Config{Address: cfg.Addresses[0], Token: cfg.Token})
	require.NoError(t, err)
	return c
}

type consulFleet struct{ config consul.Config }

func (f consulFleet) Pace() time.Duration { return 2 * time.Second }

func (f consulFleet) Open(t testing.TB) (membership.Source, membershiptest.Line) {
	p := newProxy(t, f.config.Addresses[0])
	cfg := f.config
	cfg.Addresses = []string{p.address()}
	k, err := consul.New(cfg)
	require.NoError(t, err)
	return k, p
}

// All fleets of the contract share one Consul. Each has a service of its own name, for
// their brokers have the same IDs, which those of real fleets do not.
func TestConsul_KeepsTheContract(t *testing.T) {
	t.Parallel()
	server := consultest.Start(t, consultest.Options{})
	t.Run("contract", func(t *testing.T) { // ends before the server does
		membershiptest.Run(t, func(t testing.TB) membershiptest.Fleet {
			cfg := config(t, server.Address())
			cfg.Service = "broker-" + strings.ReplaceAll(cfg.Prefix, "/", "-")
			return consulFleet{cfg}
		})
	})
}

func TestNew_RefusesAConfigurationThatCannotWork(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*consul.Config){
		"address with a path":     func(c *consul.Config) { c.Addresses[0] = "http://consul/ui" },
		"address with a password": func(c *consul.Config) { c.Addresses[0] = "http://user:secret@consul:8500" },
		"unknown scheme":          func(c *consul.Config) { c.Addresses[0] = "ftp://consul" },
		"service with a slash":    func(c *consul.Config) { c.Service = "a/b" },
		"prefix with a question":  func(c *consul.Config) { c.Prefix = "a?b" },
		"prefix from the root":    func(c *consul.Config) { c.Prefix = "/a" },
		"no such CA":              func(c *consul.Config) { c.TLS.CAFile = "/nonexistent/ca.pem" },
		"half a certificate":      func(c *consul.Config) { c.TLS.CertFile = "cert.pem" },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cfg := consul.Config{Addresses: []string{"consul:8500"}}
			change(&cfg)
			_, err := consul.New(cfg)
			require.ErrorIs(t, err, consul.ErrConfig)
			require.NotContains(t, err.Error(), "secret")
		})
	}
}

// proxy is a line to Consul that can be cut.
type proxy struct {
	listener net.Listener
	target   string
	cut      atomic.Bool
	open     connections
}

func newProxy(t testing.TB, target string) *proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	p := &proxy{listener: l, target: target}
	go p.serve()
	t.Cleanup(func() {
		_ = l.Close()
		p.open.closeAll()
	})
	return p
}

func (p *proxy) address() string { return p.listener.Addr().String() }

func (p *proxy) Cut() {
	p.cut.Store(true)
	p.open.closeAll()
}

func (p *proxy) Mend() { p.cut.Store(false) }

func (p *proxy) serve() {
	for {
		from, err := p.listener.Accept()
		if err != nil {
			return
		}
		to, err := net.Dial("tcp", p.target)
		if p.cut.Load() || err != nil {
			_ = from.Close()
			if to != nil {
				_ = to.Close()
			}
			continue
		}
		p.open.join(from, to)
		if p.cut.Load() { // meanwhile
			p.open.closeAll()
		}
	}
}
