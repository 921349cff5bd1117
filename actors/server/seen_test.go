package server_test

import (
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"opensessionmanager/actors/server"
	"opensessionmanager/messages"
)

func TestSlot_TellsOnlyNews(t *testing.T) {
	t.Parallel()
	slot := &server.Slot{}
	require.Nil(t, slot.Seen())

	first := &messages.DcvSession{Id: "a", Owner: "alice", NumOfConnections: 1}
	require.True(t, slot.See(first))
	require.False(t, slot.See(proto.CloneOf(first)))
	require.True(t, proto.Equal(first, slot.Seen()))

	second := &messages.DcvSession{Id: "a", Owner: "alice", NumOfConnections: 2}
	require.True(t, slot.See(second))
	require.True(t, proto.Equal(second, slot.Seen()))

	slot.See(nil)
	require.Nil(t, slot.Seen())
	require.True(t, slot.See(second), "after it was forgotten it is news again")
}
