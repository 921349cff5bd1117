package listen_test

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"opensessionmanager/http/listen"
)

// F47: a client that keeps its connection is told with an answer that it ends, instead of
// finding it closed under its next request.
func TestServer_ShutdownAnswersOnceMoreOnOpenConnections(t *testing.T) {
	t.Parallel()
	server := start(t, listen.Config{DrainTime: time.Minute})
	conn := dial(t, server)
	reader := bufio.NewReader(conn)
	ask := func() *http.Response {
		t.Helper()
		_, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
		require.NoError(t, err)
		response, err := http.ReadResponse(reader, nil)
		require.NoError(t, err)
		_, err = io.Copy(io.Discard, response.Body)
		require.NoError(t, err)
		return response
	}
	require.False(t, ask().Close)
	down := make(chan error, 1)
	go func() { down <- server.Shutdown(context.Background()) }()
	await(t, "the port to close", func() bool {
		probe, err := net.Dial("tcp", server.Addr().String())
		if err == nil {
			_ = probe.Close()
		}
		return err != nil
	})
	last := ask()
	require.Equal(t, http.StatusOK, last.StatusCode)
	require.True(t, last.Close, "with the last answer")
	require.NoError(t, <-down, "and then nobody is waited for")
}
