package oauth

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/valyala/fasthttp"

	"opensessionmanager/http/audit"
	"opensessionmanager/http/listen"
)

// maxForm bounds the body of a token or validation request in bytes.
const maxForm = 16 << 10

// tokenAnswer has the vendor's properties and order (contract section 2).
type tokenAnswer struct {
	AccessToken string `json:"access_token"`
	TokenType   string `json:"token_type"`
	ExpiresIn   int    `json:"expires_in"`
}

// guess is a caller that tries the secret of a client. It takes both: a stranger must
// not be able to lock a client out, nor may one wrong client hold back others that
// share its address.
type guess struct {
	from   netip.Addr
	client string
}

// A guess more often than this is answered 429 without a look, even if it is right. A
// secret has 122 random bits and is not found this way; the bound is for the peace of
// the store and the log.
const (
	guessesPerSecond = 0.5
	guessesAtOnce    = 10
)

// credentials are a client's, not yet checked.
type credentials struct{ id, secret string }

// name is what may be written down about who asked: an id as the broker gives them. What
// is none may be a secret in the wrong place.
func (c credentials) name() string {
	if len(c.id) != 36 || uuid.Validate(c.id) != nil {
		return ""
	}
	return c.id
}

// TokenHandler is POST /oauth2/token of the client port.
func (s *Server) TokenHandler() fasthttp.RequestHandler {
	return s.tokenEndpoint(s.clients.authenticate, s.apiTokens.sign)
}

// AgentTokenHandler is POST /agent/oauth2/token of the agent port. With agent
// authorization disabled it gives everybody a token that means nothing, so that
// agents need not know the setting.
func (s *Server) AgentTokenHandler() fasthttp.RequestHandler {
	if !s.cfg.EnableAgentAuthorization {
		anybody := func(context.Context, string, string) (bool, error) { return true, nil }
		return s.tokenEndpoint(anybody, func(string) (string, error) { return uuid.NewString(), nil })
	}
	return s.tokenEndpoint(s.agents.authenticate, s.agentTokens.sign)
}

func (s *Server) tokenEndpoint(
	authenticate func(ctx context.Context, id, secret string) (bool, error),
	sign func(clientID string) (string, error),
) fasthttp.RequestHandler {
	return onlyPost(func(rc *fasthttp.RequestCtx) {
		given, no := parseTokenRequest(rc)
		if no != nil {
			s.refuse(rc, no)
			return
		}
		guess := guess{listen.Household(listen.Caller(rc).Addr()), audit.Clip(given.id)}
		if wait, over := s.guesses.Exhausted(guess, s.cfg.Now()); over {
			s.trail.Refuse(rc, "too many wrong secrets", audit.Event{Act: "authorize", Client: given.name(), Code: listen.CodeThrottled})
			listen.FailThrottled(rc, wait)
			return
		}
		ctx, cancel := context.WithTimeout(context.Background(), storeWait)
		defer cancel()
		ok, err := authenticate(ctx, given.id, given.secret)
		if errors.Is(err, ErrInactive) {
			s.refuse(rc, &refusal{status: fasthttp.StatusBadRequest, Code: codeUnauthorizedClient, client: given.name(),
				Description: "The client was unregistered; it has to be enrolled anew by an administrator"})
			return
		}
		if err != nil {
			s.refuse(rc, s.outage(err))
			return
		}
		if !ok {
			s.guesses.Allow(guess, s.cfg.Now())
			no := unknownClient("Unknown client, wrong secret or client not active")
			no.client = given.name()
			s.refuse(rc, no)
			return
		}
		token, err := sign(given.id)
		if err != nil {
			s.refuse(rc, s.outage(err))
			return
		}
		answer(rc, fasthttp.StatusOK, tokenAnswer{token, "Bearer", int(AccessTokenLifetime / time.Second)})
	})
}

func unknownClient(description string) *refusal {
	return &refusal{status: fasthttp.StatusUnauthorized, Code: codeInvalidClient, Description: description}
}

// parseTokenRequest reads a client-credentials request. The vendor's clients put
// grant_type into the query and leave the body empty; RFC 6749 wants it in the
// form. Both are fine.
func parseTokenRequest(rc *fasthttp.RequestCtx) (credentials, *refusal) {
	body := rc.PostBody()
	if len(body) > maxForm {
		return credentials{}, badRequest(codeInvalidRequest, "The request is too large")
	}
	var form fasthttp.Args
	form.ParseBytes(body)
	grant, no := single("grant_type", rc.QueryArgs(), &form)
	if no != nil {
		return credentials{}, no
	}
	if grant == "" {
		return credentials{}, badRequest(codeInvalidRequest, "grant_type is missing")
	}
	if grant != "client_credentials" {
		return credentials{}, badRequest(codeUnsupportedGrant, "grant_type must be client_credentials")
	}
	header, err := HeaderOf(&rc.Request.Header)
	if err != nil {
		return credentials{}, badRequest(codeInvalidRequest, "There is more than one Authorization header")
	}
	return parseCredentials(header, &form)
}

// parseCredentials takes HTTP Basic, or else the form (RFC 6749 section 2.3.1).
// They never come from the query, which proxies log.
func parseCredentials(header []byte, form *fasthttp.Args) (credentials, *refusal) {
	id, no := single("client_id", form)
	if no != nil {
		return credentials{}, no
	}
	secret, no := single("client_secret", form)
	if no != nil {
		return credentials{}, no
	}
	if len(header) == 0 {
		if id == "" || secret == "" {
			return credentials{}, unknownClient("Client credentials are missing")
		}
		return credentials{id, secret}, nil
	}
	basic, ok := parseBasic(header)
	if !ok {
		return credentials{}, unknownClient("The Authorization header is not a valid Basic header")
	}
	if secret != "" || id != "" && id != basic.id {
		return credentials{}, badRequest(codeInvalidRequest, "Client credentials are given twice")
	}
	return basic, nil
}

func parseBasic(header []byte) (credentials, bool) {
	const scheme = "Basic "
	if len(header) > maxToken || len(header) < len(scheme) || !bytes.EqualFold(header[:len(scheme)], []byte(scheme)) {
		return credentials{}, false
	}
	raw, err := base64.StdEncoding.DecodeString(string(bytes.Trim(header[len(scheme):], " ")))
	if err != nil {
		return credentials{}, false
	}
	id, secret, ok := strings.Cut(string(raw), ":")
	return credentials{unescaped(id), unescaped(secret)}, ok && id != ""
}

// unescaped undoes the form encoding that RFC 6749 section 2.3.1 wants inside Basic, and
// that many clients leave out: ours have no character that it would change, so whoever
// wrote a % encoded something.
func unescaped(text string) string {
	if plain, err := url.QueryUnescape(text); err == nil && strings.Contains(text, "%") {
		return plain
	}
	return text
}

// single returns the value of a parameter that may be given once over all sources.
func single(name string, sources ...*fasthttp.Args) (string, *refusal) {
	var values [][]byte
	for _, args := range sources {
		values = append(values, args.PeekMulti(name)...)
	}
	switch len(values) {
	case 0:
		return "", nil
	case 1:
		return string(values[0]), nil
	}
	for _, v := range values[1:] {
		if !bytes.Equal(v, values[0]) {
			return "", badRequest(codeInvalidRequest, name+" is given more than once")
		}
	}
	return string(values[0]), nil
}
