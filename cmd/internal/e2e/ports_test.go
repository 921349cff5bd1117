package e2e

import (
	"math/rand/v2"
	"net"
	"strconv"
	"sync"
	"testing"
)

// Ports come from below the range from which systems take the ports of outgoing
// connections: a broker that is down for a moment must find its own ports free.
const (
	firstPort = 15000
	lastPort  = 32000
)

// given holds the ports that this run has handed out.
var given = struct {
	sync.Mutex
	ports map[int]bool
}{ports: map[int]bool{}}

// freePort is a port of the loopback address where nobody listens.
func freePort(t *testing.T) int {
	t.Helper()
	given.Lock()
	defer given.Unlock()
	for range 1000 {
		port := firstPort + rand.IntN(lastPort-firstPort)
		if given.ports[port] {
			continue
		}
		l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		if err != nil {
			continue
		}
		_ = l.Close()
		given.ports[port] = true
		return port
	}
	t.Fatal("no free port found")
	return 0
}
