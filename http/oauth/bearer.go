package oauth

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/valyala/fasthttp"
)

// Errors of Authorize and AuthorizeAgent. Their texts are what a client reads,
// hence the capital letters; none repeats anything the client sent.
var (
	// ErrNoHeader has the exact text that the vendor's guide and readiness
	// probes compare (contract section 1.1).
	ErrNoHeader = errors.New("No authorization header") //nolint:staticcheck // exact text
	// ErrInvalidToken is wrapped with the reason.
	ErrInvalidToken = errors.New("Invalid access token") //nolint:staticcheck // read by clients
	// ErrUnavailable: the token is good, but the store cannot say whether its
	// client still is. Trying later helps.
	ErrUnavailable = errors.New("Authorization is unavailable, try again later") //nolint:staticcheck // read by clients
)

// Principal is who calls the API.
type Principal struct {
	ClientID string
	Name     string
	// Issuer is the external authorization server that says so: its issuer if one was
	// registered, else its URL. Empty for clients of this fleet. Ids are unique per issuer.
	Issuer string
}

// Key tells callers apart, also those that different servers call the same.
func (p Principal) Key() string {
	if p.Issuer == "" {
		return p.ClientID
	}
	return p.Issuer + " " + p.ClientID
}

// storeWait bounds a question to the store inside a check.
const storeWait = 2 * time.Second

// Authorize checks the value of an Authorization header of the API. It neither
// keeps nor changes header. With authorization disabled everybody is "anonymous".
func (s *Server) Authorize(header []byte) (Principal, error) {
	if !s.cfg.EnableAuthorization {
		return Principal{ClientID: "anonymous", Name: "anonymous"}, nil
	}
	token, err := bearer(header)
	if err != nil {
		return Principal{}, err
	}
	now := s.cfg.Now()
	sum := sha256.Sum256(token)
	known, fresh := s.verified.get(&sum, now)
	if !fresh || known.key.Dropped() {
		var until time.Time
		if known, until, err = s.verify(token); err != nil {
			return Principal{}, err
		}
		s.verified.put(sum, known, until, now)
	}
	if known.client != nil && !known.client.active.Load() {
		return Principal{}, fmt.Errorf("%w: its client is not registered", ErrInvalidToken)
	}
	return known.principal, nil
}

// verify checks a token that is not in the cache. Which server it is from is what it
// says; that only decides with whose keys it has to agree.
func (s *Server) verify(token []byte) (*grant, time.Time, error) {
	outline, err := outlineOf(string(token))
	if err != nil {
		return nil, time.Time{}, fmt.Errorf("%w: %s", ErrInvalidToken, tokenFault(err))
	}
	switch {
	case outline.issuer == issuer || s.servers.Count() == 0:
		return s.verifyOwn(string(token))
	default:
		principal, until, key, err := s.servers.verify(string(token), outline)
		return &grant{principal: principal, key: key}, until, err
	}
}

func (s *Server) verifyOwn(token string) (*grant, time.Time, error) {
	if !s.cfg.EnableServer {
		return nil, time.Time{}, fmt.Errorf("%w: it is not from a registered authorization server", ErrInvalidToken)
	}
	id, until, key, err := s.apiTokens.verify(token)
	if err != nil {
		return nil, time.Time{}, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), storeWait)
	defer cancel()
	known, err := s.clients.lookup(ctx, id)
	if err != nil {
		return nil, time.Time{}, ErrUnavailable
	}
	if known == nil {
		return nil, time.Time{}, fmt.Errorf("%w: its client is not registered", ErrInvalidToken)
	}
	return &grant{principal: Principal{ClientID: known.id, Name: known.name}, client: known, key: key}, until, nil
}

// AuthorizeAgent checks the Authorization header of an agent that connects and
// returns its client id. With agent authorization disabled that is "" for all.
// While the store cannot be read, a token that is good in itself counts: agents
// keep their broker through an outage, and no token lives longer than an hour (F19).
func (s *Server) AuthorizeAgent(header []byte) (agentClientID string, err error) {
	if !s.cfg.EnableAgentAuthorization {
		return "", nil
	}
	token, err := bearer(header)
	if err != nil {
		return "", err
	}
	id, _, _, err := s.agentTokens.verify(string(token))
	if err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(context.Background(), storeWait)
	defer cancel()
	active, err := s.agents.active(ctx, id)
	if err != nil {
		s.outages.Write(s.cfg.Logger, slog.LevelWarn, "store cannot be asked about an agent, its token counts",
			func() []slog.Attr { return []slog.Attr{slog.String("agent-client", id), slog.Any("error", err)} })
		return id, nil
	}
	if !active {
		return "", fmt.Errorf("%w: its agent is not registered", ErrInvalidToken)
	}
	return id, nil
}

// HeaderOf returns the Authorization header of a request, empty if there is none. Two
// of them are refused, whatever they hold: who is behind the broker might look at the
// other one than who is before it.
func HeaderOf(h *fasthttp.RequestHeader) ([]byte, error) {
	switch all := h.PeekAll(fasthttp.HeaderAuthorization); len(all) {
	case 0:
		return nil, nil
	case 1:
		return all[0], nil
	default:
		return nil, fmt.Errorf("%w: there is more than one Authorization header", ErrInvalidToken)
	}
}

// bearer cuts the token out of the header, without a copy.
func bearer(header []byte) ([]byte, error) {
	const scheme = "Bearer "
	if len(header) == 0 {
		return nil, ErrNoHeader
	}
	if len(header) > maxToken {
		return nil, fmt.Errorf("%w: it is too long", ErrInvalidToken)
	}
	if len(header) < len(scheme) || !bytes.EqualFold(header[:len(scheme)], []byte(scheme)) {
		return nil, fmt.Errorf("%w: the scheme must be Bearer", ErrInvalidToken)
	}
	return bytes.Trim(header[len(scheme):], " "), nil
}
