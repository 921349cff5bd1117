// Package verifier asks an auth-token-verifier whether a client may connect to a
// session, as a DCV server with external authentication does (contract section
// 11): a form with sessionId, authenticationToken and clientAddress is posted, a
// small XML document says yes, with the user's name, or no.
package verifier

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"
)

const (
	timeout    = 10 * time.Second
	maxAnswer  = 64 << 10 // bytes
	maxCAFile  = 4 << 20  // bytes
	maxSession = 1024     // bytes; also of the client's address
	maxToken   = 16 << 10 // bytes
)

// ErrRefused is in every error that means "no", as opposed to "could not ask"; all
// of these are a Refusal.
var ErrRefused = errors.New("verifier: refused")

// Refusal is a "no" with a reason for people.
type Refusal struct{ Message string }

// Error is the whole sentence.
func (r Refusal) Error() string { return ErrRefused.Error() + ": " + r.Message }

// Unwrap makes a Refusal an ErrRefused.
func (r Refusal) Unwrap() error { return ErrRefused }

// Options say how to reach the verifier.
type Options struct {
	// URL is the auth-token-verifier of dcv.conf, for the broker
	// https://HOST:8445/agent/validate-authentication-token.
	URL string
	// CAFile is PEM; empty means the system's.
	CAFile string
	// NoTLSStrict accepts any certificate.
	NoTLSStrict bool
}

// Verifier is safe for concurrent use. Close it to give up idle connections.
type Verifier struct {
	url  string
	http *http.Client
}

// New checks the options; it does not call anybody.
func New(o Options) (*Verifier, error) {
	u, err := url.Parse(o.URL)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" {
		return nil, errors.New("verifier: the URL must be http:// or https:// and name a host")
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: o.NoTLSStrict}
	if o.CAFile != "" {
		if config.RootCAs, err = readCA(o.CAFile); err != nil {
			return nil, err
		}
	}
	return &Verifier{url: o.URL, http: &http.Client{
		Timeout:   timeout,
		Transport: &http.Transport{TLSClientConfig: config, MaxIdleConnsPerHost: 4, IdleConnTimeout: 30 * time.Second},
		// The token must not travel to wherever an answer points.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}, nil
}

func readCA(path string) (*x509.CertPool, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("verifier: CA file: %w", err)
	}
	defer file.Close()
	pem, err := io.ReadAll(io.LimitReader(file, maxCAFile))
	if err != nil {
		return nil, fmt.Errorf("verifier: CA file: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("verifier: no certificate in %s", path)
	}
	return pool, nil
}

// Close gives up idle connections.
func (v *Verifier) Close() { v.http.CloseIdleConnections() }

// Check returns the name of the user the token is for. Errors do not show the
// token.
func (v *Verifier) Check(ctx context.Context, sessionID, token, clientAddress string) (string, error) {
	if len(sessionID) > maxSession || len(token) > maxToken || len(clientAddress) > maxSession {
		return "", Refusal{"session ID or token too long"}
	}
	form := url.Values{"sessionId": {sessionID}, "authenticationToken": {token}, "clientAddress": {clientAddress}}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, v.url, strings.NewReader(form.Encode()))
	if err != nil {
		return "", errors.New("verifier: cannot make the request")
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	resp, err := v.http.Do(req)
	if err != nil {
		return "", fmt.Errorf("verifier: not reachable: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return "", fmt.Errorf("verifier: status %d", resp.StatusCode)
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if err != nil {
		return "", fmt.Errorf("verifier: read answer: %w", err)
	}
	return ParseAnswer(body)
}
