package fingerprint

import (
	"net"
	"net/netip"
	"runtime"
	"slices"
	"strings"
)

const mostAddresses = 64

// nic is what of a network interface matters here.
type nic struct {
	name      string
	loopback  bool
	addresses []netip.Addr
}

// addresses returns the host's address and all addresses it can be reached at
// (C3: one address is sometimes the wrong one).
func addresses(preferred string) (ip string, all []string) {
	return choose(interfaces(), preferred, runtime.GOOS == "windows")
}

func interfaces() []nic {
	found, err := net.Interfaces()
	if err != nil {
		return nil
	}
	var nics []nic
	for _, i := range found {
		if i.Flags&net.FlagUp == 0 {
			continue
		}
		n := nic{name: i.Name, loopback: i.Flags&net.FlagLoopback != 0}
		assigned, err := i.Addrs()
		if err != nil {
			continue
		}
		for _, a := range assigned {
			if prefix, err := netip.ParsePrefix(a.String()); err == nil {
				n.addresses = append(n.addresses, prefix.Addr().Unmap())
			}
		}
		nics = append(nics, n)
	}
	return nics
}

// choose prefers the named interface, then the first that is not loopback, and
// IPv4 over IPv6. Names are compared exactly except on Windows (contract section 7).
// The loopback interface counts if it is named, for stand-in hosts on one machine.
func choose(nics []nic, preferred string, foldCase bool) (ip string, all []string) {
	var first, wanted netip.Addr
	for _, n := range nics {
		is := n.name == preferred || foldCase && strings.EqualFold(n.name, preferred)
		if n.loopback && !is {
			continue
		}
		for _, a := range usable(n) {
			if len(all) < mostAddresses {
				all = append(all, a.String())
			}
			first = better(first, a)
			if is {
				wanted = better(wanted, a)
			}
		}
	}
	switch {
	case wanted.IsValid():
		return wanted.String(), all
	case first.IsValid():
		return first.String(), all
	}
	return "127.0.0.1", all
}

// better keeps the address it has, unless the other is the first of IPv4.
func better(has, other netip.Addr) netip.Addr {
	if !has.IsValid() || has.Is6() && other.Is4() {
		return other
	}
	return has
}

func usable(n nic) []netip.Addr {
	return slices.DeleteFunc(slices.Clone(n.addresses), func(a netip.Addr) bool {
		return !a.IsGlobalUnicast() && !(n.loopback && a.IsLoopback())
	})
}
