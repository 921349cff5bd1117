//go:build fleet

package e2e

import (
	"net"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// valve stands before a port and lets connections through, or not: then they are
// refused, or taken and nothing comes through, as of a host that vanished.
type valve struct {
	target   string
	listener net.Listener
	running  sync.WaitGroup

	mu      sync.Mutex
	flowing chan struct{} // closed while what is sent comes through
	closed  bool
	conns   map[net.Conn]bool
}

// startValve listens on an address for as long as the test runs.
func startValve(t *testing.T, address, target string) *valve {
	t.Helper()
	listener, err := net.Listen("tcp", address)
	require.NoError(t, err)
	v := &valve{target: target, listener: listener, flowing: make(chan struct{}), conns: map[net.Conn]bool{}}
	close(v.flowing)
	v.running.Go(v.accept)
	t.Cleanup(func() {
		_ = listener.Close()
		v.shut(false)
		v.open()
		v.running.Wait()
	})
	return v
}

func (v *valve) address() string { return v.listener.Addr().String() }

func (v *valve) accept() {
	for {
		conn, err := v.listener.Accept()
		if err != nil {
			return
		}
		v.running.Go(func() { v.serve(conn) })
	}
}

func (v *valve) serve(conn net.Conn) {
	defer conn.Close()
	<-v.flow()
	behind, err := net.Dial("tcp", v.target)
	if err != nil {
		return
	}
	defer behind.Close()
	if !v.hold(conn, behind) {
		return
	}
	defer v.release(conn, behind)
	v.running.Go(func() { v.pump(conn, behind) })
	v.pump(behind, conn)
}

// pump ends both directions when one of them ends.
func (v *valve) pump(to, from net.Conn) {
	defer to.Close()
	defer from.Close()
	buffer := make([]byte, 32<<10)
	for {
		n, err := from.Read(buffer)
		<-v.flow()
		if n > 0 {
			if _, err := to.Write(buffer[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

func (v *valve) flow() <-chan struct{} {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.flowing
}

func (v *valve) hold(conns ...net.Conn) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, c := range conns {
		v.conns[c] = true
	}
	return !v.closed
}

func (v *valve) release(conns ...net.Conn) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, c := range conns {
		delete(v.conns, c)
	}
}

// shut ends all connections and refuses new ones, or has all of them hang.
func (v *valve) shut(hang bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if hang {
		select {
		case <-v.flowing:
			v.flowing = make(chan struct{})
		default:
		}
		return
	}
	v.closed = true
	for c := range v.conns {
		_ = c.Close()
	}
}

func (v *valve) open() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.closed = false
	select {
	case <-v.flowing:
	default:
		close(v.flowing)
	}
}
