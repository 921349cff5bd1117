//go:build !race

package fleet

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/asynkron/protoactor-go/remote"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/protobuf/proto"

	"opensessionmanager/cluster/membership"
	"opensessionmanager/internal/certs"
	"opensessionmanager/messages"
)

// Several brokers in one process make the library race with itself, hence the build tag.

// logbook collects log lines.
type logbook struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logbook) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logbook) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// fellow is one of several fleets' brokers in one process.
type fellow struct {
	*fixture
	log *logbook
}

func authority(t testing.TB) *certs.Authority {
	t.Helper()
	ca, err := certs.Ensure(certs.Config{Dir: t.TempDir(), Logger: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	return ca
}

func trusting(t testing.TB, c *Config, ca *certs.Authority) {
	t.Helper()
	live, err := certs.Follow(ca.PeerCertificate, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	c.ServerTLS, c.ClientTLS = ca.PeerServer(live), ca.PeerClient(live)
}

// fellows are brokers of one fleet, unless change makes them differ.
func fellows(t testing.TB, n int, change func(i int, c *Config)) []*fellow {
	t.Helper()
	all := strangers(t, n, change)
	for _, f := range all {
		require.NoError(t, f.Join(t.Context()))
	}
	for _, f := range all {
		await(t, "one view", func() bool { return len(f.View().Members) == n })
	}
	return all
}

// strangers are fellows before they join.
func strangers(t testing.TB, n int, change func(i int, c *Config)) []*fellow {
	t.Helper()
	registry, ca := membership.NewMemory(membership.DefaultTTL), authority(t)
	var all []*fellow
	for i := range n {
		log := &logbook{}
		all = append(all, &fellow{prepare(t, 0, func(c *Config) {
			trusting(t, c, ca)
			c.Logger = slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelInfo}))
			c.Source = membership.New(registry.Connect(), membership.Options{Logger: c.Logger})
			if change != nil {
				change(i, c)
			}
		}), log})
	}
	return all
}

// ownedBy is the id of a session that lives at a broker.
func (f *fellow) ownedBy(t testing.TB) string {
	t.Helper()
	for i := range 1000 {
		id := fmt.Sprint("s", i)
		if owner, _ := f.View().Owner(messages.KindSession, id); owner.ID == f.Self().ID {
			return id
		}
	}
	t.Fatal("no id of a thousand is this broker's")
	return ""
}

// question sends an envelope to a broker and waits for the answer.
func (f *fellow) question(t testing.TB, to *fellow, id string, epoch uint64) any {
	t.Helper()
	a := &asking{answers: make(chan answer, 1)}
	self, _ := f.system.ProcessRegistry.Add(a, "test"+f.system.ProcessRegistry.NextId())
	defer f.system.ProcessRegistry.Remove(self)
	body, err := proto.Marshal(&messages.DeleteSession{SessionId: id})
	require.NoError(t, err)
	for range 20 { // connecting may fail on a busy machine, and what waits for it is lost
		f.system.Root.Send(actor.NewPID(to.Address(), courierName), &messages.Envelope{Kind: messages.KindSession, Id: id, Sender: self,
			Type: packagePrefix + "DeleteSession", Body: body, Epoch: epoch})
		select {
		case got := <-a.answers:
			return got.msg
		case <-time.After(3 * time.Second):
		}
	}
	t.Fatal("no answer")
	return nil
}

// A requester with an older view, or a mistake: who does not own a grain never makes it
// but hands the message on (engine.md, pitfall 5).
func TestEpoch_WhoIsNotTheOwnerHandsOnAndMakesNothing(t *testing.T) {
	t.Parallel()
	all := fellows(t, 2, nil)
	a, b := all[0], all[1]
	id := b.ownedBy(t)
	require.IsType(t, &messages.SessionClosed{}, a.question(t, a, id, 1))
	require.IsType(t, &messages.SessionClosed{}, b.question(t, a, id, a.View().Epoch))
	require.Zero(t, a.made.Load())
	require.EqualValues(t, 1, b.made.Load())
	answer, err := a.system.Root.RequestFuture(a.lookup.activator, &activate{messages.KindSession, id}, 10*time.Second).Result()
	require.NoError(t, err)
	require.IsType(t, &notOwner{}, answer, "the activator too")
	require.NoError(t, a.Contact())
}

// A sender that knows a newer view: this broker is behind, says so to its own clients,
// and neither acts by its old view nor keeps the question for ever.
func TestEpoch_WhoIsBehindWaitsAndDoesNotAct(t *testing.T) {
	t.Parallel()
	all := fellows(t, 2, nil)
	a, b := all[0], all[1]
	id := b.ownedBy(t)
	refusal, ok := b.question(t, a, id, a.View().Epoch+1).(*messages.Refusal)
	require.True(t, ok, "the view never came")
	require.Equal(t, messages.CodeBusy, refusal.GetCode())
	require.ErrorIs(t, a.Contact(), ErrBehind)
	require.Zero(t, a.made.Load()+b.made.Load())
}

// The library leaves the connections of a broker that stopped open; one that joins again
// in its process would have more each time.
func TestTrap_AStoppedBrokerHasNoConnectionsLeft(t *testing.T) {
	t.Parallel()
	all := fellows(t, 2, nil)
	a, b := all[0], all[1]
	require.IsType(t, &messages.SessionClosed{}, a.question(t, b, b.ownedBy(t), 1))
	a.links.mu.Lock()
	var conns []*grpc.ClientConn
	for conn := range a.links.open {
		conns = append(conns, conn)
	}
	a.links.mu.Unlock()
	require.NotEmpty(t, conns)
	a.Stop(context.Background())
	for _, conn := range conns {
		require.Equal(t, connectivity.Shutdown, conn.GetState())
	}
}

// A probe proves a death by what the machine says, and by another process in the place.
func TestProbe_TellsTheDeadFromTheSilent(t *testing.T) {
	t.Parallel()
	f := fellows(t, 1, nil)[0]
	probe := func(m membership.Member) error {
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		defer cancel()
		return f.probe(ctx, m)
	}
	silent, err := net.Listen("tcp", "127.0.0.1:0") // takes connections and says nothing
	require.NoError(t, err)
	address := silent.Addr().String()
	err = probe(membership.Member{ID: "x", Address: address})
	require.Error(t, err)
	require.NotErrorIs(t, err, membership.ErrGone)
	require.NoError(t, silent.Close())
	require.ErrorIs(t, probe(membership.Member{ID: "x", Address: address}), membership.ErrGone)

	all := fellows(t, 2, nil)
	await(t, "the place to be taken by another", func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		err := all[0].probe(ctx, membership.Member{ID: "before", Address: all[1].Address()})
		return strings.Contains(fmt.Sprint(err), membership.ErrGone.Error())
	})
}

// Two brokers that share no version, should the membership have let both in.
func TestPort_BrokersWithoutACommonProtocolRefuseEachOtherAndSaySo(t *testing.T) {
	t.Parallel()
	all := strangers(t, 2, func(i int, c *Config) {
		if i == 1 {
			c.Protocol, c.Oldest = 5, 4
		}
	})
	requireToldOnce(t, all[0], all[1], "the broker that calls speaks protocol", "1 to 1", "4 to 5", "upgrade the older one")
}

// F13: a broker of another authority is refused, both ways: by the first look of the one
// that joins, and by those who are there.
func TestPort_ABrokerOfAnotherAuthorityIsRefusedAndBothSaySo(t *testing.T) {
	t.Parallel()
	all := strangers(t, 2, func(i int, c *Config) {
		if i == 1 {
			trusting(t, c, authority(t))
		}
	})
	a, b := all[0], all[1]
	require.NoError(t, a.Join(t.Context()))
	err := b.Join(t.Context())
	require.ErrorIs(t, err, membership.ErrStranger)
	require.ErrorContains(t, err, "its certificate was issued by")
	require.Len(t, a.View().Members, 1, "it was never let in")
	_ = a.probe(withTime(t), b.Self())
	requireTold(t, a, "a connection to the port between brokers was refused", "what answers at another broker's address is none of this fleet")
	requireTold(t, b, "a connection to the port between brokers was refused", "what answers at another broker's address is none of this fleet")
	require.Contains(t, a.log.String(), "certs: not a peer: its certificate was issued by")
	require.NoError(t, a.Contact())
}

// Only one does not trust the other: who is refused hears it too.
func TestPort_WhoseCertificateIsNotTakenIsTold(t *testing.T) {
	t.Parallel()
	all := strangers(t, 2, func(i int, c *Config) {
		if i == 1 {
			own := c.ServerTLS
			trusting(t, c, authority(t))
			c.ServerTLS = own
			c.ClientTLS.VerifyConnection = nil // it takes anybody
		}
	})
	a, b := all[0], all[1]
	require.NoError(t, a.Join(t.Context()))
	err := b.Join(t.Context())
	require.ErrorIs(t, err, membership.ErrStranger)
	require.ErrorContains(t, err, "bad certificate")
	requireTold(t, a, "a connection to the port between brokers was refused")
	requireTold(t, b, "another broker does not take this one's certificate")
	require.Contains(t, a.log.String(), "certs: not a peer: its certificate was issued by")
}

func withTime(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// requireTold waits until a log has each of some warnings, once, as the library tries
// again and again.
func requireTold(t *testing.T, f *fellow, warnings ...string) {
	t.Helper()
	for _, w := range warnings {
		line := `level=WARN msg="` + w
		await(t, w, func() bool { return strings.Contains(f.log.String(), line) })
		require.Equal(t, 1, strings.Count(f.log.String(), line), f.log.String())
	}
}

// requireToldOnce makes two brokers try to reach each other and looks into both logs.
func requireToldOnce(t *testing.T, a, b *fellow, texts ...string) {
	t.Helper()
	for range 2 {
		for _, each := range [][2]*fellow{{a, b}, {b, a}} {
			ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
			require.Error(t, each[0].probe(ctx, each[1].Self()))
			cancel()
		}
	}
	for _, f := range []*fellow{a, b} {
		await(t, "the reason in the log", func() bool {
			for _, text := range texts {
				if !strings.Contains(f.log.String(), text) {
					return false
				}
			}
			return true
		})
		for _, line := range []string{"the stream of another broker was ended", "another broker refuses this one",
			"a connection to the port between brokers was refused", "what answers at another broker's address is none of this fleet"} {
			require.LessOrEqual(t, strings.Count(f.log.String(), `level=WARN msg="`+line), 1, f.log.String())
		}
	}
}

// A machine that takes connections and does not answer, as a paused broker's: without a
// limit of ours it is waited for twenty seconds, in which everything to it is queued.
func TestTrap_ConnectingToASilentMachineEndsSoon(t *testing.T) {
	t.Parallel()
	f := fellows(t, 1, nil)[0]
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer func() { _ = silent.Close() }()
	lost := make(chan struct{})
	once := sync.OnceFunc(func() { close(lost) })
	f.system.EventStream.Subscribe(func(event any) {
		if e, ok := event.(*remote.EndpointTerminatedEvent); ok && e.Address == silent.Addr().String() {
			once()
		}
	})
	began := time.Now()
	f.post(silent.Addr().String(), &messages.Envelope{Actor: courierName}, &messages.Ping{}, 0)
	<-lost
	t.Logf("given up after %v", time.Since(began).Round(time.Millisecond))
	require.Less(t, time.Since(began), 15*time.Second)
}

// A link ended, and its word of that to the server's grain on another broker was lost: who
// sends it commands is told, else these would wait for answers that nobody gives.
func TestCourier_ACommandForALinkThatEndedIsAnswered(t *testing.T) {
	t.Parallel()
	all := fellows(t, 2, nil)
	a, b := all[0], all[1]
	link := actor.NewPID(b.Address(), "ended")
	command := func(name string) any {
		asker := &asking{answers: make(chan answer, 100)}
		self, _ := a.system.ProcessRegistry.Add(asker, name+a.system.ProcessRegistry.NextId())
		defer a.system.ProcessRegistry.Remove(self)
		var got any
		await(t, "an answer", func() bool { // what waits for a connection that fails is lost
			a.system.Root.RequestWithCustomSender(link, &messages.AgentFrame{}, self)
			select {
			case first := <-asker.answers:
				got = first.msg
				return true
			case <-time.After(time.Second):
				return false
			}
		})
		return got
	}
	detached, ok := command("grain").(*messages.AgentDetached)
	require.True(t, ok)
	require.True(t, link.Equal(detached.GetLink()), "%v", detached)
	refusal, ok := command(askName).(*messages.Refusal)
	require.True(t, ok, "a client that waits needs a refusal")
	require.Equal(t, messages.CodeUnreachable, refusal.GetCode())
}

// The grain of a session asked its server's, and that one's broker is gone: the question is
// put again although the session's own broker is the one that was asked.
func TestAsk_PutsItsQuestionsAgainWhenTheFleetChanges(t *testing.T) {
	t.Parallel()
	all := fellows(t, 2, nil)
	a, b := all[0], all[1]
	id := a.ownedBy(t)
	answered := make(chan any, 1)
	go func() {
		answered <- a.Ask(withTime(t), []Call{{Kind: messages.KindSession, ID: id, Msg: &messages.UpdateSessionPermissions{SessionId: id}}})[0]
	}()
	await(t, "the grain to be asked", func() bool { return a.made.Load() == 1 })
	b.Stop(context.Background())
	require.IsType(t, &messages.SessionClosed{}, <-answered)
}
