package fleet

import (
	"context"
	"errors"
	"net"
	"syscall"
	"time"

	"google.golang.org/grpc/credentials"
)

// dialTime bounds how long it is tried to reach where nobody listens, and dialPause is
// the time between two attempts.
const (
	dialTime  = 5 * time.Second
	dialPause = 20 * time.Millisecond
)

// dial waits for somebody to listen, so that what is sent to a broker that restarts at
// its address reaches it as soon as it is back. See outgoing for other failures.
func (f *Fleet) dial(ctx context.Context, address string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTime)
	defer cancel()
	defer context.AfterFunc(f.life, cancel)()
	dialer := net.Dialer{Timeout: connectTime}
	for {
		conn, err := dialer.DialContext(ctx, "tcp", address)
		if !errors.Is(err, syscall.ECONNREFUSED) {
			return conn, err
		}
		again := time.NewTimer(dialPause)
		select {
		case <-again.C:
		case <-ctx.Done():
			again.Stop()
			return nil, err
		}
	}
}

// promptTLS gives up on who takes a connection and says nothing, as a process that is
// paused, after connectTime: everything meant for it waits meanwhile.
type promptTLS struct {
	credentials.TransportCredentials
}

// ClientHandshake implements credentials.TransportCredentials.
func (p promptTLS) ClientHandshake(ctx context.Context, authority string, conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	ctx, cancel := context.WithTimeout(ctx, connectTime)
	defer cancel()
	return p.TransportCredentials.ClientHandshake(ctx, authority, conn)
}

// Clone implements credentials.TransportCredentials.
func (p promptTLS) Clone() credentials.TransportCredentials {
	return promptTLS{p.TransportCredentials.Clone()}
}
