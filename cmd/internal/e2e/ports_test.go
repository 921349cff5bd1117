package e2e

import (
	"math/rand/v2"
	"net"
	"strconv"
	"sync"
	"testing"
)

// Ports come from below the range from which systems take the ports of outgoing
// connections: a broker that is down for a moment must find its own ports free. Several
// runs of tests may go on at once, so each takes blocks of ports and keeps the first port
// of a block busy as long as it lives.
const (
	firstPort = 15000
	lastPort  = 32000
	blockSize = 250
)

// given are the blocks of this run, of which the ports from next to end are left.
var given struct {
	sync.Mutex
	blocks    []net.Listener
	next, end int
}

// freePort is a port of the loopback address where nobody listens, handed out once.
func freePort(t *testing.T) int {
	t.Helper()
	given.Lock()
	defer given.Unlock()
	for {
		if given.next == given.end {
			takeBlock(t)
		}
		port := given.next
		given.next++
		if l, err := listenAt(port); err == nil {
			_ = l.Close()
			return port
		}
	}
}

func takeBlock(t *testing.T) {
	t.Helper()
	for _, n := range rand.Perm((lastPort - firstPort) / blockSize) {
		start := firstPort + n*blockSize
		if l, err := listenAt(start); err == nil {
			given.blocks = append(given.blocks, l)
			given.next, given.end = start+1, start+blockSize
			return
		}
	}
	t.Fatal("all blocks of ports are taken")
}

func listenAt(port int) (net.Listener, error) {
	return net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
}
