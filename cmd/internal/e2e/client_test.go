package e2e

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"opensessionmanager/http/rest/apitest"
)

// client is a user of the API. Its methods may be called by many goroutines.
type client struct {
	t        *testing.T
	http     *http.Client
	url      string
	id       string
	password string
	token    string
}

// answer is one answer of the API, already held to the API's description.
type answer struct {
	status int
	header http.Header
	body   []byte
}

var description = sync.OnceValues(apitest.New)

// caPool is nil as long as the broker has made no CA.
func (b *broker) caPool() *x509.CertPool {
	pem, err := os.ReadFile(b.caFile())
	pool := x509.NewCertPool()
	if err != nil || !pool.AppendCertsFromPEM(pem) {
		return nil
	}
	return pool
}

func (b *broker) trust() *tls.Config {
	return &tls.Config{RootCAs: b.caPool(), MinVersion: tls.VersionTLS12}
}

// stranger is a client without a token.
func (b *broker) stranger() *client {
	transport := &http.Transport{TLSClientConfig: b.trust(), MaxIdleConnsPerHost: 8}
	b.t.Cleanup(transport.CloseIdleConnections)
	return &client{t: b.t, url: b.url(), http: &http.Client{Transport: transport, Timeout: time.Minute}}
}

// newToken gets an access token as the vendor's clients do.
func (c *client) newToken() string {
	c.t.Helper()
	const path = "/oauth2/token"
	request, err := http.NewRequestWithContext(c.t.Context(), http.MethodPost, c.url+path+"?grant_type=client_credentials", nil)
	require.NoError(c.t, err)
	request.SetBasicAuth(c.id, c.password)
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	a, err := c.exchange(request, path)
	require.NoError(c.t, err)
	require.Equal(c.t, http.StatusOK, a.status, "%s", a.body)
	var token struct {
		AccessToken string `json:"access_token"`
	}
	require.NoError(c.t, json.Unmarshal(a.body, &token))
	return token.AccessToken
}

// try sends a request; body is JSON text or something to be made JSON, nil for none. An
// error means that there is no answer.
func (c *client) try(method, path string, body any) (answer, error) {
	return c.send(c.t.Context(), method, path, body)
}

func (c *client) send(ctx context.Context, method, path string, body any) (answer, error) {
	return c.sendKeyed(ctx, method, path, "", body)
}

// sendKeyed sends with an Idempotency-Key, unless that is empty.
func (c *client) sendKeyed(ctx context.Context, method, path, key string, body any) (answer, error) {
	var reader io.Reader
	switch b := body.(type) {
	case nil:
	case string:
		reader = strings.NewReader(b)
	default:
		text, err := json.Marshal(b)
		if err != nil {
			return answer{}, err
		}
		reader = bytes.NewReader(text)
	}
	request, err := http.NewRequestWithContext(ctx, method, c.url+path, reader)
	if err != nil {
		return answer{}, err
	}
	if reader != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	if c.token != "" {
		request.Header.Set("Authorization", "Bearer "+c.token)
	}
	if key != "" {
		request.Header.Set("Idempotency-Key", key)
	}
	return c.exchange(request, path)
}

// exchange holds whatever comes back to the description: an answer that does not match
// fails the test even where the story goes on.
func (c *client) exchange(request *http.Request, path string) (answer, error) {
	response, err := c.http.Do(request)
	if err != nil {
		return answer{}, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return answer{}, err
	}
	checker, err := description()
	if err != nil {
		return answer{}, err
	}
	path, _, _ = strings.Cut(path, "?")
	if err := checker.Check(request.Method, path, response.StatusCode, response.Header, body); err != nil {
		c.t.Error(err)
	}
	return answer{response.StatusCode, response.Header, body}, nil
}

// call sends a request that must be answered with 200 and decodes the answer.
func call[Out any](c *client, method, path string, body any) Out {
	c.t.Helper()
	a, err := c.try(method, path, body)
	require.NoError(c.t, err)
	require.Equal(c.t, http.StatusOK, a.status, "%s %s: %s", method, path, a.body)
	var out Out
	require.NoError(c.t, json.Unmarshal(a.body, &out), "%s", a.body)
	return out
}

// refused sends a request that must be refused as a whole, and returns why.
func (c *client) refused(method, path string, body any, status int) string {
	c.t.Helper()
	a, err := c.try(method, path, body)
	require.NoError(c.t, err)
	require.Equal(c.t, status, a.status, "%s %s: %s", method, path, a.body)
	var out struct{ Error string }
	require.NoError(c.t, json.Unmarshal(a.body, &out))
	require.True(c.t, bytes.HasPrefix(a.body, []byte(`{"error": "`)), "%s", a.body)
	return out.Error
}

var errAbsent = errors.New("it is absent")

// session returns one session or an error that it does not exist.
func (c *client) session(id string) (session, error) {
	a, err := c.try(http.MethodPost, "/describeSessions", object{"SessionIds": list{id}})
	if err != nil {
		return session{}, err
	}
	var out describedSessions
	if err := json.Unmarshal(a.body, &out); err != nil || a.status != http.StatusOK {
		return session{}, fmt.Errorf("describe session: status %d: %s", a.status, a.body)
	}
	if len(out.Sessions) != 1 {
		return session{}, fmt.Errorf("session %s: %w", id, errAbsent)
	}
	return out.Sessions[0], nil
}

// awaitState waits until a session is in a state.
func (c *client) awaitState(id, state string) session {
	c.t.Helper()
	var seen session
	await(c.t, "session "+id+" in state "+state, func() (err error) {
		if seen, err = c.session(id); err == nil && seen.State != state {
			err = fmt.Errorf("it is %+v", seen)
		}
		return err
	})
	return seen
}

// sessions returns all of them, page by page, by id. The same id twice is an error.
func (c *client) sessions() (map[string]session, error) {
	all := map[string]session{}
	for token := ""; ; {
		a, err := c.try(http.MethodPost, "/describeSessions", object{"MaxResults": 50, "NextToken": token})
		if err != nil {
			return nil, err
		}
		var page describedSessions
		if err := json.Unmarshal(a.body, &page); err != nil || a.status != http.StatusOK {
			return nil, fmt.Errorf("describe sessions: status %d: %s", a.status, a.body)
		}
		for _, s := range page.Sessions {
			if _, twice := all[s.ID]; twice {
				c.t.Errorf("session %s is listed twice", s.ID)
			}
			all[s.ID] = s
		}
		if token = page.NextToken; token == "" {
			return all, nil
		}
	}
}

// servers returns all servers by the value of their tag "host".
func (c *client) servers() (map[string]server, error) {
	a, err := c.try(http.MethodPost, "/describeServers", nil)
	if err != nil {
		return nil, err
	}
	var out describedServers
	if err := json.Unmarshal(a.body, &out); err != nil || a.status != http.StatusOK {
		return nil, fmt.Errorf("describe servers: status %d: %s", a.status, a.body)
	}
	all := map[string]server{}
	for _, s := range out.Servers {
		if _, twice := all[s.tag("host")]; twice {
			return nil, fmt.Errorf("host %s is listed twice", s.tag("host"))
		}
		all[s.tag("host")] = s
	}
	return all, nil
}

// awaitServer waits until a server shows an availability and reason ("" = none).
func (c *client) awaitServer(host, availability, reason string) server {
	c.t.Helper()
	var seen server
	await(c.t, "server "+host+" "+availability+" "+reason, func() error {
		all, err := c.servers()
		if err != nil {
			return err
		}
		var ok bool
		if seen, ok = all[host]; !ok {
			return fmt.Errorf("it is not among %d servers", len(all))
		}
		if seen.Availability != availability || seen.UnavailabilityReason != reason {
			return fmt.Errorf("it is %s %s", seen.Availability, seen.UnavailabilityReason)
		}
		return nil
	})
	return seen
}
