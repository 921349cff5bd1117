package node

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"

	"opensessionmanager/cluster/membership/circle"
	"opensessionmanager/cluster/membership/finder"
	"opensessionmanager/cluster/membership/finder/targetgroup"
	"opensessionmanager/internal/certs"
	"opensessionmanager/persistence/embedded"
	"opensessionmanager/persistence/replicated"
)

// openCircle finds the other brokers of a fleet without Consul. Without an external
// database they also keep the records together.
func (n *Node) openCircle(ctx context.Context) error {
	if n.opt.Source != nil || !n.opt.Config.Fleet.Discovers() {
		return nil
	}
	look, err := n.finder(ctx)
	if err != nil {
		return err
	}
	f := n.opt.Config.Fleet
	cfg := circle.Config{Host: f.BindHost, Port: f.DiscoveryPort, Advertise: n.advertised(), Finder: look, Logger: n.log}
	if cfg.ServerTLS, cfg.ClientTLS, err = n.peerTLS(); err != nil {
		return err
	}
	if n.opt.Store == nil {
		if err := n.openReplica(ctx, &cfg); err != nil {
			return err
		}
	}
	c, err := circle.Start(cfg)
	if err != nil {
		return err
	}
	n.circle.Store(c)
	n.onStop(func(ctx context.Context) error { c.Close(ctx); return nil })
	return nil
}

// openReplica opens this broker's copy of the records that the brokers share.
func (n *Node) openReplica(ctx context.Context, c *circle.Config) error {
	cfg := replicated.Config{Logger: n.log, Call: n.callCircle, Permit: n.circlePermit}
	switch n.opt.Config.Storage.StateStore {
	case "memory":
		n.log.Warn("sessions, keys and clients are lost when all brokers of the fleet are stopped at the same time", "key", "state-store")
	default:
		disk, err := embedded.Open(n.workingPath())
		if err != nil {
			return err
		}
		cfg.Disk = disk
	}
	n.log.Warn("the brokers of this fleet keep what they know in copies of their own, without a database: this is best effort, see cluster/README.md",
		"key", "state-store")
	share, err := replicated.Open(ctx, cfg)
	if err != nil {
		if cfg.Disk != nil {
			err = errors.Join(err, cfg.Disk.Close())
		}
		return err
	}
	n.replica = share
	c.Store, c.Health = share.Serve, share.Health
	c.OnRole = func(r circle.Role) {
		share.SetRole(replicated.Role{Self: r.Self, Leader: r.Leader, Term: r.Term, Alive: r.Alive, Gone: r.Gone})
	}
	n.onStop(func(context.Context) error { return share.Close() }) // again does nothing
	return nil
}

var errNoCircle = errors.New("the other brokers are not looked for yet")

func (n *Node) callCircle(ctx context.Context, to string, body []byte) ([]byte, error) {
	if c := n.circle.Load(); c != nil {
		return c.Call(ctx, to, body)
	}
	return nil, errNoCircle
}

func (n *Node) circlePermit() error {
	if c := n.circle.Load(); c != nil {
		return c.Permit()
	}
	return errNoCircle
}

// finder is the one that the configuration names.
func (n *Node) finder(ctx context.Context) (circle.Finder, error) {
	f := n.opt.Config.Fleet
	switch {
	case f.AWSTargetGroupARN != "":
		g, err := targetgroup.Open(ctx, targetgroup.Config{ARN: f.AWSTargetGroupARN, Region: f.AWSRegion, Port: f.DiscoveryPort, Logger: n.log})
		if err != nil {
			return nil, err
		}
		n.onStop(func(context.Context) error { g.Close(); return nil })
		return g, nil
	case f.MulticastGroup != "":
		return n.multicast()
	}
	return finder.List(f.Addresses), nil
}

func (n *Node) multicast() (circle.Finder, error) {
	f := n.opt.Config.Fleet
	group, err := netip.ParseAddr(f.MulticastGroup)
	if err != nil {
		return nil, fmt.Errorf("multicast group: %w", err)
	}
	fleet, err := n.fleetName()
	if err != nil {
		return nil, err
	}
	m, err := finder.NewMulticast(finder.MulticastConfig{Group: group, Port: f.MulticastPort, Fleet: fleet, Host: f.BindHost, Logger: n.log})
	if err != nil {
		return nil, err
	}
	n.onStop(func(context.Context) error { m.Close(); return nil })
	host := f.Advertise
	if ip := net.ParseIP(f.BindHost); host == "" && ip != nil && !ip.IsUnspecified() {
		host = f.BindHost
	} // else the address that others hear it from
	m.Announce(net.JoinHostPort(host, strconv.Itoa(f.DiscoveryPort)))
	return m, nil
}

// fleetName tells fleets apart that share a multicast group. It is made from the
// certificate that all may read, and lets nobody in.
func (n *Node) fleetName() (string, error) {
	if n.opt.Config.Fleet.KeyStoreFile != "" {
		return "operator", nil // the operator's authority makes the fleet, not ours
	}
	pem, err := os.ReadFile(filepath.Join(n.securityDir(), certs.CAFile))
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(pem)
	return hex.EncodeToString(sum[:8]), nil
}
