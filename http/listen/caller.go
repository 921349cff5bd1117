package listen

import (
	"log/slog"
	"net"
	"net/netip"
	"strings"

	"github.com/valyala/fasthttp"
)

// Proxies says which peers of a port speak for others, and how. The zero value: none,
// so that whoever connects is the caller, whatever they say.
type Proxies struct {
	// Trusted are the addresses of the proxies. Only what these say is believed (F39).
	Trusted []netip.Prefix
	// Protocol: connections of the trusted begin with a PROXY protocol header,
	// version 1 or 2, which names the caller. Those without one are closed: a proxy
	// that adds none would pass on what a client made up.
	Protocol bool
	// Forwarded: requests of the trusted name the caller in X-Forwarded-For.
	Forwarded bool
}

// maxHops bounds how many proxies a request is followed through.
const maxHops = 16

func (p Proxies) trusts(addr netip.Addr) bool {
	for _, network := range p.Trusted {
		if network.Contains(addr) {
			return true
		}
	}
	return false
}

// Caller is who sent a request: the peer of its connection, or, if that is a trusted
// proxy, whom it speaks for; see Config.Proxies. The port is 0 where X-Forwarded-For
// names the caller. An address of the form ::ffff:10.0.0.1 is given as 10.0.0.1, and
// one without a zone, so that addresses compare. The result is the zero AddrPort if
// the request did not come over TCP. Nothing is remembered: not for a hot loop.
func Caller(rc *fasthttp.RequestCtx) netip.AddrPort {
	peer := addrPort(rc.RemoteAddr())
	c := underlying(rc.Conn())
	if c == nil || !c.guard.proxies.Forwarded || !c.guard.proxies.trusts(peer.Addr()) {
		return peer
	}
	lines := rc.Request.Header.PeekAll(fasthttp.HeaderXForwardedFor)
	if len(lines) == 0 {
		return peer
	}
	if named := c.guard.proxies.walk(lines, peer.Addr()); named != peer.Addr() {
		return netip.AddrPortFrom(named, 0)
	}
	return peer
}

// Remote is the caller of a request for a line of the log.
func Remote(rc *fasthttp.RequestCtx) slog.Attr { return slog.String("remote", RemoteText(rc)) }

// RemoteText is the caller of a request as text: address:port, or the address alone
// where the port is not known.
func RemoteText(rc *fasthttp.RequestCtx) string {
	switch caller := Caller(rc); {
	case !caller.IsValid():
		return rc.RemoteAddr().String()
	case caller.Port() == 0:
		return caller.Addr().String()
	default:
		return caller.String()
	}
}

// walk follows the header from its end, where the nearest proxy wrote, towards the
// caller. The first address that is no trusted proxy is the caller: what stands
// before it may be made up. Where something is no address, the last proxy is.
func (p Proxies) walk(lines [][]byte, at netip.Addr) netip.Addr {
	hops := 0
	for i := len(lines) - 1; i >= 0; i-- {
		rest, more := string(lines[i]), true
		for more {
			var hop string
			rest, hop, more = cutLast(rest)
			addr, ok := hopAddr(hop)
			if !ok || hops == maxHops {
				return at
			}
			if at = addr; !p.trusts(at) {
				return at
			}
			hops++
		}
	}
	return at
}

func cutLast(list string) (rest, last string, more bool) {
	i := strings.LastIndexByte(list, ',')
	if i < 0 {
		return "", list, false
	}
	return list[:i], list[i+1:], true
}

// hopAddr reads what proxies write: 10.0.0.1, 10.0.0.1:80, ::1, [::1] or [::1]:80.
func hopAddr(text string) (netip.Addr, bool) {
	text = strings.TrimSpace(text)
	if with, err := netip.ParseAddrPort(text); err == nil {
		return plain(with.Addr()), true
	}
	if bare, ok := strings.CutPrefix(text, "["); ok {
		text, ok = strings.CutSuffix(bare, "]")
		if !ok {
			return netip.Addr{}, false
		}
	}
	addr, err := netip.ParseAddr(text)
	return plain(addr), err == nil
}

func addrPort(a net.Addr) netip.AddrPort {
	tcp, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.AddrPort{}
	}
	with := tcp.AddrPort()
	return netip.AddrPortFrom(plain(with.Addr()), with.Port())
}

func plain(a netip.Addr) netip.Addr { return a.Unmap().WithZone("") }
