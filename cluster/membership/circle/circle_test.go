package circle_test

import (
	"context"
	"crypto/tls"
	"errors"
	"flag"
	"log/slog"
	"math/rand/v2"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"opensessionmanager/cluster/membership"
	"opensessionmanager/cluster/membership/circle"
	"opensessionmanager/cluster/membership/membershiptest"
	"opensessionmanager/internal/certs"
)

func TestMain(m *testing.M) {
	nextPort.Store(15000 + rand.Int64N(12000))
	flag.Parse()
	if err := flag.Set("test.parallel", "6"); err != nil { // the tests wait more than they work
		panic(err)
	}
	goleak.VerifyTestMain(m)
}

const patience = 60 * time.Second

func await(t testing.TB, what string, try func() bool) {
	t.Helper()
	require.Eventually(t, try, patience, 10*time.Millisecond, "%s", what)
}

// fleetTLS is what the brokers of one fleet show each other.
func fleetTLS(t testing.TB) (server, client *tls.Config) {
	t.Helper()
	ca, err := certs.Ensure(certs.Config{Dir: t.TempDir(), Logger: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	peer, err := certs.Follow(ca.PeerCertificate, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	return ca.PeerServer(peer), ca.PeerClient(peer)
}

// nextPort is behind the ports that this run has used. They are below those that systems
// take for outgoing connections, so that nobody else has one when its turn comes.
var nextPort atomic.Int64

// freePorts are ports of the loopback address where nobody listens, the lowest address first.
func freePorts(t testing.TB, n int) []int {
	t.Helper()
	var ports []int
	for len(ports) < n {
		port := int(nextPort.Add(1))
		l, err := net.Listen("tcp", address(port))
		if err != nil {
			continue
		}
		require.NoError(t, l.Close())
		ports = append(ports, port)
	}
	return ports
}

// listed is a finder that knows all addresses, or not.
type listed struct {
	addresses []string
	complete  bool
}

var always = func() chan struct{} { c := make(chan struct{}); close(c); return c }()

func (l listed) Candidates() ([]string, bool) { return l.addresses, l.complete }
func (l listed) Ready() <-chan struct{}       { return always }

// network is the wires between the brokers of one fleet. While one is cut, whatever it
// dials and whoever dials it hangs, and its connections are dead.
type network struct {
	mu      sync.Mutex
	cut     map[string]bool // by address
	parted  func(from, to string) bool
	traffic map[*wire]bool
}

type wire struct {
	net.Conn
	n        *network
	from, to string
}

var errCut = errors.New("i/o timeout on a cut wire")

func newNetwork() *network {
	return &network{cut: map[string]bool{}, traffic: map[*wire]bool{}, parted: func(string, string) bool { return false }}
}

func (n *network) broken(from, to string) bool { return n.cut[from] || n.cut[to] || n.parted(from, to) }

func (n *network) dialer(from string) func(context.Context, string) (net.Conn, error) {
	return func(ctx context.Context, to string) (net.Conn, error) {
		n.mu.Lock()
		broken := n.broken(from, to)
		n.mu.Unlock()
		if broken && from != to {
			return nil, errCut
		}
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", to)
		if err != nil {
			return nil, err
		}
		w := &wire{conn, n, from, to}
		n.mu.Lock()
		defer n.mu.Unlock()
		if n.broken(from, to) && from != to { // it was cut while it was dialed
			_ = conn.Close()
			return nil, errCut
		}
		n.traffic[w] = true
		return w, nil
	}
}

func (w *wire) Close() error {
	w.n.mu.Lock()
	delete(w.n.traffic, w)
	w.n.mu.Unlock()
	return w.Conn.Close()
}

// change cuts or mends and ends the connections that go nowhere now.
func (n *network) change(f func()) {
	n.mu.Lock()
	f()
	var dead []*wire
	for w := range n.traffic {
		if n.broken(w.from, w.to) && w.from != w.to {
			dead = append(dead, w)
		}
	}
	n.mu.Unlock()
	for _, w := range dead {
		_ = w.Close()
	}
}

// line is one broker's contact with the others.
type line struct {
	n       *network
	address string
}

func (l line) Cut()  { l.n.change(func() { l.n.cut[l.address] = true }) }
func (l line) Mend() { l.n.change(func() { delete(l.n.cut, l.address) }) }

// fleet is brokers that may run at a list of addresses.
type fleet struct {
	network        *network
	server, client *tls.Config
	ports          []int
	finder         listed

	mu   sync.Mutex
	next int
}

func newFleet(t testing.TB, n int) *fleet {
	f := &fleet{network: newNetwork(), ports: freePorts(t, n), finder: listed{complete: true}}
	f.server, f.client = fleetTLS(t)
	for _, p := range f.ports {
		f.finder.addresses = append(f.finder.addresses, address(p))
	}
	return f
}

func address(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }

func (f *fleet) config(t testing.TB) circle.Config {
	f.mu.Lock()
	defer f.mu.Unlock()
	port := f.ports[f.next]
	f.next++
	return circle.Config{Host: "127.0.0.1", Port: port, ServerTLS: f.server, ClientTLS: f.client, Finder: f.finder,
		Beat: 50 * time.Millisecond, Lease: 400 * time.Millisecond, Dial: f.network.dialer(address(port)),
		Logger: slog.New(slog.NewTextHandler(t.Output(), nil)).With("port", port)}
}

func finish(c *circle.Circle) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	c.Close(ctx)
}

// source is a keeper whose circle ends with it.
type source struct {
	*membership.Keeper
	circle *circle.Circle
	once   sync.Once
}

func (s *source) Leave(ctx context.Context) error {
	err := s.Keeper.Leave(ctx)
	s.once.Do(func() { finish(s.circle) })
	return err
}

func (f *fleet) Pace() time.Duration { return 2 * time.Second }

func (f *fleet) Open(t testing.TB) (membership.Source, membershiptest.Line) {
	c, err := circle.Start(f.config(t))
	require.NoError(t, err)
	keeper := membership.New(c.Registry(), membership.Options{Heartbeat: 250 * time.Millisecond,
		Logger: slog.New(slog.NewTextHandler(t.Output(), nil)).With("circle", c.Address())})
	s := &source{Keeper: keeper, circle: c}
	t.Cleanup(func() { s.once.Do(func() { finish(c) }) })
	return s, line{f.network, c.Address()}
}

// The whole contract of a source, by a list of all addresses.
func TestCircle_KeepsTheContract(t *testing.T) {
	t.Parallel()
	if !severalBrokers {
		t.Skip("make fleet runs it: its cases are about times, and want a machine that is not busy with other tests")
	}
	membershiptest.Run(t, func(t testing.TB) membershiptest.Fleet { return newFleet(t, 9) })
}
