package listen

import (
	"log/slog"
	"net"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// starved is a listener that is out of file descriptors for a while.
type starved struct {
	net.Listener
	mu   sync.Mutex
	left int
}

func (s *starved) Accept() (net.Conn, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.left > 0 {
		s.left--
		return nil, &net.OpError{Op: "accept", Err: os.NewSyscallError("accept4", syscall.EMFILE)}
	}
	return s.Listener.Accept()
}

// F24: running out of file descriptors neither ends the listener nor fills the log.
func TestGuard_SurvivesFileDescriptorExhaustion(t *testing.T) {
	t.Parallel()
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	var log strings.Builder
	cfg := Config{MaxConns: 1, AcceptsPerSecond: 1000, Logger: slog.New(slog.NewTextHandler(&log, nil))}
	g := newGuard(&starved{Listener: inner, left: 4}, cfg)
	defer g.Close()

	client, err := net.Dial("tcp", inner.Addr().String())
	require.NoError(t, err)
	defer client.Close()
	conn, err := g.Accept()
	require.NoError(t, err)
	require.NoError(t, conn.Close())
	require.Equal(t, int64(4), g.stats().AcceptErrors)
	require.Equal(t, 1, strings.Count(log.String(), "cannot accept"))
}

func TestGuard_CloseEndsAPausedAccept(t *testing.T) {
	t.Parallel()
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	cfg := Config{MaxConns: 1, AcceptsPerSecond: 1000, Logger: slog.New(slog.DiscardHandler)}
	g := newGuard(&starved{Listener: inner, left: 1 << 30}, cfg)
	ended := make(chan error, 1)
	go func() {
		_, err := g.Accept()
		ended <- err
	}()
	require.NoError(t, g.Close())
	require.ErrorIs(t, <-ended, net.ErrClosed)
}
