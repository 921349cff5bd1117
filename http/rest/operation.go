package rest

import (
	"bytes"
	"context"
	"log/slog"
	"net/url"
	"strconv"
	"sync"

	"github.com/valyala/fasthttp"

	"opensessionmanager/http/audit"
	"opensessionmanager/http/listen"
	"opensessionmanager/http/oauth"
	"opensessionmanager/messages"
)

// opName is an operation's name in the vendor's API description.
type opName string

const (
	opNone              opName = ""
	opDescribeSessions  opName = "describeSessions"
	opDescribeServers   opName = "describeServers"
	opCreateSessions    opName = "createSessions"
	opDeleteSessions    opName = "deleteSessions"
	opUpdatePermissions opName = "updateSessionPermissions"
	opConnectionData    opName = "GetSessionConnectionData"
	opScreenshots       opName = "getSessionScreenshots"
	opOpenServers       opName = "openServers"
	opCloseServers      opName = "closeServers"
)

// call is one request while an operation works on it. It is used again for
// another request afterwards: nothing may keep it or what it holds.
type call struct {
	op             opName
	requestID      []byte
	principal      oauth.Principal
	idempotencyKey string
	explain        bool // the answer may hold more than the vendor's members
	items          int  // of the request's list, those that failed included
	failures       []failure
	events         []audit.Event // for the audit trail

	// out is the answer's body, appended to from its beginning.
	out []byte
}

// source is where an operation's input is.
type source int

const (
	pathOnly source = iota
	optionalJSON
	requiredJSON
)

// resetter is input that keeps its memory for the next request.
type resetter interface{ reset() }

// exchange is what one request needs, pooled.
type exchange[In any] struct {
	call call
	in   In
}

func (x *exchange[In]) reset() {
	clear(x.call.events)
	x.call = call{failures: x.call.failures[:0], events: x.call.events[:0]}
	if r, ok := any(&x.in).(resetter); ok {
		r.reset()
		return
	}
	var zero In
	x.in = zero
}

// operation alone sees a RequestCtx: it authorizes, reads the input, and sends
// what do appended to call.out. What it wraps is a plain, socketless method.
func operation[In any](s *Server, op opName, from source, do func(*call, *In) error) fasthttp.RequestHandler {
	pool := sync.Pool{New: func() any { return new(exchange[In]) }}
	return func(rc *fasthttp.RequestCtx) {
		x := pool.Get().(*exchange[In])
		x.call.op = op
		x.call.requestID = rc.Response.Header.Peek(headerRequestID)
		err := s.authorize(rc, &x.call)
		authorized := err == nil
		if authorized {
			err = s.read(rc, from, &x.call, &x.in)
		} else {
			s.logUnauthorized(rc, err)
		}
		if err == nil {
			x.call.out = rc.Response.SwapBody(nil)[:0]
			err = do(&x.call, &x.in)
			rc.Response.SwapBody(x.call.out)
		}
		if authorized && op.changes() {
			s.logChange(&x.call, err)
		}
		s.recordEvents(rc, &x.call)
		if err != nil {
			s.fail(rc, op, err)
		} else {
			s.succeed(rc, &x.call)
		}
		if x.call.principal.ClientID != "" && s.log.Enabled(s.base, slog.LevelDebug) {
			rc.SetUserValue(userValuePrincipal, x.call.principal.ClientID)
		}
		x.reset()
		pool.Put(x) // not after a panic: who knows what holds it then
	}
}

// read fills the input from the path or the body, and the call from headers and query.
func (s *Server) read(rc *fasthttp.RequestCtx, from source, c *call, in any) error {
	if len(rc.URI().QueryString()) > 0 {
		c.explain = string(rc.QueryArgs().Peek("explain")) == "true"
	}
	if from == pathOnly {
		return readPath(rc, in.(*connectionDataRequest))
	}
	c.idempotencyKey = string(rc.Request.Header.Peek(headerIdempotencyKey))
	if listen.Withheld(rc) {
		if err := checkMediaType(&rc.Request.Header); err != nil {
			return err
		}
		return authorizationChanged()
	}
	body := rc.PostBody()
	if len(body) > s.opt.MaxBodySize {
		return refuse(&messages.Refusal{Code: CodeBodyTooLarge})
	}
	if len(body) == 0 {
		if from == optionalJSON {
			return nil
		}
		return invalid("The request body is empty: an array is expected")
	}
	if err := checkMediaType(&rc.Request.Header); err != nil {
		return err
	}
	return decode(body, in, s.opt.MaxItems, s.strict)
}

// checkMediaType takes JSON, and a body that does not say what it is.
func checkMediaType(h *fasthttp.RequestHeader) error {
	if encoding := h.ContentEncoding(); len(encoding) > 0 && !bytes.EqualFold(encoding, []byte("identity")) {
		return refuse(&messages.Refusal{Code: CodeMediaType, Text: "Compressed request bodies are not supported"})
	}
	kind, parameters, _ := bytes.Cut(h.ContentType(), []byte{';'})
	kind, parameters = bytes.TrimSpace(kind), bytes.ToLower(bytes.TrimSpace(parameters))
	if len(kind) > 0 && !bytes.EqualFold(kind, []byte(contentTypeJSON)) {
		return refuse(&messages.Refusal{Code: CodeMediaType})
	}
	if bytes.HasPrefix(parameters, []byte("charset=")) && !bytes.Contains(parameters, []byte("utf-8")) {
		return refuse(&messages.Refusal{Code: CodeMediaType, Text: "The request body must be UTF-8"})
	}
	return nil
}

// readPath takes the two parts of the path as the client sent them: an encoded
// slash or backslash belongs to a part.
func readPath(rc *fasthttp.RequestCtx, in *connectionDataRequest) (err error) {
	session, _ := rc.UserValue("sessionId").(string)
	user, _ := rc.UserValue("user").(string)
	if in.SessionID, err = url.PathUnescape(session); err != nil {
		return invalid("The session id in the path is not URL-encoded properly")
	}
	if in.User, err = url.PathUnescape(user); err != nil {
		return invalid("The user in the path is not URL-encoded properly")
	}
	return nil
}

func (s *Server) succeed(rc *fasthttp.RequestCtx, c *call) {
	rc.Response.Header.SetContentType(contentTypeJSON)
	if c.op == opConnectionData {
		rc.Response.Header.Set(fasthttp.HeaderCacheControl, "no-store")
	}
	if len(c.failures) > 0 {
		s.explainFailures(rc, c.failures)
		s.logInternal(c)
	}
}

// logInternal writes one line if items failed by a fault of ours: the client was
// told that the log says more.
func (s *Server) logInternal(c *call) {
	for _, f := range c.failures {
		if judge(c.op, f.refusal).status == fasthttp.StatusInternalServerError {
			s.log.Error("request item failed", "request_id", string(c.requestID), "operation", string(c.op),
				"item", f.item, "code", f.refusal.GetCode(), "detail", detailOf(f.refusal))
			return
		}
	}
}

// fail answers a request that was refused as a whole.
func (s *Server) fail(rc *fasthttp.RequestCtx, op opName, err error) {
	refusal := asRefusal(err)
	v := judge(op, refusal)
	code := refusal.GetCode()
	if v == verdicts[messages.CodeInternal] {
		code = messages.CodeInternal
		s.log.Error("request failed", "request_id", requestID(rc), "operation", string(op), "error", err)
	}
	h := &rc.Response.Header
	h.Set(headerErrorCode, code)
	if v.status == fasthttp.StatusUnauthorized {
		h.Set(fasthttp.HeaderWWWAuthenticate, challenge(rc))
	}
	if seconds := retryAfterSeconds(refusal, v.status); seconds > 0 {
		h.Set(fasthttp.HeaderRetryAfter, strconv.FormatInt(seconds, 10))
	}
	if refusal.GetDetail() != "" || len(refusal.GetCounts()) > 0 {
		s.explainFailures(rc, []failure{{item: -1, refusal: refusal}})
	}
	rc.SetStatusCode(v.status)
	rc.SetContentType(contentTypeJSON)
	body := append(rc.Response.SwapBody(nil)[:0], `{"error": `...)
	rc.Response.SwapBody(append(appendQuoted(body, v.text), '}'))
}

func (s *Server) explainFailures(rc *fasthttp.RequestCtx, failures []failure) {
	value := appendFailureHeader(make([]byte, 0, maxFailureHeader), failures)
	rc.Response.Header.SetBytesV(headerFailureDetails, value)
}

// deadline bounds what a request waits for the fleet. It does not end when the
// client goes away: an accepted change is carried out (contract section 1.5).
func (s *Server) deadline() (context.Context, context.CancelFunc) {
	return context.WithTimeout(s.base, s.opt.RequestTimeout)
}
