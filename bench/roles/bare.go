package roles

import (
	"crypto/tls"
	"fmt"
	"net"
	"path/filepath"
	"sync/atomic"

	"github.com/valyala/fasthttp"

	"opensessionmanager/bench/child"
	"opensessionmanager/internal/certs"
)

// BareConfig is the folder for the bare server's certificate.
type BareConfig struct{ Folder string }

// bare is the least that can answer over TLS: fasthttp and bytes that are there
// already, no authorization, no routes, no limits.
type bare struct {
	body   atomic.Pointer[[]byte]
	server fasthttp.Server
	served chan error
}

func (b *bare) commands() child.Commands {
	return child.Commands{
		cmdStart: child.Command(b.start),
		"answer": child.Command(func(body []byte) (any, error) { b.body.Store(&body); return nil, nil }),
	}
}

func (b *bare) start(c BareConfig) (any, error) {
	ca, err := certs.Ensure(certs.Config{Dir: c.Folder})
	if err != nil {
		return nil, err
	}
	certificate, err := ca.ServerCertificate(nil)
	if err != nil {
		return nil, err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("roles: %w", err)
	}
	b.body.Store(&[]byte{})
	b.server.NoDefaultServerHeader = true
	b.server.Handler = func(rc *fasthttp.RequestCtx) {
		// The broker's answers have these two headers.
		rc.Response.Header.SetContentType("application/json")
		rc.Response.Header.Set("X-Request-Id", "7b0ad4e6-3d5c-4e9d-8a13-4e5a8b1f2c3d")
		rc.Response.SetBodyRaw(*b.body.Load())
	}
	b.served = make(chan error, 1)
	config := &tls.Config{Certificates: []tls.Certificate{*certificate}, MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"}}
	go func() { b.served <- b.server.Serve(tls.NewListener(listener, config)) }()
	return BrokerAddresses{Client: listener.Addr().String(), CAFile: filepath.Join(c.Folder, certs.CAFile)}, nil
}

func (b *bare) stop() error {
	if b.served == nil {
		return nil
	}
	return firstError(b.server.Shutdown(), <-b.served)
}
