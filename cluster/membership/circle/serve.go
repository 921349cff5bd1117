package circle

import (
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"time"

	"golang.org/x/net/netutil"
)

// maxConns bounds the connections to the discovery port.
const maxConns = 1024

// listen opens the discovery port.
func (c *Circle) listen() error {
	l, err := net.Listen("tcp", net.JoinHostPort(c.cfg.Host, strconv.Itoa(c.cfg.Port)))
	if err != nil {
		return fmt.Errorf("circle: discovery port: %w", err)
	}
	host, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		_ = l.Close()
		return fmt.Errorf("circle: discovery port: %w", err)
	}
	if c.cfg.Advertise != "" {
		host = c.cfg.Advertise
	}
	c.address = net.JoinHostPort(host, port)
	mux := http.NewServeMux()
	mux.HandleFunc("POST "+pathHello, c.serveHello)
	mux.HandleFunc("POST "+pathView, c.serveView)
	mux.HandleFunc("POST "+pathRegistry, c.serveRegistry)
	mux.HandleFunc("POST "+pathStore, c.serveStore)
	c.server = &http.Server{
		Handler:           mux,
		TLSConfig:         c.cfg.ServerTLS,
		TLSNextProto:      map[string]func(*http.Server, *tls.Conn, http.Handler){}, // HTTP/1.1 is enough
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       30 * time.Second,
		WriteTimeout:      60 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    8 << 10,
		ErrorLog:          slog.NewLogLogger(c.log.Handler(), slog.LevelDebug), // strangers' handshakes
	}
	c.serving.Go(func() { _ = c.server.ServeTLS(netutil.LimitListener(l, maxConns), "", "") })
	return nil
}

// read takes a request's body; nil if it was refused.
func read(w http.ResponseWriter, r *http.Request, most int64) []byte {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, most))
	if err != nil {
		http.Error(w, "too long, or cut off", http.StatusBadRequest)
		return nil
	}
	if body == nil {
		body = []byte{}
	}
	return body
}

// serveHello answers with what this broker says, and learns of the asker's address,
// which is asked in turn before anything is believed.
func (c *Circle) serveHello(w http.ResponseWriter, r *http.Request) {
	body := read(w, r, maxHello)
	if body == nil {
		return
	}
	h, err := decodeHello(body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	c.mu.Lock()
	now := c.cfg.Now()
	if h.ID != c.self {
		c.met(h, now)
	}
	answer, err := json.Marshal(c.hello(now))
	c.mu.Unlock()
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	_, _ = w.Write(answer)
	c.look()
}

// met takes another broker's greeting.
func (c *Circle) met(h hello, now time.Time) {
	c.name(h.Address, true, now)
	p := c.peers[h.Address]
	if p == nil {
		return
	}
	if h.Leaving && (p.said.ID == h.ID || p.said.ID == "") {
		p.said.Leaving, p.down = true, true
		c.bury(h.ID, now)
		return
	}
	if p.said.ID != h.ID || p.down {
		p.next = time.Time{} // somebody new is there: ask at once
	}
}

func (c *Circle) serveView(w http.ResponseWriter, _ *http.Request) {
	c.mu.Lock()
	document := c.document
	c.mu.Unlock()
	_, _ = w.Write(document)
}

func (c *Circle) serveStore(w http.ResponseWriter, r *http.Request) {
	from := r.Header.Get(headerFrom)
	body := read(w, r, maxStore)
	if body == nil {
		return
	}
	if c.cfg.Store == nil || !name(from) {
		http.Error(w, "this broker shares no store", http.StatusNotFound)
		return
	}
	answer, err := c.cfg.Store(r.Context(), from, body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusConflict)
		return
	}
	_, _ = w.Write(answer)
}
