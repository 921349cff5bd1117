package certs

import (
	"context"
	"fmt"
	"net"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"
)

// maxNames bounds the names of one certificate: a container host may have hundreds
// of addresses. Those of the operator come first.
const maxNames = 100

// lookupTime bounds all questions to DNS together, as a start waits for them. What
// is not answered in time is found at a later refresh.
const lookupTime = 300 * time.Millisecond

// dnsName is a host name as certificates have it, perhaps with a wildcard.
var dnsName = regexp.MustCompile(`^(\*\.)?([A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?\.)*[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?$`)

func validHost(host string) bool {
	return net.ParseIP(host) != nil || len(host) <= 253 && dnsName.MatchString(host)
}

// ValidHost says whether a server certificate can be made for a name or an address.
func ValidHost(host string) bool { return validHost(normal(host)) && normal(host) != PeerName }

func checkHosts(hosts []string) error {
	for _, h := range hosts {
		if !ValidHost(h) {
			return fmt.Errorf("certs: %.100q is not a host name or an address that a server can have", h)
		}
	}
	return nil
}

func normal(host string) string {
	return strings.ToLower(strings.TrimSuffix(host, "."))
}

// wanted joins the operator's names and the machine's, without repetitions, in an
// order that does not depend on the system's.
func wanted(hosts, machine []string) []string {
	var names []string
	add := func(more []string) {
		more = slices.Clone(more)
		slices.Sort(more)
		for _, h := range more {
			h = normal(h)
			if ip := net.ParseIP(h); ip != nil {
				h = ip.String()
			}
			if validHost(h) && h != PeerName && len(names) < maxNames && !slices.Contains(names, h) {
				names = append(names, h)
			}
		}
	}
	add(hosts)
	add([]string{"localhost", "127.0.0.1", "::1"})
	add(machine)
	return names
}

// MachineNames is the short host name, the full one where it can be found, and the
// addresses of all interfaces that are up, but link-local ones: the vendor's
// certificate has less, which made clients switch verification off (contract
// section 12).
func MachineNames() []string {
	ctx, cancel := context.WithTimeout(context.Background(), lookupTime)
	defer cancel()
	addresses := interfaceAddresses()
	host, err := os.Hostname()
	if err != nil {
		return addresses
	}
	short, _, _ := strings.Cut(host, ".")
	names := []string{short, host}
	if short == host {
		names = append(names, fullNames(ctx, short, addresses)...)
	}
	return append(names, addresses...)
}

func interfaceAddresses() (addresses []string) {
	interfaces, err := net.Interfaces()
	if err != nil {
		return nil
	}
	for _, i := range interfaces {
		found, err := i.Addrs()
		if err != nil || i.Flags&net.FlagUp == 0 {
			continue
		}
		for _, address := range found {
			if n, ok := address.(*net.IPNet); ok && !n.IP.IsLinkLocalUnicast() {
				addresses = append(addresses, n.IP.String())
			}
		}
	}
	return addresses
}

// maxReverse bounds the addresses that are looked up.
const maxReverse = 4

// fullNames asks the resolver, and so /etc/hosts and DNS. Only names of this very
// host count: anybody may be in charge of the reverse zone.
func fullNames(ctx context.Context, short string, addresses []string) (full []string) {
	take := func(name string) {
		if name = normal(name); strings.HasPrefix(name, normal(short)+".") {
			full = append(full, name)
		}
	}
	if name, err := net.DefaultResolver.LookupCNAME(ctx, short); err == nil {
		take(name)
	}
	asked := 0
	for _, a := range addresses {
		if ip := net.ParseIP(a); ip.IsLoopback() || asked == maxReverse {
			continue
		}
		asked++
		found, err := net.DefaultResolver.LookupAddr(ctx, a)
		if err != nil {
			continue
		}
		for _, name := range found {
			take(name)
		}
	}
	return full
}
