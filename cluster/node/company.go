package node

import (
	"context"
	"net"
	"time"

	"opensessionmanager/cluster/membership"
	"opensessionmanager/cluster/membership/consul"
	"opensessionmanager/internal/config"
	"opensessionmanager/internal/consulapi"
)

// circleBeat is how often brokers that find each other without Consul beat: the registry
// begins empty with each leader, and is next door.
const circleBeat = 250 * time.Millisecond

// source says who else is in the fleet; nil is nobody.
func (n *Node) source() (membership.Source, error) {
	c := n.opt.Config.Consul
	if circle := n.circle.Load(); circle != nil {
		return membership.New(circle.Registry(), membership.Options{Heartbeat: circleBeat, Settle: circleBeat, Logger: n.log}), nil
	}
	if n.opt.Source != nil || len(c.Addresses) == 0 {
		return n.opt.Source, nil
	}
	return consul.New(consul.Config{Addresses: c.Addresses, Token: c.Token.Reveal(), TLS: consulTLS(c), Prefix: c.Prefix,
		Options: membership.Options{Logger: n.log}})
}

func consulTLS(c config.Consul) consulapi.TLS {
	return consulapi.TLS{CAFile: string(c.CAFile), CertFile: string(c.CertFile), KeyFile: string(c.KeyFile), ServerName: c.ServerName}
}

// advertised is the host under which other brokers reach this one: what the operator
// said, else the address that is listened on, else the machine's first.
func (n *Node) advertised() string {
	f := n.opt.Config.Fleet
	if f.Advertise != "" {
		return f.Advertise
	}
	if ip := net.ParseIP(f.BindHost); ip == nil || !ip.IsUnspecified() {
		return "" // the listener's own
	}
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		return ""
	}
	for _, a := range addresses {
		if network, ok := a.(*net.IPNet); ok && network.IP.IsGlobalUnicast() && network.IP.To4() != nil {
			return network.IP.String()
		}
	}
	return ""
}

// drainTime bounds how long a broker that leaves waits for its writes.
const drainTime = time.Second

// finishWrites waits until nothing is being written: whoever takes over reads what this broker
// wrote, and is not surprised by it.
func (n *Node) finishWrites(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, drainTime)
	defer cancel()
	look := time.NewTicker(time.Millisecond)
	defer look.Stop()
	for {
		if writes, _ := n.committer.Queued(); writes == 0 {
			return nil
		}
		select {
		case <-look.C:
		case <-ctx.Done():
			return nil // it leaves all the same
		}
	}
}
