package consul

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"github.com/hashicorp/consul/api"

	"opensessionmanager/persistence"
)

// agents are the ways into one Consul cluster. The one that answered last is asked first.
type agents struct {
	clients   []*api.Client
	transport *http.Transport
	timeout   time.Duration
	first     atomic.Int64
}

// maxConns bounds the connections to one agent, whose own bound for all of a
// machine is 200 (http_max_conns_per_client). Further requests wait for a free one.
const maxConns = 64

func connect(cfg Config) (*agents, error) {
	verify, err := api.SetupTLSConfig(&api.TLSConfig{
		Address:  cfg.TLS.ServerName,
		CAFile:   cfg.TLS.CAFile,
		CertFile: cfg.TLS.CertFile,
		KeyFile:  cfg.TLS.KeyFile,
	})
	if err != nil {
		return nil, err
	}
	a := &agents{transport: newTransport(verify, cfg.Timeout), timeout: cfg.Timeout}
	scheme := "http"
	if cfg.TLS != (TLS{}) {
		scheme = "https"
	}
	for _, address := range cfg.Addresses {
		where, err := parseAddress(address, scheme)
		if err != nil {
			return nil, err
		}
		client, err := api.NewClient(&api.Config{
			Address:    where.Host,
			Scheme:     where.Scheme,
			Token:      cfg.Token,
			HttpClient: &http.Client{Transport: judge{a.transport}},
		})
		if err != nil {
			return nil, err
		}
		a.clients = append(a.clients, client)
	}
	return a, nil
}

func newTransport(verify *tls.Config, timeout time.Duration) *http.Transport {
	dialer := &net.Dialer{Timeout: timeout / 2, KeepAlive: 15 * time.Second}
	return &http.Transport{
		DialContext:         dialer.DialContext, // no proxy: Consul is in the broker's own network
		TLSClientConfig:     verify,
		TLSHandshakeTimeout: timeout / 2,
		MaxConnsPerHost:     maxConns,
		MaxIdleConnsPerHost: maxConns,
		IdleConnTimeout:     time.Minute,
	}
}

// parseAddress does not repeat the address in its errors: one that it cannot read
// might carry a password.
func parseAddress(address, scheme string) (*url.URL, error) {
	if !strings.Contains(address, "://") {
		address = scheme + "://" + address
	}
	where, err := url.Parse(address)
	if err != nil || where.Host == "" || where.User != nil || strings.Trim(where.Path, "/") != "" ||
		where.RawQuery != "" || where.Fragment != "" {
		return nil, errors.New("an address is not host:port, http://host:port or https://host:port")
	}
	if where.Scheme != "http" && where.Scheme != "https" {
		return nil, fmt.Errorf("an address has the scheme %q, which is neither http nor https", where.Scheme)
	}
	if where.Port() == "" {
		where.Host = net.JoinHostPort(where.Hostname(), map[string]string{"http": "8500", "https": "8501"}[where.Scheme])
	}
	return where, nil
}

func (a *agents) close() { a.transport.CloseIdleConnections() }

// request is one call of an agent with the options it must pass on.
type request func(*api.Client, *api.QueryOptions) error

// read asks one agent after the other until one answers. Each has the timeout, all
// together the context. Whatever fails is ErrUnavailable.
func (a *agents) read(ctx context.Context, call request) error {
	return a.each(ctx, call, func(_ bool, err error) error {
		return fmt.Errorf("%w: %w", persistence.ErrUnavailable, err)
	})
}

// write is read for a request that changes something: the next agent is asked only
// if the one before surely did nothing, else the outcome is ErrUncertain.
func (a *agents) write(ctx context.Context, call request) error {
	return a.each(ctx, call, func(sent bool, err error) error {
		if sent && !harmless(err) {
			return fmt.Errorf("%w: %w", persistence.ErrUncertain, err)
		}
		return fmt.Errorf("%w: %w", persistence.ErrUnavailable, err)
	})
}

func (a *agents) each(ctx context.Context, call request, outcome func(sent bool, err error) error) error {
	var failure error
	start := a.first.Load()
	for i := range int64(len(a.clients)) {
		n := (start + i) % int64(len(a.clients))
		sent, err := a.ask(ctx, a.clients[n], call)
		if err == nil {
			a.first.Store(n)
			return nil
		}
		failure = outcome(sent, err)
		if refused(err) || ctx.Err() != nil {
			break // another agent of the same cluster would say the same
		}
		// The next call does not begin with an agent that is, perhaps, dead.
		a.first.Store((n + 1) % int64(len(a.clients)))
		if errors.Is(failure, persistence.ErrUncertain) {
			break
		}
	}
	return failure
}

// ask does one request. If sent is false no byte of it left this machine: it got no
// connection. The transport does not send a request with a body, which all writes
// have, a second time once it wrote any of it, so there is no retry that could
// report the success of the first try as a conflict.
func (a *agents) ask(ctx context.Context, client *api.Client, call request) (sent bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, a.timeout)
	defer cancel()
	var connected atomic.Bool
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GotConn: func(httptrace.GotConnInfo) { connected.Store(true) },
	})
	options := &api.QueryOptions{RequireConsistent: true}
	err = call(client, options.WithContext(ctx))
	return connected.Load(), err
}
