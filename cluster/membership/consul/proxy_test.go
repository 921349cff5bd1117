//go:build fleet

package consul_test

import (
	"io"
	"net"
	"sync"
)

// connections are those that a proxy has open.
type connections struct {
	mu   sync.Mutex
	open map[net.Conn]struct{}
	copy sync.WaitGroup
}

// join copies between two connections until one of them ends.
func (c *connections) join(from, to net.Conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.open == nil {
		c.open = map[net.Conn]struct{}{}
	}
	c.open[from], c.open[to] = struct{}{}, struct{}{}
	for _, pair := range [][2]net.Conn{{from, to}, {to, from}} {
		c.copy.Go(func() {
			_, _ = io.Copy(pair[0], pair[1])
			_, _ = pair[0].Close(), pair[1].Close()
			c.mu.Lock()
			defer c.mu.Unlock()
			delete(c.open, pair[0])
			delete(c.open, pair[1])
		})
	}
}

func (c *connections) closeAll() {
	c.mu.Lock()
	for conn := range c.open {
		_ = conn.Close()
	}
	c.mu.Unlock()
	c.copy.Wait()
}
