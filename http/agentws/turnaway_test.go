package agentws_test

import (
	"net/http"
	"testing"

	"github.com/fasthttp/websocket"
	"github.com/stretchr/testify/require"

	"opensessionmanager/http/agentws"
	"opensessionmanager/internal/agentproto"
)

// F5: agents of a broker that is out of contact are sent to others, until it is back.
func TestTurnAway_SendsAgentsElsewhereUntilWelcome(t *testing.T) {
	t.Parallel()
	b := start(t)
	ws, l := b.dial(t)
	b.TurnAway("out of contact with the fleet")
	code, reason := readClose(t, ws)
	require.Equal(t, agentws.CloseTryLater, code)
	require.Equal(t, "out of contact with the fleet", reason)
	require.Contains(t, <-l.closed, "out of contact")
	_, response, err := websocket.DefaultDialer.Dial("ws://"+b.addr+agentproto.PathSocket, http.Header{"Authorization": {"Bearer a-1"}})
	require.ErrorIs(t, err, websocket.ErrBadHandshake)
	require.Equal(t, http.StatusServiceUnavailable, response.StatusCode)
	require.Equal(t, "TRY_ANOTHER_BROKER", response.Header.Get("X-Error-Code"))
	b.Welcome()
	b.dial(t)
}
