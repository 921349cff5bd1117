package circle_test

import (
	"bytes"
	"crypto/tls"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"opensessionmanager/cluster/membership"
	"opensessionmanager/cluster/membership/circle"
)

// logbook is what a broker told its operator.
type logbook struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logbook) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logbook) has(text string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Contains(l.text.String(), text)
}

// roles are what a circle told of its part.
type roles struct {
	mu  sync.Mutex
	all []circle.Role
}

func (r *roles) add(role circle.Role) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.all = append(r.all, role)
}

func (r *roles) last() circle.Role {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.all) == 0 {
		return circle.Role{}
	}
	return r.all[len(r.all)-1]
}

// started is a circle and what it told.
type started struct {
	*circle.Circle
	roles roles
	log   logbook
}

func (f *fleet) run(t *testing.T) *started {
	t.Helper()
	return f.runWith(t, f.config(t), func(*circle.Config) {})
}

func (f *fleet) runWith(t *testing.T, cfg circle.Config, more func(*circle.Config)) *started {
	t.Helper()
	s := &started{}
	cfg.OnRole = s.roles.add
	more(&cfg)
	cfg.Logger = slog.New(slog.NewTextHandler(io.MultiWriter(t.Output(), &s.log), nil)).With("port", cfg.Port)
	var err error
	s.Circle, err = circle.Start(cfg)
	require.NoError(t, err)
	t.Cleanup(func() { finish(s.Circle) })
	return s
}

// follow waits until all have the same leader, and returns it.
func follow(t *testing.T, all ...*started) *started {
	t.Helper()
	var leader *started
	await(t, "one leader", func() bool {
		leader = nil
		for _, s := range all {
			r := s.roles.last()
			if r.Leader == "" || r.Leader != all[0].roles.last().Leader || r.Term != all[0].roles.last().Term {
				return false
			}
			if r.Leader == s.ID() {
				leader = s
			}
		}
		return leader != nil
	})
	return leader
}

func TestCircle_TheNextLeadsWhenTheLeaderGoes(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 3)
	a := f.run(t)
	require.Same(t, a, follow(t, a))
	b, c := f.run(t), f.run(t)
	require.Same(t, a, follow(t, a, b, c), "who joins does not take over")
	await(t, "a to lead two", func() bool { return len(a.roles.last().Alive) == 2 })
	term := a.roles.last().Term
	finish(a.Circle)
	leader := follow(t, b, c)
	require.Greater(t, leader.roles.last().Term, term)
	require.Contains(t, leader.roles.last().Gone, a.ID(), "it said goodbye")
	await(t, "permit", func() bool { return leader.Permit() == nil })
}

// Two of a list of three may act, one may not, and it says why.
func TestCircle_AMinorityChangesNothing(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 3)
	a, b, c := f.run(t), f.run(t), f.run(t)
	leader := follow(t, a, b, c)
	await(t, "permit", func() bool { return leader.Permit() == nil })
	f.network.change(func() { f.network.cut[leader.Address()] = true })
	await(t, "no permit for one of three", func() bool { return leader.Permit() != nil })
	require.ErrorIs(t, leader.Permit(), circle.ErrMinority)
	await(t, "it says so", func() bool { return leader.log.has("this broker changes nothing for now") })
	var others []*started
	for _, s := range []*started{a, b, c} {
		if s != leader {
			others = append(others, s)
		}
	}
	next := follow(t, others...)
	await(t, "permit for two of three", func() bool { return next.Permit() == nil })
	f.network.change(func() { clear(f.network.cut) })
	require.Same(t, next, follow(t, a, b, c), "the one that was alone follows")
}

// Two brokers have no majority: both go on, and become one when they meet again.
func TestCircle_TwoSidesOfTwoGoOnAndBecomeOne(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 2)
	a, b := f.run(t), f.run(t)
	follow(t, a, b)
	f.network.change(func() { f.network.cut[b.Address()] = true })
	await(t, "both lead", func() bool { return a.Permit() == nil && b.Permit() == nil })
	term := max(a.roles.last().Term, b.roles.last().Term)
	f.network.change(func() { clear(f.network.cut) })
	leader := follow(t, a, b)
	require.GreaterOrEqual(t, leader.roles.last().Term, term)
}

// While only one broker lost the leader and the others still reach it, nobody takes over.
func TestCircle_WhoCannotReachTheLeaderWaitsWhileOthersCan(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 3)
	f.finder.complete = false
	a, b, c := f.run(t), f.run(t), f.run(t)
	leader := follow(t, a, b, c)
	others := map[*started]bool{a: true, b: true, c: true}
	delete(others, leader)
	var cutOff, between *started
	for s := range others {
		cutOff, between = s, cutOff
	}
	f.network.change(func() {
		f.network.parted = func(from, to string) bool {
			return from == leader.Address() && to == cutOff.Address() || from == cutOff.Address() && to == leader.Address()
		}
	})
	await(t, "it has no leader", func() bool { return cutOff.roles.last().Leader == "" })
	require.Equal(t, leader.ID(), between.roles.last().Leader)
	require.NoError(t, leader.Permit())
	f.network.change(func() { f.network.parted = func(string, string) bool { return false } })
	require.Same(t, leader, follow(t, a, b, c))
}

// A broker with another authority is told what to do, and forms no fleet of its own beside.
func TestCircle_AnotherAuthorityIsRefused(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 2)
	a := f.run(t)
	follow(t, a)
	f.server, f.client = fleetTLS(t)
	stranger := f.run(t)
	await(t, "the operator is told", func() bool { return stranger.log.has("copy security/dcvsmbroker_ca.pem") })
	require.Error(t, stranger.Permit())
	require.NoError(t, a.Permit(), "the fleet goes on")
	_, _, err := stranger.Registry().Healthy(t.Context(), 0, 0)
	require.ErrorIs(t, err, circle.ErrOtherAuthority)
}

// What a peer may send is bounded and does no harm, and without a certificate nothing is
// answered.
func TestCircle_NonsenseDoesNoHarm(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 1)
	a := f.run(t)
	follow(t, a)
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: f.client, DisableKeepAlives: true}}
	for _, path := range []string{"hello", "view", "registry", "store", "nothing"} {
		for _, body := range []string{"", "null", "{}", `{"call":"swap","term":1,"document":{}}`, `{"call":"register","term":1}`,
			`{"id":"x","address":"127.0.0.1:1"}`, strings.Repeat("[", 100_000), strings.Repeat("x", 2<<20)} {
			response, err := client.Post("https://"+a.Address()+"/circle/1/"+path, "application/json", strings.NewReader(body))
			if err != nil {
				continue // the connection was cut while the body was sent
			}
			_, _ = io.Copy(io.Discard, response.Body)
			_ = response.Body.Close()
		}
	}
	require.NoError(t, a.Permit())
	insecure := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
	_, err := insecure.Post("https://"+a.Address()+"/circle/1/hello", "application/json", strings.NewReader("{}"))
	require.Error(t, err)
}

// A fleet that was there before has lower epochs, so that its views are not mistaken.
func TestCircle_EpochsRiseOverTheEndOfTheFleet(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 2)
	var epoch uint64
	for _, id := range []string{"a", "b"} {
		source, _ := f.Open(t)
		require.NoError(t, source.Join(t.Context(), membership.Member{ID: id, Address: "127.0.0.1:1"}, nil))
		require.Greater(t, source.Current().Epoch, epoch)
		epoch = source.Current().Epoch
		require.NoError(t, source.Leave(t.Context()))
	}
	require.InDelta(t, time.Now().UnixMilli(), epoch, 600_000)
}
