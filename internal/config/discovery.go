package config

import (
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
)

// maxBrokers bounds the list of addresses.
const maxBrokers = 64

// Discovers says that brokers find each other without Consul. Naming nobody but this
// broker by its loopback address, as the shipped file does, is no company.
func (f Fleet) Discovers() bool {
	return f.lists() || f.MulticastGroup != "" || f.AWSTargetGroupARN != ""
}

func (f Fleet) lists() bool {
	return len(f.Addresses) > 1 || len(f.Addresses) == 1 && !f.isThisBroker(f.Addresses[0])
}

func (f Fleet) isThisBroker(address string) bool {
	host, port, err := net.SplitHostPort(address)
	if err != nil || port != strconv.Itoa(f.DiscoveryPort) {
		return false
	}
	ip, err := netip.ParseAddr(host)
	return strings.EqualFold(host, "localhost") || err == nil && ip.IsLoopback()
}

// checkDiscovery lets brokers find each other in one way only (contract section 6).
func (l *loader) checkDiscovery() {
	f := &l.cfg.Fleet
	l.checkWays()
	if len(f.Addresses) > maxBrokers {
		l.refuse(l.of(&f.Addresses), fmt.Sprintf("names %d brokers, at most %d", len(f.Addresses), maxBrokers), "name fewer, or use a Consul with "+l.of(&l.cfg.Consul.Addresses).key)
	}
	for _, a := range f.Addresses {
		if host, port, err := net.SplitHostPort(a); err != nil || host == "" || !isPort(port) {
			l.refuse(l.of(&f.Addresses), quote(a)+" is not an address with a port", "write as in 10.0.0.1:47500,10.0.0.2:47500, the same on each broker")
			break
		}
	}
	if group, err := netip.ParseAddr(f.MulticastGroup); f.MulticastGroup != "" && (err != nil || !group.Is4() || !group.IsMulticast()) {
		l.refuse(l.of(&f.MulticastGroup), quote(f.MulticastGroup)+" is not an IPv4 multicast address", "write one from 239.0.0.0 to 239.255.255.255, the same on each broker")
	}
	if arn := f.AWSTargetGroupARN; arn != "" && (!strings.HasPrefix(arn, "arn:") || !strings.Contains(arn, ":targetgroup/")) {
		l.refuse(l.of(&f.AWSTargetGroupARN), quote(arn)+" is not the ARN of a target group", "write as in arn:aws:elasticloadbalancing:eu-west-1:123456789012:targetgroup/brokers/73e2d6bc24d8a067")
	}
	if f.AWSRegion != "" && f.AWSTargetGroupARN == "" {
		l.warnOf(&f.AWSRegion, "is not used without "+l.of(&f.AWSTargetGroupARN).key, "give both, or remove the line")
	}
}

func isPort(text string) bool {
	n, err := strconv.ParseUint(text, 10, 16)
	return err == nil && n > 0
}

// checkWays refuses the second of two ways: brokers that look in different places would
// each answer for a part of the sessions.
func (l *loader) checkWays() {
	f := &l.cfg.Fleet
	var first *option
	for _, way := range []struct {
		named bool
		field any
	}{
		{len(l.cfg.Consul.Addresses) > 0, &l.cfg.Consul.Addresses},
		{f.lists(), &f.Addresses},
		{f.MulticastGroup != "", &f.MulticastGroup},
		{f.AWSTargetGroupARN != "", &f.AWSTargetGroupARN},
	} {
		o := l.of(way.field)
		switch {
		case !way.named:
		case first == nil:
			first = o
		default:
			l.refuse(o, fmt.Sprintf("brokers find each other in one way only, and line %d has %s", first.line, first.key), "keep one of the two lines, the same one on each broker")
		}
	}
}
