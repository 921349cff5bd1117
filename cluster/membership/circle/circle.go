package circle

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"opensessionmanager/cluster/membership"
)

// Errors of a Circle.
var (
	// ErrMinority: most of the brokers that are known to exist do not answer. They may
	// go on without this one, which therefore changes nothing.
	ErrMinority = errors.New("circle: this broker reaches too few of the others")
	// ErrNoLeader: nobody leads for now, or the leader does not answer.
	ErrNoLeader = errors.New("circle: no broker leads for now")
	// ErrOtherAuthority: what answers is a broker of another fleet, or none.
	ErrOtherAuthority = errors.New("circle: it does not have this fleet's certificate; copy security/dcvsmbroker_ca.pem and dcvsmbroker_ca_key.pem of a broker of the fleet before the first start")
)

// Finder names the addresses where brokers may be.
type Finder interface {
	// Candidates are host:port of discovery ports, this broker's own perhaps among them.
	// It answers at once with what it knows. complete says that there are no others, so
	// that a majority of them means something.
	Candidates() (addresses []string, complete bool)
	// Ready is closed when Candidates is worth asking.
	Ready() <-chan struct{}
}

// Config of a Circle. Finder, ServerTLS and ClientTLS are required; what else is zero
// becomes its default.
type Config struct {
	Host string // to listen on; default: all addresses
	Port int    // 0: a free one
	// Advertise is the host by which others reach this broker; default: Host.
	Advertise string
	// ServerTLS and ClientTLS let in only brokers of this fleet.
	ServerTLS, ClientTLS *tls.Config
	Finder               Finder
	// Beat is the time between two hellos. Default 250 ms.
	Beat time.Duration
	// Lease is for how long a broker counts as alive that was not heard of. Default 1 s.
	Lease time.Duration
	// TTL is that of the registry. Default membership.DefaultTTL.
	TTL time.Duration
	// OnRole is called, one call at a time, when the role or what it is about changes.
	// It must be quick.
	OnRole func(Role)
	// Health is why this broker should not lead while another one can; nil: nothing. It
	// must be quick. Default: always nil.
	Health func() error
	// Store answers what the brokers' stores ask each other; from is the asker's ID.
	Store func(ctx context.Context, from string, body []byte) ([]byte, error)
	// Dial replaces TCP, for tests of broken networks.
	Dial   func(ctx context.Context, address string) (net.Conn, error)
	Logger *slog.Logger     // default: nowhere
	Now    func() time.Time // default time.Now
}

func (c Config) withDefaults() Config {
	c.Beat = cmp.Or(c.Beat, 250*time.Millisecond)
	c.Lease = cmp.Or(c.Lease, time.Second)
	c.TTL = cmp.Or(c.TTL, membership.DefaultTTL)
	if c.Dial == nil {
		dialer := &net.Dialer{Timeout: c.Lease}
		c.Dial = func(ctx context.Context, address string) (net.Conn, error) {
			return dialer.DialContext(ctx, "tcp", address)
		}
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.OnRole == nil {
		c.OnRole = func(Role) {}
	}
	if c.Health == nil {
		c.Health = func() error { return nil }
	}
	return c
}

// Role is this broker's part.
type Role struct {
	Self   string // this broker's ID
	Leader string // "": nobody leads for now
	Term   uint64
	Alive  []string // IDs of the others that answer, sorted
	Gone   []string // IDs of those whose process certainly ended, lately
}

// Circle is this broker's part in finding the others.
type Circle struct {
	cfg     Config
	log     *slog.Logger
	self    string
	address string // where others reach it
	server  *http.Server
	client  *http.Client

	wake    chan struct{}
	life    context.Context
	end     context.CancelFunc
	work    sync.WaitGroup
	serving sync.WaitGroup

	mu     sync.Mutex
	state             // state.go
	notify sync.Mutex // around OnRole
}

// Start listens and begins to look for others.
func Start(cfg Config) (*Circle, error) {
	c := &Circle{cfg: cfg.withDefaults(), self: rand.Text(), wake: make(chan struct{}, 1)}
	c.log = c.cfg.Logger
	if cfg.ServerTLS == nil || cfg.ClientTLS == nil {
		return nil, errors.New("circle: TLS between brokers is not optional")
	}
	c.state = newState()
	c.life, c.end = context.WithCancel(context.Background())
	c.client = c.newClient()
	if err := c.listen(); err != nil {
		c.end()
		return nil, err
	}
	c.work.Go(c.run)
	return c, nil
}

// ID is this broker's among the circle; each start has its own.
func (c *Circle) ID() string { return c.self }

// Address is where other brokers reach this one.
func (c *Circle) Address() string { return c.address }

// Close tells the others that this broker goes, so that they need not find out, and
// ends everything.
func (c *Circle) Close(ctx context.Context) {
	c.mu.Lock()
	c.leaving = true
	if c.role.Leader == c.self {
		c.enter(Role{Self: c.self, Term: c.role.Term})
	}
	addresses := c.aliveAddresses()
	c.mu.Unlock()
	var farewell sync.WaitGroup
	ctx, cancel := context.WithTimeout(ctx, c.cfg.Lease)
	defer cancel()
	for _, a := range addresses {
		farewell.Go(func() { _, _ = c.greet(ctx, a) }) // who misses it finds out
	}
	farewell.Wait()
	c.end()
	c.work.Wait()
	_ = c.server.Close()
	c.serving.Wait()
	c.client.CloseIdleConnections()
}

// run looks around until the end.
func (c *Circle) run() {
	select {
	case <-c.cfg.Finder.Ready():
	case <-c.life.Done():
		return
	}
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-c.life.Done():
			return
		case <-timer.C:
		case <-c.wake:
		}
		timer.Reset(c.turn())
	}
}

// turn says hello to whom it is time for, decides, and says when to look again.
func (c *Circle) turn() time.Duration {
	now := c.cfg.Now()
	addresses, complete := c.cfg.Finder.Candidates()
	c.mu.Lock()
	c.slept(now)
	c.know(addresses, complete, now)
	for _, p := range c.due(now) {
		p.busy = true
		c.work.Go(func() { c.exchange(p) })
	}
	c.decide(now)
	next := c.pause(now)
	c.mu.Unlock()
	c.tell()
	return next
}

// pause is how long nothing is due.
func (c *Circle) pause(now time.Time) time.Duration {
	next := c.cfg.Beat
	for _, p := range c.peers {
		if p.address != c.address && !p.busy {
			next = min(next, p.next.Sub(now))
		}
	}
	return max(next, 5*time.Millisecond)
}

// look wakes run.
func (c *Circle) look() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// Suspect has the leader asked at once: somebody lost the connection to it.
func (c *Circle) Suspect() {
	c.mu.Lock()
	for _, p := range c.peers {
		if p.alive(c.cfg.Now(), c.cfg.Lease) && p.said.ID == c.role.Leader {
			p.next = time.Time{}
		}
	}
	c.mu.Unlock()
	c.look()
}

// exchange says hello to one address and takes the answer.
func (c *Circle) exchange(p *peer) {
	ctx, cancel := context.WithTimeout(c.life, c.cfg.Lease*3/4)
	defer cancel()
	asked := c.cfg.Now()
	answer, err := c.greet(ctx, p.address)
	var document []byte
	if err == nil && answer.Epoch > c.newest() {
		document, _ = c.fetchDocument(ctx, p.address) // or the next hello brings it
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.life.Err() == nil {
		c.heard(p, answer, err, asked)
		c.keep(document)
	}
	c.look()
}

// tell calls OnRole if the role changed.
func (c *Circle) tell() {
	c.notify.Lock()
	defer c.notify.Unlock()
	c.mu.Lock()
	role, told := c.present(), c.told
	c.told = role
	c.mu.Unlock()
	if !same(role, told) {
		c.cfg.OnRole(role)
	}
}
