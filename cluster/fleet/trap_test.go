package fleet

import (
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/asynkron/protoactor-go/remote"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"opensessionmanager/messages"
)

// A process that starts anew on an address is sent what was meant for the one before.
// The library numbers actors from 1, so an answer to a question of the old one would
// answer a question of the new one.
func TestTrap_ANewProcessHasOtherActorIDsThanTheOneBefore(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for range 20 { // incarnations on one address
		system := NewSystem(slog.New(slog.DiscardHandler))
		for range 500 {
			id := system.ProcessRegistry.NextId()
			require.False(t, seen[id], "actor %s was there before", id)
			seen[id] = true
		}
		system.Shutdown()
	}
}

// What the library would take by default: two more tries of two seconds each in which
// messages wait, and 16 MB for each broker that was ever spoken to.
func TestTrap_LimitsOfTheLibrary(t *testing.T) {
	f := start(t, 0)
	cfg := f.remoteConfig()
	require.Equal(t, 1, cfg.MaxRetryCount)
	require.Equal(t, 1024, cfg.EndpointWriterQueueSize)
	require.Equal(t, 256, cfg.EndpointWriterBatchSize)
	require.GreaterOrEqual(t, f.cluster.Config.GossipInterval.Hours(), 24.0)
}

// The library's member list blocks for ever whoever left once, and publishes under a
// lock; it is never told of anybody.
func TestTrap_TheLibrarysMemberListStaysEmpty(t *testing.T) {
	f := start(t, 0)
	require.Zero(t, f.cluster.MemberList.Length())
	require.Zero(t, f.cluster.Remote.BlockList().Len())
}

// The library packs 256 messages into one, whatever their size; what exceeds the limit
// of the other side would end the link with all that is on it (engine.md, pitfall 3).
func TestTrap_ManyLargeMessagesAtOnceArrive(t *testing.T) {
	f := start(t, 0)
	conn, err := grpc.NewClient(f.Address(), f.dialOptions()...)
	require.NoError(t, err)
	defer func() { require.NoError(t, conn.Close()) }()
	stream, err := remote.NewRemotingClient(conn).Receive(t.Context(), f.remoteConfig().CallOptions...)
	require.NoError(t, err)
	greet(t, stream)
	const n, size = 9, 8 << 20 // together more than largestMessage
	a := &asking{answers: make(chan answer, n)}
	self, _ := f.system.ProcessRegistry.Add(a, "test")
	body, err := proto.Marshal(&messages.DeleteSession{SessionId: strings.Repeat("x", size)})
	require.NoError(t, err)
	data, err := proto.Marshal(&messages.Envelope{Kind: messages.KindSession, Id: "a", Type: packagePrefix + "DeleteSession", Body: body, Sender: self})
	require.NoError(t, err)
	batch := &remote.MessageBatch{TypeNames: []string{envelopeType}, Targets: []*actor.PID{actor.NewPID(f.Address(), courierName)}}
	for range n {
		batch.Envelopes = append(batch.Envelopes, &remote.MessageEnvelope{MessageData: data})
	}
	require.NoError(t, stream.Send(batchOf(batch)))
	for range n {
		select {
		case got := <-a.answers:
			require.Len(t, got.msg.(*messages.SessionClosed).GetSessionId(), size)
		case <-stream.Context().Done():
			t.Fatal("the link was ended")
		case <-time.After(30 * time.Second):
			t.Fatal("a message is lost")
		}
	}
}

// A grain that ends is forgotten without looking at the others (engine.md, pitfall 4).
func TestTrap_EndingManyGrainsKeepsNobodyWaiting(t *testing.T) {
	f := start(t, 0)
	const n = 20_000
	ids := make([]string, n)
	for i := range ids {
		ids[i] = "g" + string(rune('a'+i%26)) + string(rune(0x4e00+i))
	}
	f.ask(t, ids...)
	for _, id := range ids {
		pid, _ := f.active(messages.KindSession, id)
		f.Retire(messages.KindSession, id, pid)
	}
	require.IsType(t, &messages.SessionClosed{}, f.ask(t, "another")[0])
	await(t, "all to be forgotten", func() bool {
		left := 0
		f.lookup.grains.Range(func(any, any) bool { left++; return true })
		return left == 1
	})
}

// A panic in the courier must not restart it: what is in its mailbox would be handled by
// nobody meanwhile, and the library stops an actor that panics often.
func TestTrap_TheCourierOutlivesWhatItIsSent(t *testing.T) {
	f := start(t, 0)
	for range 50 {
		f.system.Root.Send(f.courier, &redelivery{env: nil})
		f.system.Root.Send(f.courier, &actor.PID{})
		f.system.Root.Send(f.courier, "text")
		f.system.Root.Send(f.courier, &messages.Envelope{Actor: "nobody", Type: packagePrefix + "Wake", Sender: &actor.PID{}})
	}
	_, there := f.system.ProcessRegistry.GetLocal(f.courier.Id)
	require.True(t, there)
	require.IsType(t, &messages.SessionClosed{}, f.ask(t, "a")[0])
}

// Envelopes for the library's own actors are refused.
func TestTrap_EnvelopesDoNotReachTheLibrarysActors(t *testing.T) {
	f := start(t, 0)
	for _, name := range []string{"eventstream", "activator", "partition-activator"} {
		a := &asking{answers: make(chan answer, 1)}
		self, _ := f.system.ProcessRegistry.Add(a, "test-"+name)
		f.system.Root.Send(f.courier, &messages.Envelope{Actor: name, Type: packagePrefix + "Wake", Sender: self})
		got := (<-a.answers).msg
		require.Equal(t, messages.CodeInvalid, got.(*messages.Refusal).GetCode(), name)
		f.system.ProcessRegistry.Remove(self)
	}
}

// What a peer sends is opened without harm, whatever it is: every byte of it.
func FuzzEnvelope(f *testing.F) {
	good, err := proto.Marshal(&messages.Envelope{Kind: "session", Id: "a", Type: packagePrefix + "Wake", Epoch: 1})
	require.NoError(f, err)
	f.Add(good)
	f.Add([]byte{0xff, 0xff})
	nested, err := proto.Marshal(&messages.Envelope{Actor: "roster", Type: envelopeType, Body: good})
	require.NoError(f, err)
	f.Add(nested)
	f.Fuzz(func(t *testing.T, data []byte) {
		env := &messages.Envelope{}
		if proto.Unmarshal(data, env) != nil {
			return
		}
		msg, err := open(env)
		if err == nil {
			require.NotNil(t, msg)
			_ = reserved(env.GetActor())
		}
	})
}

// FuzzBatch: what passes the check can be taken apart as the library does it.
func FuzzBatch(f *testing.F) {
	good, err := proto.Marshal(&remote.MessageBatch{TypeNames: []string{envelopeType}, Targets: []*actor.PID{actor.NewPID("here", courierName)},
		Envelopes: []*remote.MessageEnvelope{{Sender: 0, MessageData: []byte("x")}}})
	require.NoError(f, err)
	f.Add(good)
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, data []byte) {
		batch := &remote.MessageBatch{}
		if proto.Unmarshal(data, batch) != nil || checkBatch(batch, "here") != nil {
			return
		}
		for _, e := range batch.GetEnvelopes() {
			require.Equal(t, envelopeType, batch.TypeNames[e.TypeId])
			require.Equal(t, courierName, batch.Targets[e.Target].GetId())
			if e.Sender != 0 {
				_ = batch.Senders[e.Sender-1].GetId()
			}
		}
		count := 0
		for _, part := range split(batch.GetEnvelopes()) {
			count += len(part)
		}
		require.Equal(t, len(batch.GetEnvelopes()), count)
	})
}

// The library would retry a question that nobody takes in a hot loop (engine.md chapter
// 1); here it is sent again when its grain is made anew, and once a second.
func TestTrap_AQuestionWithoutAnAnswerIsAskedOnce(t *testing.T) {
	f := start(t, 0)
	var asked int
	props := actor.PropsFromFunc(func(ctx actor.Context) {
		if _, ok := ctx.Message().(*messages.Wake); ok {
			asked++
		}
	})
	pid := f.system.Root.Spawn(props)
	f.lookup.grains.Store(key{messages.KindSession, "mute"}, &activation{pid: pid})
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	require.ErrorIs(t, f.Ask(ctx, []Call{{Kind: messages.KindSession, ID: "mute", Msg: &messages.Wake{}}})[0].(error), ErrTimeout)
	require.NoError(t, f.system.Root.PoisonFuture(pid).Wait())
	require.Equal(t, 1, asked)
	f.lookup.grains.Delete(key{messages.KindSession, "mute"})
}
