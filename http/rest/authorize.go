package rest

import (
	"errors"

	"github.com/valyala/fasthttp"

	"opensessionmanager/http/oauth"
	"opensessionmanager/messages"
)

// Authorizer decides who may call; oauth.Server does.
type Authorizer interface {
	// Authorize reads the value of the Authorization header, empty if there is
	// none, and does not keep it. Errors are those of package oauth, whose texts
	// the client reads, or have a method Code() string that names a code of this
	// package. Of any other error the client learns nothing.
	Authorize(header []byte) (oauth.Principal, error)
}

// coded is an error that knows its code and may be shown to the client.
type coded interface {
	error
	Code() string
}

// authorize comes before everything else a request asks for: who has no token
// learns nothing, not even whether a session exists.
func (s *Server) authorize(rc *fasthttp.RequestCtx, c *call) error {
	if s.cfg.Authorizer == nil {
		return nil
	}
	principal, err := s.principal(&rc.Request.Header)
	if err != nil {
		return unauthorized(err)
	}
	c.principal = principal
	return nil
}

func (s *Server) principal(h *fasthttp.RequestHeader) (oauth.Principal, error) {
	header, err := oauth.HeaderOf(h)
	if err != nil {
		return oauth.Principal{}, err
	}
	return s.cfg.Authorizer.Authorize(header)
}

func unauthorized(err error) error {
	if known, ok := errors.AsType[coded](err); ok {
		return refuse(&messages.Refusal{Code: known.Code(), Text: known.Error()})
	}
	switch {
	case errors.Is(err, oauth.ErrNoHeader), errors.Is(err, oauth.ErrInvalidToken):
		return refuse(&messages.Refusal{Code: CodeUnauthorized, Text: err.Error()})
	case errors.Is(err, oauth.ErrUnavailable):
		return refuse(&messages.Refusal{Code: messages.CodeNotReady, Detail: err.Error()})
	}
	return err
}

// challenge is the WWW-Authenticate header of a 401 (RFC 6750 section 3).
func challenge(rc *fasthttp.RequestCtx) string {
	if len(rc.Request.Header.Peek(fasthttp.HeaderAuthorization)) == 0 {
		return `Bearer`
	}
	return `Bearer error="invalid_token"`
}
