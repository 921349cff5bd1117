package actors

import (
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"opensessionmanager/messages"
	"opensessionmanager/persistence"
	"opensessionmanager/persistence/memory"
)

// newer is a field that no version has yet.
var newer = protowire.AppendString(protowire.AppendTag(nil, 5000, protowire.BytesType), "of the version after")

// F47: what a later version wrote into a record is still there after this version has
// changed the record: brokers of both work in one fleet during an upgrade.
func TestRecords_KeepWhatALaterVersionWrote(t *testing.T) {
	t.Parallel()
	store := memory.New()
	w := worldOver(t, store)
	w.host("a").connect()
	w.accepted("s-1", "ann")
	w.awaitState("s-1", ready)
	w.stop()
	upgraded(t, w, RecordSession, &messages.SessionRecord{})
	upgraded(t, w, RecordServer, &messages.ServerRecord{})

	w = worldOver(t, store)
	w.host("a").connect()
	w.delete("s-1", "ann", false) // unless the host's report was faster: it has no such session
	w.awaitState("s-1", messages.SessionState_SESSION_STATE_DELETED)
	require.IsType(t, &messages.ServerView{}, w.ask(messages.KindServer, "a", &messages.CloseServer{ServerId: "a"}))
	session, server := &messages.SessionRecord{}, &messages.ServerRecord{}
	require.NoError(t, proto.Unmarshal(w.scan(RecordSession)[0].Data, session))
	require.NoError(t, proto.Unmarshal(w.scan(RecordServer)[0].Data, server))
	require.Equal(t, "deleted", session.GetState())
	require.True(t, server.GetClosed())
	for _, m := range []proto.Message{session, session.GetSpec(), server} {
		require.Equal(t, newer, []byte(m.ProtoReflect().GetUnknown()), "%s", m.ProtoReflect().Descriptor().Name())
	}
}

// upgraded has a later version write the one record of a kind.
func upgraded(t *testing.T, w *world, kind string, into proto.Message) {
	t.Helper()
	stored := w.scan(kind)[0]
	require.NoError(t, proto.Unmarshal(stored.Data, into))
	into.ProtoReflect().SetUnknown(newer)
	if s, ok := into.(*messages.SessionRecord); ok {
		s.GetSpec().ProtoReflect().SetUnknown(newer)
	}
	data, err := proto.Marshal(into)
	require.NoError(t, err)
	_, err = w.store.Save(t.Context(), persistence.Record{Key: stored.Key, Version: stored.Version, Data: data})
	require.NoError(t, err)
}
