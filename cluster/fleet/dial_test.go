package fleet

import (
	"context"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A broker that restarts at its address is reached as soon as it listens again, not two
// seconds after the first attempt.
func TestDial_ReachesWhoListensALittleLater(t *testing.T) {
	f := start(t, 0)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	address := l.Addr().String()
	require.NoError(t, l.Close())
	reached := make(chan error, 1)
	go func() {
		conn, err := f.dial(t.Context(), address)
		if err == nil {
			err = conn.Close()
		}
		reached <- err
	}()
	select {
	case err := <-reached:
		t.Fatal("it gave up: ", err)
	case <-time.After(5 * dialPause):
	}
	l, err = net.Listen("tcp", address)
	require.NoError(t, err)
	defer func() { require.NoError(t, l.Close()) }()
	require.NoError(t, <-reached)
}

func TestDial_EndsWithItsContext(t *testing.T) {
	f := start(t, 0)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, l.Close())
	ctx, cancel := context.WithTimeout(t.Context(), 3*dialPause)
	defer cancel()
	_, err = f.dial(ctx, l.Addr().String())
	require.Error(t, err)
}
