package agentws_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"opensessionmanager/http/agentws"
)

// F36: the sockets of an agent client that was unregistered are closed, no others.
func TestDrop_ClosesTheSocketsOfSomeClients(t *testing.T) {
	t.Parallel()
	b := start(t)
	ws, link := b.dial(t)
	require.Equal(t, map[string]bool{"a-1": true}, b.ClientIDs())
	require.Zero(t, b.Drop(map[string]bool{"a-2": true}, "unregistered"))
	require.Equal(t, 1, b.Drop(map[string]bool{"a-1": true}, "this agent was unregistered"))
	code, reason := readClose(t, ws)
	require.Equal(t, agentws.ClosePolicy, code)
	require.Equal(t, "this agent was unregistered", reason)
	<-link.closed
}
