package rest

import (
	"bytes"

	"github.com/valyala/fasthttp"

	"opensessionmanager/http/listen"
)

// maxFormSize bounds the body of a request for a token in bytes.
const maxFormSize = 64 << 10

const pathToken = "/oauth2/token"

// Admit says whether the body that a request announces is worth reading. What it says
// no to is refused by Handler, for the same reason, without the body: a stranger gets
// 401 and costs no memory.
func (s *Server) Admit(h *fasthttp.RequestHeader) listen.Admission {
	path := routedPath(h)
	method, known := s.bodies[string(path)]
	switch {
	case !known || string(h.Method()) != method:
		return listen.Admission{}
	case string(path) == pathToken:
		return listen.Admission{MaxBytes: maxFormSize, Anonymous: true}
	case checkMediaType(h) != nil:
		return listen.Admission{}
	case s.cfg.Authorizer == nil:
		return listen.Admission{MaxBytes: s.opt.MaxBodySize, Anonymous: true}
	}
	if _, err := s.principal(h); err != nil {
		return listen.Admission{}
	}
	return listen.Admission{MaxBytes: s.opt.MaxBodySize}
}

// routedPath is the path as the routes compare it.
func routedPath(h *fasthttp.RequestHeader) []byte {
	target := h.RequestURI()
	if len(target) < 2 || target[0] != '/' || target[1] == '/' {
		var uri fasthttp.URI // rare: of a client that thinks it talks to a proxy
		if uri.Parse(h.Host(), target) != nil {
			return nil
		}
		return uri.PathOriginal()
	}
	if end := bytes.IndexAny(target, "?#"); end >= 0 {
		return target[:end]
	}
	return target
}
