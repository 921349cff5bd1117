package config

import (
	"errors"
	"net/netip"

	"opensessionmanager/internal/certs"
)

var (
	errNoNetwork = errors.New("is neither an address nor a network")
	errEverybody = errors.New("is everybody, so that everybody could name any caller")
)

// Networks are the trusted proxies; a single address is a network of one.
func (p Proxies) Networks() []netip.Prefix {
	networks := make([]netip.Prefix, 0, len(p.Trusted))
	for _, text := range p.Trusted {
		if network, err := parseNetwork(text); err == nil { // Load refused the others
			networks = append(networks, network)
		}
	}
	return networks
}

// OnClient says whether the PROXY protocol is spoken on the port of the client API.
func (p Proxies) OnClient() bool { return p.Protocol == "client" || p.Protocol == "both" }

// OnAgent says whether the PROXY protocol is spoken on the port of the agents.
func (p Proxies) OnAgent() bool { return p.Protocol == "agent" || p.Protocol == "both" }

func parseNetwork(text string) (netip.Prefix, error) {
	if addr, err := netip.ParseAddr(text); err == nil {
		addr = addr.Unmap().WithZone("")
		return netip.PrefixFrom(addr, addr.BitLen()), nil
	}
	network, err := netip.ParsePrefix(text)
	switch {
	case err != nil:
		return netip.Prefix{}, errNoNetwork
	case network.Bits() == 0:
		return netip.Prefix{}, errEverybody
	}
	return network.Masked(), nil
}

func (l *loader) checkProxies() {
	p, forward := &l.cfg.Proxies, &l.cfg.Throttling.ForwardHeader
	for _, name := range p.Names {
		if !certs.ValidHost(name) {
			l.refuse(l.of(&p.Names), quote(name)+" is neither a host name nor an address", "write as in dcv.example.com,10.0.0.10")
		}
	}
	for _, text := range p.Trusted {
		if _, err := parseNetwork(text); err != nil {
			l.refuse(l.of(&p.Trusted), quote(text)+" "+err.Error(), "write as in 10.0.0.7,10.1.0.0/16")
		}
	}
	if len(p.Trusted) > 0 {
		return
	}
	if p.Protocol != "off" {
		l.warnOf(&p.Protocol, "no proxy is trusted, so nobody may send the header", "set "+l.of(&p.Trusted).key)
	}
	if *forward {
		l.warnOf(forward, "no proxy is trusted, so the header is never believed", "set "+l.of(&p.Trusted).key)
	}
}
