package fleet

import (
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/connectivity"
)

// links are the connections to other brokers. The library forgets to close them when a
// broker stops while the others go on, as one does that joins again in its process.
type links struct {
	mu   sync.Mutex
	open map[*grpc.ClientConn]bool
	over bool
}

// add remembers a connection. After closeAll it is closed at once.
func (l *links) add(conn *grpc.ClientConn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.over {
		_ = conn.Close()
		return
	}
	if l.open == nil {
		l.open = map[*grpc.ClientConn]bool{}
	}
	for old := range l.open {
		if old.GetState() == connectivity.Shutdown {
			delete(l.open, old)
		}
	}
	l.open[conn] = true
}

func (l *links) closeAll() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.over = true
	for conn := range l.open {
		_ = conn.Close() // that it is closed already is all it can say
	}
	l.open = nil
}
