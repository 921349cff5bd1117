// Package enroll makes the agent a known client of its broker: it registers once
// by OAuth 2.0 dynamic client registration (RFC 7591) with the fleet's software
// statement or an enrolment token, keeps the client credentials, and turns them into access tokens.
//
// A broker that wants no authorization answers registration with 404; the agent
// then connects without a token.
package enroll

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"opensessionmanager/internal/enrolment"
)

// Errors of Token. Anything else is a transport failure, worth an early retry.
var (
	// ErrRefused: the broker knows the agent's papers and does not accept them.
	ErrRefused = errors.New("enroll: the broker refused")
	// errUnknownClient: the broker does not know our client id; register again.
	errUnknownClient = errors.New("enroll: client unknown to the broker")
	// errNotOffered: the broker has no such endpoint.
	errNotOffered = errors.New("enroll: not offered by the broker")
)

// Config is what a Source needs.
type Config struct {
	// Brokers are "host:port" of the agent port, tried in order.
	Brokers []string
	// Client does the HTTPS requests; its timeout bounds each of them.
	Client *http.Client
	// StatementPath names the file with the software statement. A missing file
	// means registering without one, which the broker may accept.
	StatementPath string
	// EnrolmentToken reads a token to register with if there is no statement; nil or
	// an error: there is none.
	EnrolmentToken func() (enrolment.Token, error)
	// CredentialsPath is where client id and secret are kept, mode 0600. They
	// stay in memory only if it is empty.
	CredentialsPath string
	// ClientName is what the broker's administrator sees: the host name.
	ClientName string
	Logger     *slog.Logger
	// Now is time.Now unless set. Lifetimes are measured on the monotonic clock.
	Now func() time.Time
}

// Source hands out access tokens. It is safe for concurrent use.
type Source struct {
	cfg Config

	mu     sync.Mutex // held over requests: one enrolment at a time
	client credentials
	loaded bool
	open   bool // the broker wants no authorization
	token  string
	renew  time.Time
}

// New returns a source that does nothing until it is asked for a token.
func New(cfg Config) *Source {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &Source{cfg: cfg}
}

// Token returns an access token that is valid for a while, registering first if
// need be. It is "" if the broker wants none.
func (s *Source) Token(ctx context.Context) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open || s.token != "" && s.cfg.Now().Before(s.renew) {
		return s.token, nil
	}
	if err := s.load(); err != nil {
		return "", err
	}
	if s.client.ID != "" {
		err := s.fetch(ctx)
		if !errors.Is(err, errUnknownClient) {
			return s.token, err
		}
		s.cfg.Logger.Warn("The broker does not know this agent's client any more, registering again", "client", s.client.ID)
	}
	if err := s.register(ctx); err != nil {
		return "", err
	}
	if s.open {
		return "", nil
	}
	return s.token, s.fetch(ctx)
}

// Reject tells that the broker did not accept a token: the next one is fetched anew.
func (s *Source) Reject(token string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.open = false
	if s.token == token {
		s.token = ""
	}
}

// Replace registers a client of its own for a host that found itself to be a
// copy of another one. If that fails the present credentials stay.
func (s *Source) Replace(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open {
		return nil
	}
	return s.register(ctx)
}

// fetch needs s.mu.
func (s *Source) fetch(ctx context.Context) error {
	s.token = ""
	answer, err := s.requestToken(ctx)
	if errors.Is(err, errNotOffered) {
		s.open = true
		return nil
	}
	if err != nil {
		return err
	}
	lifetime := time.Duration(answer.ExpiresIn) * time.Second
	s.token, s.renew = answer.AccessToken, s.cfg.Now().Add(lifetime*4/5)
	return nil
}

// register needs s.mu.
func (s *Source) register(ctx context.Context) error {
	statement, err := s.statement()
	if err != nil {
		return err
	}
	if statement == "" && s.cfg.EnrolmentToken != nil {
		if token, err := s.cfg.EnrolmentToken(); err == nil {
			return s.enrol(ctx, token, func() error { return nil })
		}
	}
	fresh, err := s.requestClient(ctx, registration{SoftwareStatement: statement})
	if errors.Is(err, errNotOffered) {
		s.cfg.Logger.Warn("The broker does not authorize agents; connecting without a token")
		s.open = true
		return nil
	}
	if err != nil {
		return err
	}
	s.client, s.token = fresh, ""
	if err := s.keep(); err != nil { // works until the next start, which registers again
		s.cfg.Logger.Error("Cannot keep the agent's credentials", "error", err)
	}
	s.cfg.Logger.Info("Registered at the broker", "client", fresh.ID)
	return nil
}

func (s *Source) statement() (string, error) {
	if s.cfg.StatementPath == "" {
		return "", nil
	}
	content, err := os.ReadFile(s.cfg.StatementPath)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return "", nil
	case err != nil:
		return "", fmt.Errorf("enroll: read software statement: %w", err)
	case len(content) > maxStatement:
		return "", fmt.Errorf("enroll: software statement %s exceeds %d bytes", s.cfg.StatementPath, maxStatement)
	}
	return strings.TrimSpace(string(content)), nil
}
