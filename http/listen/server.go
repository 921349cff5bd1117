package listen

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync/atomic"
	"time"

	"github.com/valyala/fasthttp"
)

// Server serves one port. Its methods may be called concurrently.
type Server struct {
	cfg    Config
	http   *fasthttp.Server
	guard  *guard
	bodies *bodies
	begun  atomic.Bool
	last   atomic.Bool   // each answer is the last one of its connection
	served chan struct{} // closed when the accept loop has ended
}

// New binds the port, so that Addr is known and nothing is lost between New and
// Start: the kernel queues connections meanwhile.
func New(cfg Config) (*Server, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	cfg.Logger = cfg.Logger.With(slog.String("port", cfg.Name))
	inner, err := net.Listen("tcp", cfg.Addr)
	if err != nil {
		return nil, fmt.Errorf("listen: %s port: %w", cfg.Name, err)
	}
	s := &Server{cfg: cfg, guard: newGuard(inner, cfg), bodies: newBodies(cfg), served: make(chan struct{})}
	s.http = &fasthttp.Server{
		Handler:            s.bodies.reading(recovering(s.parting(cfg.Handler), cfg.Logger)),
		ErrorHandler:       unreadable,
		StreamRequestBody:  true, // bodies reads them
		Logger:             quiet{cfg.Logger},
		ReadBufferSize:     cfg.HeaderBytes,
		MaxRequestBodySize: cfg.MaxBodyBytes,
		ReadTimeout:        cfg.HeaderTimeout,
		WriteTimeout:       cfg.WriteTimeout,
		IdleTimeout:        cfg.IdleTimeout,
		Concurrency:        cfg.MaxConns + 1, // the guard is the limit: this one would answer in plain text
		HeaderReceived: func(h *fasthttp.RequestHeader) fasthttp.RequestConfig {
			s.bodies.look(h)
			return fasthttp.RequestConfig{ReadTimeout: cfg.ReadTimeout}
		},
		CloseOnShutdown:              true,
		DisablePreParseMultipartForm: true, // it would write temporary files
		KeepHijackedConns:            true, // frees the request's memory while a WebSocket lives
		NoDefaultServerHeader:        true,
		SecureErrorLogMessage:        true,
	}
	return s, nil
}

// Start serves until Shutdown. It does not block. Call it once.
func (s *Server) Start() {
	var listener net.Listener = s.guard
	if s.cfg.TLS != nil {
		listener = secureListener{listener, s.cfg.TLS}
	}
	s.begun.Store(true)
	go func() {
		defer close(s.served)
		if err := s.http.Serve(listener); err != nil && !errors.Is(err, net.ErrClosed) {
			s.cfg.Logger.Error("port stopped", slog.Any("error", err))
		}
	}()
}

// Addr is where the port listens.
func (s *Server) Addr() net.Addr { return s.guard.Addr() }

// Stats counts since the start.
func (s *Server) Stats() Stats {
	stats := s.guard.stats()
	stats.BodyBytes = s.bodies.held.Load()
	return stats
}

// parting says with each answer of a server that ends that the connection does, too.
func (s *Server) parting(next fasthttp.RequestHandler) fasthttp.RequestHandler {
	return func(rc *fasthttp.RequestCtx) {
		next(rc)
		if s.last.Load() && !rc.Hijacked() {
			rc.SetConnectionClose()
		}
	}
}

// drainLook is how often drain looks whether all connections are gone.
const drainLook = 10 * time.Millisecond

// drain lets clients end their connections with the next answer on each.
func (s *Server) drain(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.DrainTime)
	defer cancel()
	look := time.NewTicker(drainLook)
	defer look.Stop()
	for s.guard.stats().Open > 0 {
		select {
		case <-look.C:
		case <-ctx.Done():
			return
		}
	}
}

// Shutdown stops accepting, answers for DrainTime on the connections that are there,
// lets requests that run finish until ctx ends, then closes every connection of the port that is left, hijacked ones included. The
// error is ctx's if requests were cut off.
func (s *Server) Shutdown(ctx context.Context) error {
	s.last.Store(true)
	_ = s.guard.Close() // ends Serve even if it has only just begun
	if !s.begun.Load() {
		return nil
	}
	<-s.served
	if s.cfg.DrainTime > 0 {
		s.drain(ctx)
	}
	err := s.http.ShutdownWithContext(ctx)
	s.guard.closeConns()
	if err != nil && !errors.Is(err, net.ErrClosed) {
		return fmt.Errorf("listen: drain %s port: %w", s.cfg.Name, err)
	}
	return nil
}

// quiet takes the HTTP library's messages: all of them tell of single
// connections that a stranger can break at will.
type quiet struct{ logger *slog.Logger }

func (q quiet) Printf(format string, args ...any) {
	if q.logger.Enabled(context.Background(), slog.LevelDebug) {
		q.logger.Debug("connection failed", slog.String("detail", fmt.Sprintf(format, args...)))
	}
}
