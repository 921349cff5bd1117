package devhost

import (
	"crypto/rand"
	"crypto/tls"
	_ "embed"
	"log"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"
)

//go:embed page.html
var page string

// serveWeb starts the client port.
func (h *Host) serveWeb(listener net.Listener, config *tls.Config) {
	base := strings.TrimSuffix(h.cfg.WebURLPath, "/")
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+base+"/{$}", h.servePage)
	mux.HandleFunc("GET "+base+"/connect", h.serveConnect)
	if base != "" {
		mux.HandleFunc("GET "+base, h.servePage)
	}
	h.web = &http.Server{
		Handler: h.whileUp(mux), TLSConfig: config, ReadHeaderTimeout: 10 * time.Second, ReadTimeout: 30 * time.Second,
		WriteTimeout: 30 * time.Second, IdleTimeout: time.Minute, MaxHeaderBytes: 32 << 10,
		// What clients do wrong in TLS is of no interest, and URLs hold tokens.
		ErrorLog: log.New(discard{}, "", 0),
		// WebSocket needs HTTP/1.1.
		TLSNextProto: map[string]func(*http.Server, *tls.Conn, http.Handler){},
	}
	bounded := &boundedListener{Listener: listener, slots: make(chan struct{}, maxSockets)}
	h.tasks.Go(func() {
		if err := h.web.ServeTLS(bounded, "", ""); err != nil && err != http.ErrServerClosed {
			h.log.Error("client port failed", "error", err)
		}
	})
}

type discard struct{}

func (discard) Write(p []byte) (int, error) { return len(p), nil }

// whileUp cuts connections without an answer while the server is stopped.
func (h *Host) whileUp(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.mu.Lock()
		running := h.up != nil && h.up.Err() == nil
		h.mu.Unlock()
		if !running {
			panic(http.ErrAbortHandler)
		}
		next.ServeHTTP(w, r)
	})
}

// servePage sends the client for browsers. It is the same for everybody: the token
// and the session ID stay in the browser's address until the page uses them.
func (h *Host) servePage(w http.ResponseWriter, _ *http.Request) {
	nonce := rand.Text()
	header := w.Header()
	header.Set("Content-Type", "text/html; charset=utf-8")
	header.Set("Cache-Control", "no-store")
	header.Set("Referrer-Policy", "no-referrer")
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("Content-Security-Policy", "default-src 'none'; img-src blob: data:; connect-src 'self'; base-uri 'none'; "+
		"form-action 'none'; frame-ancestors 'none'; style-src 'nonce-"+nonce+"'; script-src 'nonce-"+nonce+"'")
	if _, err := w.Write([]byte(strings.ReplaceAll(page, "NONCE", nonce))); err != nil {
		h.log.Debug("page not sent", "error", err)
	}
}

// boundedListener lets only so many connections be open.
type boundedListener struct {
	net.Listener
	slots chan struct{}
}

// Accept closes what is too much at once.
func (l *boundedListener) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		select {
		case l.slots <- struct{}{}:
			return &boundedConn{Conn: conn, release: sync.OnceFunc(func() { <-l.slots })}, nil
		default:
			_ = conn.Close()
		}
	}
}

type boundedConn struct {
	net.Conn
	release func()
}

func (c *boundedConn) Close() error {
	c.release()
	return c.Conn.Close()
}
