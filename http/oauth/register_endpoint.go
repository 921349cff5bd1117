package oauth

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"log/slog"
	"strings"

	"github.com/google/uuid"
	"github.com/valyala/fasthttp"

	"opensessionmanager/http/audit"
	"opensessionmanager/http/listen"
	"opensessionmanager/internal/enrolment"
)

// maxRegistration bounds the body of a registration in bytes.
const maxRegistration = 32 << 10

// One caller may register that many agents, and then so many a second: each stays in the
// store for good, and whoever has stolen one host has a statement that counts. A fleet
// behind one address that starts for the first time is a thousand hosts at once; more
// of them come again a little later.
const (
	newAgentsPerSecond = 10
	newAgentsAtOnce    = 1000
)

// registration is what we read of RFC 7591 client metadata; the rest is ignored,
// as the RFC asks.
type registration struct {
	SoftwareStatement string   `json:"software_statement"`
	EnrolmentToken    string   `json:"enrolment_token"` // ours, in the statement's place
	EnrolmentNonce    string   `json:"enrolment_nonce"` // 32 hex digits, a host's own
	ClientName        string   `json:"client_name"`
	GrantTypes        []string `json:"grant_types"`
}

// registered is the answer of RFC 7591 section 3.2.1.
type registered struct {
	ClientID        string   `json:"client_id"`
	ClientSecret    string   `json:"client_secret"`
	IssuedAt        int64    `json:"client_id_issued_at"`
	SecretExpiresAt int64    `json:"client_secret_expires_at"` // 0 = never
	ClientName      string   `json:"client_name"`
	GrantTypes      []string `json:"grant_types"`
	AuthMethod      string   `json:"token_endpoint_auth_method"`
}

// RegisterHandler is POST /agent/register of the agent port. With agent
// authorization disabled it needs neither statement nor token and keeps nothing.
func (s *Server) RegisterHandler() fasthttp.RequestHandler {
	return onlyPost(func(rc *fasthttp.RequestCtx) {
		request, no := parseRegistration(rc.PostBody())
		if no != nil {
			s.refuse(rc, no)
			return
		}
		ctx, cancel := context.WithTimeout(context.Background(), storeWait)
		defer cancel()
		var id, secret string
		var subject string
		switch {
		case !s.cfg.EnableAgentAuthorization:
			id, secret = uuid.NewString(), newSecret()
		case request.EnrolmentToken != "":
			id, secret, subject, no = s.enrolAgent(ctx, rc, request)
		default:
			id, secret, no = s.registerAgent(ctx, rc, request)
		}
		if no != nil {
			s.refuse(rc, no)
			return
		}
		s.cfg.Logger.Info("agent registered",
			slog.String("agent-client", id), slog.String("name", request.ClientName), listen.Remote(rc))
		s.trail.Record(rc, audit.Event{Act: "register-agent", Outcome: audit.Done, Client: id, ClientName: request.ClientName, Subject: subject})
		answer(rc, fasthttp.StatusCreated, registered{
			ClientID: id, ClientSecret: secret, IssuedAt: s.cfg.Now().Unix(), ClientName: request.ClientName,
			GrantTypes: []string{"client_credentials"}, AuthMethod: "client_secret_basic",
		})
	})
}

func (s *Server) registerAgent(ctx context.Context, rc *fasthttp.RequestCtx, request registration) (id, secret string, no *refusal) {
	statement, err := s.statements.accepts(ctx, request.SoftwareStatement)
	if err != nil {
		return "", "", s.outage(err)
	}
	if statement == "" {
		return "", "", badRequest(codeBadStatement, "The software statement is not known or not active")
	}
	if wait, ok := s.newAgents.Allow(listen.Household(listen.Caller(rc).Addr()), s.cfg.Now()); !ok {
		return "", "", &refusal{status: fasthttp.StatusTooManyRequests, Code: codeTooMany, wait: wait,
			Description: "Too many agents were registered from here, try again later"}
	}
	id, secret, err = s.agents.register(ctx, request.ClientName, statement)
	if err != nil {
		return "", "", s.outage(err)
	}
	return id, secret, nil
}

// enrolAgent takes an enrolment token. Wrong secrets of one are looked at as seldom as
// those of a client (see guess).
func (s *Server) enrolAgent(ctx context.Context, rc *fasthttp.RequestCtx, request registration) (id, secret, subject string, no *refusal) {
	token, err := enrolment.Parse(request.EnrolmentToken)
	if err != nil {
		return "", "", "", badEnrolment("", err)
	}
	nonce, no := parseNonce(request)
	if no != nil {
		return "", "", "", no
	}
	subject = "enrolment-token " + token.ID.String()
	guess := guess{listen.Household(listen.Caller(rc).Addr()), subject}
	if wait, over := s.guesses.Exhausted(guess, s.cfg.Now()); over {
		return "", "", "", &refusal{status: fasthttp.StatusTooManyRequests, Code: codeTooMany, subject: subject, wait: wait,
			Description: "Too many wrong enrolment tokens, try again later"}
	}
	id, secret, err = s.enrolments.enrol(ctx, token, nonce, request.ClientName)
	switch {
	case err == nil:
		return id, secret, subject, nil
	case errors.Is(err, errEnrolmentUnknown):
		s.guesses.Allow(guess, s.cfg.Now())
		return "", "", "", badEnrolment(subject, err)
	case errors.Is(err, errEnrolmentExpired), errors.Is(err, errEnrolmentUsed), errors.Is(err, errEnrolmentRevoked):
		return "", "", "", badEnrolment(subject, err)
	case errors.Is(err, ErrInactive):
		return "", "", "", &refusal{status: fasthttp.StatusBadRequest, Code: codeUnauthorizedClient, subject: subject,
			Description: "The client was unregistered; it has to be enrolled anew by an administrator"}
	}
	return "", "", "", s.outage(err)
}

func badEnrolment(subject string, err error) *refusal {
	_, text, _ := strings.Cut(err.Error(), ": ")
	no := badRequest(codeBadEnrolment, strings.ToUpper(text[:1])+text[1:])
	no.subject = subject
	return no
}

func parseNonce(request registration) (nonce [enrolment.SecretLen]byte, no *refusal) {
	raw, err := hex.DecodeString(request.EnrolmentNonce)
	if err != nil || len(raw) != len(nonce) {
		return nonce, badRequest(codeBadMetadata, "enrolment_nonce must be 32 hex digits")
	}
	if request.SoftwareStatement != "" {
		return nonce, badRequest(codeBadMetadata, "Give a software_statement or an enrolment_token, not both")
	}
	return [enrolment.SecretLen]byte(raw), nil
}

func parseRegistration(body []byte) (registration, *refusal) {
	var r registration
	if len(body) > maxRegistration {
		return r, badRequest(codeBadMetadata, "The request is too large")
	}
	if json.Unmarshal(body, &r) != nil {
		return r, badRequest(codeBadMetadata, "The body must be a JSON object of client metadata")
	}
	if checkName(r.ClientName) != nil {
		return r, badRequest(codeBadMetadata, "client_name must be 1 to 256 bytes of printable UTF-8")
	}
	for _, grant := range r.GrantTypes {
		if grant != "client_credentials" {
			return r, badRequest(codeBadMetadata, "grant_types may only hold client_credentials")
		}
	}
	return r, nil
}
