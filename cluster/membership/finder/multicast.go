package finder

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/ipv4"
)

// Bounds of what is heard.
const (
	maxDatagram  = 512
	maxAnnounced = 256
	hops         = 8 // routers that an announcement may pass, if they are told to
	magic        = "OSM1"
)

// MulticastConfig says where brokers announce themselves. Group and Port are required.
type MulticastConfig struct {
	Group netip.Addr // IPv4, 224.0.0.0 to 239.255.255.255
	Port  int
	// Fleet is 1 to 64 letters and digits: announcements of other fleets that share the
	// group are not looked at. It is no secret and proves nothing.
	Fleet string
	// Host limits it to the interface that has this address; "" or an unspecified one: all.
	Host string
	// Interval between announcements. Default 1 s.
	Interval time.Duration
	Logger   *slog.Logger // default: nowhere
}

// Multicast hears of brokers that announce themselves.
type Multicast struct {
	cfg        MulticastConfig
	group      *net.UDPAddr
	interfaces []net.Interface
	receiver   *net.UDPConn
	sender     *ipv4.PacketConn
	send       *net.UDPConn
	ready      chan struct{}
	answer     chan struct{} // somebody new is there: announce at once
	life       context.Context
	end        context.CancelFunc
	work       sync.WaitGroup

	mu    sync.Mutex
	heard map[string]time.Time
}

// NewMulticast joins the group and listens. Announce makes this broker known.
func NewMulticast(cfg MulticastConfig) (*Multicast, error) {
	cfg.Interval = cmp.Or(cfg.Interval, time.Second)
	cfg.Logger = cmp.Or(cfg.Logger, slog.New(slog.DiscardHandler))
	m := &Multicast{cfg: cfg, group: net.UDPAddrFromAddrPort(netip.AddrPortFrom(cfg.Group, uint16(cfg.Port))),
		ready: make(chan struct{}), answer: make(chan struct{}, 1), heard: map[string]time.Time{}}
	var err error
	if m.interfaces, err = interfacesOf(cfg.Host); err != nil {
		return nil, err
	}
	if err := m.open(); err != nil {
		return nil, fmt.Errorf("finder: multicast group %s: %w", m.group, err)
	}
	m.life, m.end = context.WithCancel(context.Background())
	m.work.Go(m.listen)
	return m, nil
}

// interfacesOf are those that are up and take multicast.
func interfacesOf(host string) ([]net.Interface, error) {
	all, err := net.Interfaces()
	if err != nil {
		return nil, fmt.Errorf("finder: interfaces of this machine: %w", err)
	}
	only, err := netip.ParseAddr(host)
	any := err != nil || only.IsUnspecified()
	fit := slices.DeleteFunc(all, func(i net.Interface) bool {
		if i.Flags&net.FlagUp == 0 || i.Flags&net.FlagMulticast == 0 {
			return true
		}
		addresses, err := i.Addrs()
		return err != nil || !slices.ContainsFunc(addresses, func(a net.Addr) bool {
			prefix, err := netip.ParsePrefix(a.String())
			return err == nil && prefix.Addr().Is4() && (any || prefix.Addr() == only)
		})
	})
	if len(fit) == 0 {
		return nil, errors.New("finder: no interface of this machine takes IPv4 multicast")
	}
	return fit, nil
}

// open joins the group on all interfaces.
func (m *Multicast) open() (err error) {
	// It reuses the address, so that several brokers of one machine can listen.
	if m.receiver, err = net.ListenMulticastUDP("udp4", &m.interfaces[0], m.group); err != nil {
		return err
	}
	joined := ipv4.NewPacketConn(m.receiver)
	for _, i := range m.interfaces[1:] {
		if err := joined.JoinGroup(&i, m.group); err != nil {
			m.cfg.Logger.Warn("multicast is not heard on an interface", "interface", i.Name, "error", err)
		}
	}
	if m.send, err = net.ListenUDP("udp4", nil); err != nil {
		return errors.Join(err, m.receiver.Close())
	}
	m.sender = ipv4.NewPacketConn(m.send)
	if err = errors.Join(m.sender.SetMulticastTTL(hops), m.sender.SetMulticastLoopback(true)); err != nil {
		return errors.Join(err, m.receiver.Close(), m.send.Close())
	}
	return nil
}

// Close ends it.
func (m *Multicast) Close() {
	m.end()
	_ = m.receiver.Close()
	_ = m.send.Close()
	m.work.Wait()
}

// Announce makes a broker's discovery address known until Close: host:port, or :port,
// then others take the address it is sent from. Two intervals later, when whoever is
// there has answered, the finder is ready.
func (m *Multicast) Announce(address string) {
	m.work.Go(func() { m.repeat([]byte(magic + " " + m.cfg.Fleet + " " + address)) })
}

func (m *Multicast) repeat(text []byte) {
	tick := time.NewTicker(m.cfg.Interval)
	defer tick.Stop()
	failing, listening := false, 2
	for m.life.Err() == nil {
		err := m.shout(text)
		if err != nil && !failing && m.life.Err() == nil {
			m.cfg.Logger.Warn("this broker cannot announce itself by multicast, trying on", "error", err)
		}
		failing = err != nil
		select {
		case <-tick.C:
			if listening--; listening == 0 {
				close(m.ready)
			}
		case <-m.life.Done():
		case <-m.answer:
		}
	}
}

// shout sends on every interface; one is enough.
func (m *Multicast) shout(text []byte) error {
	var errs []error
	sent := false
	for _, i := range m.interfaces {
		_, err := m.sender.WriteTo(text, &ipv4.ControlMessage{IfIndex: i.Index}, m.group)
		sent = sent || err == nil
		errs = append(errs, err)
	}
	if sent {
		return nil
	}
	return errors.Join(errs...)
}

func (m *Multicast) listen() {
	buffer := make([]byte, maxDatagram+1)
	for {
		n, from, err := m.receiver.ReadFromUDPAddrPort(buffer)
		if m.life.Err() != nil {
			return
		}
		if err != nil {
			m.cfg.Logger.Warn("multicast was not received", "error", err)
			select {
			case <-m.life.Done():
			case <-time.After(m.cfg.Interval):
			}
			continue
		}
		if address, ok := parse(buffer[:n], m.cfg.Fleet, from.Addr()); ok {
			m.hear(address)
		}
	}
}

// parse reads an announcement of a fleet; ok is false for everything else.
func parse(datagram []byte, fleet string, from netip.Addr) (address string, ok bool) {
	if len(datagram) > maxDatagram {
		return "", false
	}
	words := strings.Split(string(datagram), " ")
	if len(words) != 3 || words[0] != magic || words[1] != fleet {
		return "", false
	}
	host, port, err := net.SplitHostPort(words[2])
	if err != nil {
		return "", false
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return "", false
	}
	if host == "" {
		host = from.Unmap().String()
	}
	return net.JoinHostPort(host, port), true
}

func (m *Multicast) hear(address string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	_, known := m.heard[address]
	if !known && len(m.heard) >= maxAnnounced { // who falls silent is made up, or gone
		delete(m.heard, slices.MinFunc(slices.Collect(maps.Keys(m.heard)), func(a, b string) int { return m.heard[a].Compare(m.heard[b]) }))
	}
	m.heard[address] = time.Now()
	if !known {
		select {
		case m.answer <- struct{}{}:
		default:
		}
	}
}

// Candidates implements circle.Finder. There may be others, so a majority means nothing.
func (m *Multicast) Candidates() (addresses []string, complete bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for a, at := range m.heard {
		if time.Since(at) > 10*m.cfg.Interval {
			delete(m.heard, a)
			continue
		}
		addresses = append(addresses, a)
	}
	slices.Sort(addresses)
	return addresses, false
}

// Ready implements circle.Finder.
func (m *Multicast) Ready() <-chan struct{} { return m.ready }
