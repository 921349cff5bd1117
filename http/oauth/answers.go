package oauth

import (
	"encoding/json"
	"log/slog"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/valyala/fasthttp"

	"opensessionmanager/http/audit"
)

// Error codes of RFC 6749 section 5.2 and RFC 7591 section 3.2.2.
const (
	codeInvalidRequest     = "invalid_request"
	codeInvalidClient      = "invalid_client"
	codeUnauthorizedClient = "unauthorized_client"
	codeUnsupportedGrant   = "unsupported_grant_type"
	codeUnavailable        = "temporarily_unavailable"
	codeTooMany            = "too_many_requests"
	codeBadStatement       = "invalid_software_statement"
	codeBadMetadata        = "invalid_client_metadata"
	codeBadEnrolment       = "invalid_enrolment_token" // ours; the RFC knows statements only
)

// refusal is a no of the endpoints for machines and people.
type refusal struct {
	status      int
	Code        string        `json:"error"`
	Description string        `json:"error_description"`
	client      string        // who it said it is; for the audit trail
	subject     string        // what it came with; for the audit trail
	wait        time.Duration // when to come again, with status 429
}

func badRequest(code, description string) *refusal {
	return &refusal{status: fasthttp.StatusBadRequest, Code: code, Description: description}
}

// outage hides a store error from strangers and logs it, as often as people read.
func (s *Server) outage(err error) *refusal {
	s.outages.Write(s.cfg.Logger, slog.LevelError, "store failed during an authorization request",
		func() []slog.Attr { return []slog.Attr{slog.Any("error", err)} })
	return &refusal{status: fasthttp.StatusServiceUnavailable, Code: codeUnavailable, Description: "The store does not answer, try again later"}
}

// refuse answers with the error and leaves one line for the auditor, without
// anything secret: what the caller sent is not in it.
func (s *Server) refuse(rc *fasthttp.RequestCtx, r *refusal) {
	s.trail.Refuse(rc, "authorization request refused", audit.Event{Act: "authorize", Client: r.client, Code: r.Code, Reason: r.Description, Subject: r.subject})
	answer(rc, r.status, r)
	rc.Response.Header.Set("X-Error-Code", strings.ToUpper(r.Code))
	switch r.status {
	case fasthttp.StatusUnauthorized:
		rc.Response.Header.Set("WWW-Authenticate", `Basic realm="dcv-session-manager", charset="UTF-8"`)
	case fasthttp.StatusTooManyRequests:
		rc.Response.Header.Set(fasthttp.HeaderRetryAfter, strconv.Itoa(max(1, int(math.Ceil(r.wait.Seconds())))))
	case fasthttp.StatusServiceUnavailable:
		rc.Response.Header.Set("Retry-After", "2")
	}
}

// answer writes JSON that no cache may keep (RFC 6749 section 5.1).
func answer(rc *fasthttp.RequestCtx, status int, body any) {
	data, err := json.Marshal(body)
	if err != nil { // our own types always encode
		rc.SetStatusCode(fasthttp.StatusInternalServerError)
		return
	}
	rc.SetStatusCode(status)
	rc.SetContentType("application/json")
	rc.Response.Header.Set("Cache-Control", "no-store")
	rc.Response.Header.Set("Pragma", "no-cache")
	rc.SetBody(data)
}

// onlyPost answers 405 to other methods.
func onlyPost(next fasthttp.RequestHandler) fasthttp.RequestHandler {
	return func(rc *fasthttp.RequestCtx) {
		if rc.IsPost() {
			next(rc)
			return
		}
		answer(rc, fasthttp.StatusMethodNotAllowed, badRequest(codeInvalidRequest, "Only POST is allowed"))
		rc.Response.Header.Set("Allow", "POST")
	}
}

// Lines about a store that fails.
const (
	outagesPerSecond = 5
	outagesAtOnce    = 20
)
