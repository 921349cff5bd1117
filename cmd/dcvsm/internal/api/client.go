// Package api calls the broker's client API (contract section 1) and its token
// endpoint (contract section 2).
//
// Answers come from outside: bodies are bounded, unknown members are ignored,
// redirects are not followed because they would carry the credentials elsewhere.
package api

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"
)

// Bounds of what is read, in bytes: an answer with many screenshots is the largest.
const (
	maxAnswer = 256 << 20
	maxToken  = 1 << 20
	maxError  = 64 << 10
)

// Timeout bounds one call from dialling to the last byte.
const Timeout = 120 * time.Second

// ServiceError is an answer of the broker or of the authorization server that is no success.
type ServiceError struct {
	Status int    // HTTP status
	Text   string // the "error" member of the body, or the body's beginning
	Code   string // header X-Error-Code; "" if there is none
}

// Error has the text first, because scripts look for it.
func (e *ServiceError) Error() string {
	text := e.Text
	if text == "" {
		text = http.StatusText(e.Status)
	}
	if e.Code != "" {
		return fmt.Sprintf("%s (HTTP %d, %s)", text, e.Status, e.Code)
	}
	return fmt.Sprintf("%s (HTTP %d)", text, e.Status)
}

// ErrAnswer: the answer is not what the API defines.
var ErrAnswer = errors.New("unreadable answer")

// Client calls one broker. Fields are set once, before the first call.
type Client struct {
	BrokerURL *url.URL
	HTTP      *http.Client
	// Token is the bearer token; if it is nil one is fetched from Credentials.
	Token       *string
	Credentials Credentials
	// Trace gets a line per request and answer; never credentials. Nil: none.
	Trace func(format string, args ...any)
}

// NewHTTP makes the HTTP client. roots nil means the system's.
func NewHTTP(tlsConfig *tls.Config) *http.Client {
	return &http.Client{
		Timeout: Timeout,
		Transport: &http.Transport{
			Proxy:                 http.ProxyFromEnvironment,
			DialContext:           (&net.Dialer{Timeout: 15 * time.Second}).DialContext,
			TLSClientConfig:       tlsConfig,
			TLSHandshakeTimeout:   15 * time.Second,
			ForceAttemptHTTP2:     true,
			MaxIdleConnsPerHost:   1,
			ResponseHeaderTimeout: Timeout,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// DescribeSessions lists sessions.
func (c *Client) DescribeSessions(ctx context.Context, in DescribeSessionsRequest) (*SessionsPage, error) {
	return call[SessionsPage](ctx, c, http.MethodPost, "describeSessions", in)
}

// DescribeServers lists servers.
func (c *Client) DescribeServers(ctx context.Context, in DescribeServersRequest) (*ServersPage, error) {
	return call[ServersPage](ctx, c, http.MethodPost, "describeServers", in)
}

// CreateSession asks for one session.
func (c *Client) CreateSession(ctx context.Context, in CreateSessionRequest) (*CreateAnswer, error) {
	return call[CreateAnswer](ctx, c, http.MethodPost, "createSessions", []CreateSessionRequest{in})
}

// DeleteSession asks for one session's end.
func (c *Client) DeleteSession(ctx context.Context, in DeleteSessionRequest) (*DeleteAnswer, error) {
	return call[DeleteAnswer](ctx, c, http.MethodPost, "deleteSessions", []DeleteSessionRequest{in})
}

// UpdatePermissions replaces the permissions of one session.
func (c *Client) UpdatePermissions(ctx context.Context, in UpdatePermissionsRequest) (*PermissionsAnswer, error) {
	return call[PermissionsAnswer](ctx, c, http.MethodPut, "sessionPermissions", []UpdatePermissionsRequest{in})
}

// ConnectionData asks for what user needs to connect to the session.
func (c *Client) ConnectionData(ctx context.Context, sessionID, user string) (*ConnectionData, error) {
	path := "sessionConnectionData/" + url.PathEscape(sessionID) + "/" + url.PathEscape(user)
	return call[ConnectionData](ctx, c, http.MethodGet, path, nil)
}

// Screenshots asks for pictures of sessions.
func (c *Client) Screenshots(ctx context.Context, in []ScreenshotRequest) (*ScreenshotsAnswer, error) {
	return call[ScreenshotsAnswer](ctx, c, http.MethodPost, "getSessionScreenshots", in)
}

// OpenServers lets servers take sessions.
func (c *Client) OpenServers(ctx context.Context, in []OpenServerRequest) (*OpenServersAnswer, error) {
	return call[OpenServersAnswer](ctx, c, http.MethodPost, "openServers", in)
}

// CloseServers keeps new sessions away from servers.
func (c *Client) CloseServers(ctx context.Context, in []CloseServerRequest) (*CloseServersAnswer, error) {
	return call[CloseServersAnswer](ctx, c, http.MethodPost, "closeServers", in)
}

func call[Out any](ctx context.Context, c *Client, method, path string, in any) (*Out, error) {
	token, err := c.token(ctx)
	if err != nil {
		return nil, err
	}
	request, err := c.request(ctx, method, path, in)
	if err != nil {
		return nil, err
	}
	request.Header.Set("Authorization", "Bearer "+token)
	body, err := c.do(request, maxAnswer)
	if err != nil {
		return nil, err
	}
	out := new(Out)
	if err := json.Unmarshal(body, out); err != nil {
		return nil, fmt.Errorf("%w from %s: %w", ErrAnswer, path, err)
	}
	return out, nil
}

func (c *Client) request(ctx context.Context, method, path string, in any) (*http.Request, error) {
	var body io.Reader
	if in != nil {
		data, err := json.Marshal(in)
		if err != nil {
			return nil, err
		}
		body = bytes.NewReader(data)
	}
	target, err := url.Parse(c.BrokerURL.String() + "/" + path)
	if err != nil {
		return nil, err
	}
	if method != http.MethodGet {
		target.RawQuery = "explain=true" // reasons of failed items
	}
	request, err := http.NewRequestWithContext(ctx, method, target.String(), body)
	if err != nil {
		return nil, err
	}
	if in != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	request.Header.Set("Accept", "application/json")
	return request, nil
}

// do sends a request and returns the body of a 200.
func (c *Client) do(request *http.Request, most int64) ([]byte, error) {
	c.trace("%s %s", request.Method, request.URL.Redacted())
	start := time.Now()
	response, err := c.HTTP.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	c.trace("answered %s after %s", response.Status, time.Since(start).Round(time.Millisecond))
	if response.StatusCode != http.StatusOK {
		return nil, serviceError(response)
	}
	body, err := io.ReadAll(io.LimitReader(response.Body, most+1))
	if err != nil {
		return nil, err
	}
	if int64(len(body)) > most {
		return nil, fmt.Errorf("%w: larger than %d bytes", ErrAnswer, most)
	}
	return body, nil
}

func serviceError(response *http.Response) error {
	body, _ := io.ReadAll(io.LimitReader(response.Body, maxError)) // what arrived is enough for a message
	e := &ServiceError{Status: response.StatusCode, Code: response.Header.Get("X-Error-Code")}
	var known struct {
		Error       string `json:"error"`
		Description string `json:"error_description"`
	}
	switch {
	case json.Unmarshal(body, &known) != nil || known.Error == "":
		e.Text = string(body[:min(len(body), 500)])
	case known.Description != "":
		e.Text = known.Error + ": " + known.Description
	default:
		e.Text = known.Error
	}
	return e
}

func (c *Client) trace(format string, args ...any) {
	if c.Trace != nil {
		c.Trace(format, args...)
	}
}
