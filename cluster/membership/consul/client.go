package consul

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/hashicorp/consul/api"
)

// maxAnswer bounds what Consul, or whoever answers in its place, may say at once. A
// fleet of 500 brokers, whose services Consul describes with some 2 KB each, fits.
const maxAnswer = 4 << 20

// dialTime bounds connecting, below the TTL so that another try is left.
const dialTime = time.Second

func connect(cfg Config) (*api.Client, *http.Transport, error) {
	verify, err := api.SetupTLSConfig(&api.TLSConfig{
		Address:  cfg.TLS.ServerName,
		CAFile:   cfg.TLS.CAFile,
		CertFile: cfg.TLS.CertFile,
		KeyFile:  cfg.TLS.KeyFile,
	})
	if err != nil {
		return nil, nil, err
	}
	where, err := parseAddress(cmp.Or(cfg.Address, DefaultAddress), cfg.TLS != TLS{})
	if err != nil {
		return nil, nil, err
	}
	dialer := &net.Dialer{Timeout: dialTime, KeepAlive: 15 * time.Second}
	transport := &http.Transport{
		DialContext:         dialer.DialContext, // no proxy: Consul is in the broker's own network
		TLSClientConfig:     verify,
		TLSHandshakeTimeout: dialTime,
		MaxIdleConnsPerHost: 8, // the source has three calls under way at most, and MarkLeft
		IdleConnTimeout:     time.Minute,
	}
	// The token is in the client and so in every call, those that wait included.
	client, err := api.NewClient(&api.Config{
		Address:    where.Host,
		Scheme:     where.Scheme,
		Token:      cfg.Token,
		HttpClient: &http.Client{Transport: bounded{transport}, CheckRedirect: noRedirect},
	})
	return client, transport, err
}

// noRedirect: Consul redirects no call of ours, and the token goes nowhere else.
func noRedirect(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

// parseAddress does not repeat the address in its errors: one that it cannot read
// might carry a password.
func parseAddress(address string, secure bool) (*url.URL, error) {
	if !strings.Contains(address, "://") {
		scheme := "http://"
		if secure {
			scheme = "https://"
		}
		address = scheme + address
	}
	where, err := url.Parse(address)
	if err != nil || where.Host == "" || where.User != nil || strings.Trim(where.Path, "/") != "" ||
		where.RawQuery != "" || where.Fragment != "" || where.Scheme != "http" && where.Scheme != "https" {
		return nil, errors.New("the address is not host:port, http://host:port or https://host:port")
	}
	if where.Port() == "" {
		where.Host = net.JoinHostPort(where.Hostname(), map[string]string{"http": "8500", "https": "8501"}[where.Scheme])
	}
	return where, nil
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
