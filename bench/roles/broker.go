package roles

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"opensessionmanager/actors"
	"opensessionmanager/bench/child"
	"opensessionmanager/cluster/node"
	"opensessionmanager/internal/certs"
	"opensessionmanager/internal/config"
	"opensessionmanager/internal/heap"
	"opensessionmanager/internal/logging"
)

// BrokerConfig says how the broker under test differs from one with its defaults.
type BrokerConfig struct {
	Folder string // working path
	Store  string // "memory", "embedded" or, for a broker of a fleet, "consul"
	// Consul and Prefix are where the brokers of a fleet meet. The first one makes the
	// fleet's authority, the others take it from its folder.
	Consul, Prefix, First string
	// ClientPort and AgentPort, of a broker that comes back where it was.
	ClientPort, AgentPort int
	// Patient keeps servers reachable whose agents never come: they were seeded.
	Patient bool
	// KeepDeleted is how long deleted sessions are shown, 0 for a second: so scenarios
	// that delete begin each round with few sessions.
	KeepDeleted time.Duration
}

// BrokerAddresses is where it is.
type BrokerAddresses struct {
	Client, Agent, CAFile string
}

// broker is the product in a process of its own, with its own log.
type broker struct {
	log  io.Writer
	logs *logging.Log
	node *node.Node
}

func (b *broker) commands() child.Commands {
	return child.Commands{cmdStart: child.Command(b.start)}
}

func (b *broker) start(c BrokerConfig) (any, error) {
	cfg := config.Default()
	cfg.Storage.WorkingPath, cfg.Storage.StateStore = config.Path(c.Folder), c.Store
	cfg.Client.Port, cfg.Client.BindHost = c.ClientPort, "127.0.0.1"
	cfg.Agent.Port, cfg.Agent.BindHost = c.AgentPort, "127.0.0.1"
	cfg.Fleet.Port, cfg.Fleet.BindHost = 0, "127.0.0.1"
	if cfg.Consul.Prefix = c.Prefix; c.Consul != "" {
		cfg.Consul.Addresses = []string{c.Consul}
	}
	if err := c.takeAuthority(); err != nil {
		return nil, err
	}
	cfg.Admin.Port = 0
	cfg.Authorization.EnableAgent = false // thousands of agents come without registering
	cfg.Sessions.KeepDeleted = cmp.Or(c.KeepDeleted, time.Second)
	cfg.Throttling.RequestsPerSecond = 10_000_000 // everything comes from one caller here
	level, _ := logging.ParseLevel(cfg.Logging.Level)
	var err error
	if b.logs, err = logging.Open(logging.Options{Output: b.log, Level: level}); err != nil {
		return nil, err
	}
	opt := node.Options{Config: cfg, Logger: b.logs.Logger()}
	if c.Patient {
		opt.Tune = func(a *actors.Config) { a.Grace = time.Hour }
	}
	go heap.Bound(context.Background()) // as node.Run does
	if b.node, err = node.Start(context.Background(), opt); err != nil {
		return nil, err
	}
	return BrokerAddresses{Client: b.node.ClientAddr(), Agent: b.node.AgentAddr(), CAFile: b.node.CAFile()}, nil
}

// takeAuthority copies the fleet's authority, as an operator does.
func (c BrokerConfig) takeAuthority() error {
	if c.First == "" {
		return nil
	}
	if err := os.MkdirAll(filepath.Join(c.Folder, "security"), 0o700); err != nil {
		return fmt.Errorf("roles: %w", err)
	}
	for _, name := range []string{certs.CAFile, certs.CAKeyFile} {
		data, err := os.ReadFile(filepath.Join(c.First, "security", name))
		if err == nil {
			err = os.WriteFile(filepath.Join(c.Folder, "security", name), data, 0o600)
		}
		if err != nil {
			return fmt.Errorf("roles: %w", err)
		}
	}
	return nil
}

func (b *broker) stop() error {
	ctx, cancel := context.WithTimeout(context.Background(), 15*time.Second)
	defer cancel()
	var err error
	if b.node != nil {
		err = b.node.Stop(ctx)
	}
	if b.logs != nil {
		err = errors.Join(err, b.logs.Close(ctx))
	}
	return err
}
