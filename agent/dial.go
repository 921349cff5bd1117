package agent

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"

	"github.com/fasthttp/websocket"

	"opensessionmanager/agent/enroll"
	"opensessionmanager/internal/agentproto"
)

// Transport opens connections. One serves any number of agents, who then share
// TLS sessions and write buffers.
type Transport struct{ dialer websocket.Dialer }

// NewTransport returns a transport for wss. The TLS configuration is cloned, nil
// means the system's authorities; dial may be nil for the ordinary way.
func NewTransport(config *tls.Config, dial func(ctx context.Context, network, address string) (net.Conn, error)) *Transport {
	if config = config.Clone(); config == nil {
		config = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	if config.ClientSessionCache == nil {
		config.ClientSessionCache = tls.NewLRUClientSessionCache(16)
	}
	return &Transport{dialer: websocket.Dialer{
		NetDialContext:  dial,
		TLSClientConfig: config,
		ReadBufferSize:  2 << 10,
		// A message longer than this is sent in several WebSocket fragments.
		WriteBufferSize: 32 << 10,
		WriteBufferPool: &sync.Pool{},
	}}
}

// dial opens a socket to the broker whose turn it is.
func (a *Agent) dial(ctx context.Context) (*link, error) {
	ctx, cancel := context.WithTimeout(ctx, a.cfg.Timing.Dial)
	defer cancel()
	token, err := a.token(ctx)
	if err != nil {
		return nil, err
	}
	header := http.Header{}
	if token != "" {
		header.Set("Authorization", "Bearer "+token)
	}
	broker := a.cfg.Brokers[a.broker]
	conn, response, err := a.cfg.Transport.dialer.DialContext(ctx, "wss://"+broker+agentproto.PathSocket, header)
	if err != nil {
		return nil, a.dialError(token, response, err)
	}
	a.denied = 0
	return newLink(a, conn, broker), nil
}

func (a *Agent) token(ctx context.Context) (string, error) {
	if a.cfg.Tokens == nil {
		return "", nil
	}
	token, err := a.cfg.Tokens.Token(ctx)
	if errors.Is(err, enroll.ErrRefused) {
		return "", refusal{err}
	}
	return token, err
}

// dialError turns the answer to an upgrade request into an error worth reading.
func (a *Agent) dialError(token string, response *http.Response, err error) error {
	if response == nil {
		return fmt.Errorf("agent: dial: %w", err)
	}
	const longest = 200
	body, _ := io.ReadAll(io.LimitReader(response.Body, longest))
	err = fmt.Errorf("agent: the broker answered the WebSocket request with status %d %q", response.StatusCode, body)
	switch {
	case response.StatusCode == http.StatusUnauthorized && a.cfg.Tokens != nil:
		a.cfg.Tokens.Reject(token)
		if a.denied++; a.denied == 1 { // an old token perhaps: try a new one soon
			return err
		}
	case response.StatusCode == http.StatusTooManyRequests, response.StatusCode >= http.StatusInternalServerError:
		return err // busy or starting: the jittered delay is the answer
	}
	return refusal{err}
}
