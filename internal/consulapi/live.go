package consulapi

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"sync/atomic"
)

// follow has each new connection of the transport secured with the files as they are
// then: authorities and certificates are replaced while brokers run. Files that cannot be
// read, or do not fit each other while they are written, leave those of before in use.
func (t TLS) follow(transport *http.Transport) error {
	first, err := t.Config()
	if err != nil {
		return err
	}
	var newest atomic.Pointer[tls.Config]
	newest.Store(first)
	dial, patience := transport.DialContext, transport.TLSHandshakeTimeout
	transport.DialTLSContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		if now, err := t.Config(); err == nil {
			newest.Store(now)
		}
		verify := newest.Load().Clone()
		if verify.ServerName == "" {
			host, _, err := net.SplitHostPort(address)
			if err != nil {
				return nil, err
			}
			verify.ServerName = host
		}
		conn, err := dial(ctx, network, address)
		if err != nil {
			return nil, err
		}
		ctx, cancel := context.WithTimeout(ctx, patience)
		defer cancel()
		secured := tls.Client(conn, verify)
		if err := secured.HandshakeContext(ctx); err != nil {
			_ = conn.Close()
			return nil, err
		}
		return secured, nil
	}
	return nil
}
