package fleet

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"opensessionmanager/cluster/membership"
	"opensessionmanager/messages"
)

// moving is a source whose view the test changes.
type moving struct {
	membership.Source
	view atomic.Pointer[membership.View]
}

func (m *moving) Current() *membership.View {
	if v := m.view.Load(); v != nil {
		return v
	}
	return m.Source.Current()
}

// away is a view that places all grains on another broker, which nobody can reach.
func (m *moving) away() *membership.View {
	v := &membership.View{Epoch: 2, Protocol: 1, Members: []membership.Member{{ID: "other", Address: "127.0.0.1:1"}}}
	m.view.Store(v)
	return v
}

func startMoving(t *testing.T) (*fixture, *moving) {
	t.Helper()
	source := &moving{Source: membership.NewAlone()}
	f := start(t, 0, func(c *Config) { c.Source = source })
	t.Cleanup(func() { source.view.Store(nil) })
	return f, source
}

// A view gives the grain away while the activator is between its look and its message.
func TestLookup_AViewChangeLosesNoMessageOfTheActivator(t *testing.T) {
	for _, name := range []string{"a grain that is there", "a new one"} {
		t.Run(name, func(t *testing.T) {
			f, source := startMoving(t)
			if name == "a grain that is there" {
				f.ask(t, "a")
			}
			a := &asking{answers: make(chan answer, 4)}
			self, _ := f.system.ProcessRegistry.Add(a, "test")
			defer f.system.ProcessRegistry.Remove(self)
			found := (&activator{f.lookup}).ensure(messages.KindSession, "a")
			f.lookup.endForeign(source.away())
			_, there := f.active(messages.KindSession, "a")
			require.False(t, there)
			f.system.Root.RequestWithCustomSender(found.pid, &messages.DeleteSession{SessionId: "a"}, self)
			found.senders.Add(-1)
			select {
			case got := <-a.answers:
				require.IsType(t, &messages.SessionClosed{}, got.msg)
			case <-time.After(20 * time.Second):
				t.Fatal("the message is lost")
			}
			await(t, "its end", func() bool { _, alive := f.system.ProcessRegistry.GetLocal(found.pid.GetId()); return !alive })
		})
	}
}

// A view gives the grain away while it is made: the look for what is foreign does not see
// it yet, and there is no other look until the next view.
func TestLookup_AGrainThatIsMadeDuringAViewChangeDoesNotStay(t *testing.T) {
	f, source := startMoving(t)
	f.making = func() { f.lookup.endForeign(source.away()) }
	answer, err := f.system.Root.RequestFuture(f.lookup.activator, &activate{messages.KindSession, "a"}, 10*time.Second).Result()
	require.NoError(t, err)
	require.IsType(t, &notOwner{}, answer)
	_, there := f.active(messages.KindSession, "a")
	require.False(t, there)
}

// What comes while others still wait for the activator does not overtake them.
func TestLookup_KeepsTheOrderWhileAGrainIsMade(t *testing.T) {
	f, _ := startMoving(t)
	step := make(chan struct{})
	f.making = func() { <-step }
	a := &asking{answers: make(chan answer, 4)}
	self, _ := f.system.ProcessRegistry.Add(a, "test")
	defer f.system.ProcessRegistry.Remove(self)
	tell := func(grain, text string) {
		f.Tell(messages.KindSession, grain, &messages.DeleteSession{SessionId: text}, self)
	}
	heard := func() string { return (<-a.answers).msg.(*messages.SessionClosed).GetSessionId() }
	tell("a", "first")
	f.Tell(messages.KindSession, "another", &messages.Wake{}, nil)
	tell("a", "second")
	step <- struct{}{} // makes a
	require.Equal(t, "first", heard())
	tell("a", "third") // a is there, and the second message waits behind another grain
	step <- struct{}{} // makes the other one
	require.Equal(t, "second", heard())
	require.Equal(t, "third", heard())
}
