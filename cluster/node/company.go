package node

import (
	"net"

	"opensessionmanager/cluster/membership"
)

// source says who else is in the fleet; nil is nobody.
func (n *Node) source() (membership.Source, error) {
	return n.opt.Source, nil
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
