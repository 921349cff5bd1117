package actors

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"opensessionmanager/messages"
	"opensessionmanager/persistence"
)

func (w *world) openServer(id, request string) *messages.ServerView {
	w.t.Helper()
	return w.ask(messages.KindServer, id, &messages.OpenServer{ServerId: id, RequestId: request}).(*messages.ServerView)
}

func (w *world) closeServer(id, request string) *messages.ServerView {
	w.t.Helper()
	return w.ask(messages.KindServer, id, &messages.CloseServer{ServerId: id, Force: true, RequestId: request}).(*messages.ServerView)
}

// Promise 4, F43: a request is sent again while its answer is on its way. The copy does
// not undo what others were promised since, also not at the next activation.
func TestServer_CopyOfARequestDoesNotUndoALaterOne(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.host("a").connect()
	require.False(t, w.openServer("a", "first").GetClosed())
	require.True(t, w.closeServer("a", "second").GetClosed())
	require.True(t, w.openServer("a", "first").GetClosed(), "done before; the answer says how it is now")
	w.stop()
	w = worldOver(t, w.store)
	require.True(t, w.openServer("a", "first").GetClosed(), "after a restart")
	require.False(t, w.openServer("a", "third").GetClosed())
	require.False(t, w.closeServer("a", "second").GetClosed())
}

func TestServer_RemembersABoundedNumberOfRequests(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.host("a").connect()
	for i := range maxSwitches + 2 {
		w.closeServer("a", fmt.Sprint(i))
	}
	require.False(t, w.openServer("a", "0").GetClosed(), "too old to be remembered")
	require.Len(t, w.scan(RecordServer), 1)
	require.Less(t, len(w.scan(RecordServer)[0].Data), 1000)
}

// A copy of a close is no refusal because sessions were there when it came.
func TestServer_CopyOfACloseIsAnsweredAsTheFirst(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	h := w.host("a").connect()
	ask := func(request string) any {
		return w.ask(messages.KindServer, "a", &messages.CloseServer{ServerId: "a", RequestId: request})
	}
	require.IsType(t, &messages.ServerView{}, ask("first"))
	h.start("found", "ann", "virtual")
	h.report()
	w.awaitState("found", ready)
	w.awaitCount("a", 1)
	require.IsType(t, &messages.ServerView{}, ask("first"))
	w.refused(ask("second"), messages.CodeServerHasSessions)
}

// The record was written by an activation elsewhere after this one had read it: what that
// one did is known here too, and stays in the record.
func TestServer_CopyOfARequestThatWasDoneElsewhereDoesNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.host("a").connect()
	w.openServer("a", "first") // and its record is there
	stored := w.scan(RecordServer)[0]
	var record messages.ServerRecord
	require.NoError(t, proto.Unmarshal(stored.Data, &record))
	record.SwitchRequests = append(record.SwitchRequests, "closed", "opened")
	data, err := proto.Marshal(&record)
	require.NoError(t, err)
	_, err = w.store.Save(t.Context(), persistence.Record{Key: stored.Key, Version: stored.Version, Data: data})
	require.NoError(t, err)
	w.peers.Tell(messages.KindServer, "a", &messages.Wake{Check: true}, nil)
	w.openServer("a", "later")
	require.False(t, w.closeServer("a", "closed").GetClosed())
}
