package consul

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/hashicorp/consul/api"

	"opensessionmanager/internal/consulapi"
)

// maxAnswer bounds what Consul, or whoever answers in its place, may say at once. A
// fleet of 500 brokers, whose services Consul describes with some 2 KB each, fits.
const maxAnswer = 4 << 20

// Times for connecting, below the TTL so that another try is left, and another agent.
const (
	dialTime        = time.Second
	dialTimeOfMany  = dialTime / 2
	idleConnections = 8 // the source has three calls under way at most, and MarkLeft
)

func connect(cfg Config) (*consulapi.Agents, error) {
	dial := dialTime
	if len(cfg.Addresses) > 1 {
		dial = dialTimeOfMany
	}
	transport := consulapi.NewTransport(dial)
	transport.MaxIdleConnsPerHost = idleConnections
	return consulapi.Connect(consulapi.Access{Addresses: cfg.Addresses, Token: cfg.Token, TLS: cfg.TLS}, transport,
		func(next http.RoundTripper) http.RoundTripper { return bounded{next} })
}

// each asks one agent after the other until one answers: what it says, also no, counts
// for all. A call is repeated only if that does no harm, which is true of all of a
// Registry: the document is written by check-and-set.
func (r *registry) each(ctx context.Context, call func(*api.Client) error) error {
	return r.ask(ctx, false, call)
}

// ask is each; patient stays with an agent that is only slow, which the other calls will
// find out if it is more than that.
func (r *registry) ask(ctx context.Context, patient bool, call func(*api.Client) error) error {
	var err error
	start := r.agents.First()
	for i := range r.agents.Len() {
		n := start + i
		if err = call(r.agents.Client(n)); err == nil {
			r.agents.Answered(n)
			return nil
		}
		if code := status(err); code >= 400 && code < 500 && code != http.StatusTooManyRequests {
			return err // another agent would say the same
		}
		if ctx.Err() != nil && patient {
			return err
		}
		r.agents.Failed(n)
		if ctx.Err() != nil {
			break
		}
	}
	return err
}

// bounded ends an answer that is too long with an error.
type bounded struct{ http.RoundTripper }

func (b bounded) RoundTrip(request *http.Request) (*http.Response, error) {
	response, err := b.RoundTripper.RoundTrip(request)
	if err == nil {
		response.Body = http.MaxBytesReader(nil, response.Body, maxAnswer)
	}
	return response, err
}

// options of a call. Reads are consistent: the leader has asked a quorum whether it
// still is, so an answer is not older than the call.
func options(ctx context.Context, after uint64, wait time.Duration) *api.QueryOptions {
	return (&api.QueryOptions{RequireConsistent: true, WaitIndex: after, WaitTime: wait}).WithContext(ctx)
}

// next is the index to wait for; one that fell belongs to another history, in which
// nothing may be waited for.
func next(after uint64, meta *api.QueryMeta) uint64 {
	if meta.LastIndex < after {
		return 0
	}
	return max(meta.LastIndex, 1)
}

// status is the HTTP status that an error reports, 0 for none.
func status(err error) int {
	var answer api.StatusError
	if errors.As(err, &answer) {
		return answer.Code
	}
	return 0
}

// explain makes an error of the library short and tells what helps. Consul's texts
// name the accessor of a token at most, never the token.
func explain(what string, err error) error {
	var answer api.StatusError
	switch {
	case err == nil:
		return nil
	case !errors.As(err, &answer) && len(err.Error()) > 400:
		return fmt.Errorf("consul: %s: %.300q", what, err.Error())
	case !errors.As(err, &answer):
		return fmt.Errorf("consul: %s: %w", what, err)
	case answer.Code == http.StatusForbidden:
		return fmt.Errorf("consul: %s: the token is not allowed to: %.200q", what, strings.TrimSpace(answer.Body))
	}
	return fmt.Errorf("consul: %s: status %d: %.200q", what, answer.Code, strings.TrimSpace(answer.Body))
}
