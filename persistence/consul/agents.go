package consul

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptrace"
	"sync/atomic"
	"time"

	"github.com/hashicorp/consul/api"

	"opensessionmanager/internal/consulapi"
	"opensessionmanager/persistence"
)

// agents are the ways into one Consul cluster. The one that answered last is asked first.
type agents struct {
	*consulapi.Agents
	timeout time.Duration
}

// maxConns bounds the connections to one agent, whose own bound for all of a
// machine is 200 (http_max_conns_per_client). Further requests wait for a free one.
const maxConns = 64

func connect(cfg Config) (*agents, error) {
	transport := consulapi.NewTransport(cfg.Timeout / 2)
	transport.MaxConnsPerHost, transport.MaxIdleConnsPerHost = maxConns, maxConns
	all, err := consulapi.Connect(consulapi.Access{Addresses: cfg.Addresses, Token: cfg.Token, TLS: cfg.TLS}, transport,
		func(next http.RoundTripper) http.RoundTripper { return judge{next} })
	return &agents{all, cfg.Timeout}, err
}

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
	start := a.First()
	for i := range a.Len() {
		n := start + i
		sent, err := a.ask(ctx, a.Client(n), call)
		if err == nil {
			a.Answered(n)
			return nil
		}
		failure = outcome(sent, err)
		if refused(err) || errors.Is(ctx.Err(), context.Canceled) {
			break // another agent of the same cluster would say the same
		}
		a.Failed(n) // also if it took all of the caller's time, which may be shorter than ours
		if ctx.Err() != nil || errors.Is(failure, persistence.ErrUncertain) {
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
