package listen

import (
	"encoding/json"
	"errors"
	"log/slog"
	"net"
	"runtime/debug"

	"github.com/google/uuid"
	"github.com/valyala/fasthttp"
)

// Codes of the header X-Error-Code for errors of the transport.
const (
	CodeBadRequest     = "BAD_REQUEST"
	CodeTimeout        = "REQUEST_TIMEOUT"
	CodeTooLarge       = "REQUEST_TOO_LARGE"
	CodeHeaderTooLarge = "HEADER_TOO_LARGE"
	CodeInternal       = "INTERNAL_ERROR"
	CodeBusy           = "BUSY"
)

const headerRequestID = "X-Request-Id"

// Fail makes the answer the project's error: status, header X-Error-Code and
// the body {"error": "<text>"}, with one space after the colon because clients
// compare it (contract section 1.1). What the response held before is dropped, except
// for its X-Request-Id; one that had none gets one, as every answer of the API has.
func Fail(rc *fasthttp.RequestCtx, status int, code, text string) {
	id := RequestID(rc)
	quoted, err := json.Marshal(text)
	if err != nil { // a string always encodes
		quoted = []byte(`""`)
	}
	rc.Response.Reset()
	rc.SetStatusCode(status)
	rc.SetContentType("application/json")
	rc.Response.Header.Set("X-Error-Code", code)
	rc.Response.Header.Set(headerRequestID, id)
	body := make([]byte, 0, len(quoted)+12)
	body = append(body, `{"error": `...)
	body = append(body, quoted...)
	rc.SetBody(append(body, '}'))
}

// transportError answers a request that could not be read. The library's error
// text may hold pieces of the request, so none of it is repeated.
func transportError(rc *fasthttp.RequestCtx, err error) {
	var small *fasthttp.ErrSmallBuffer
	switch {
	case errors.As(err, &small):
		Fail(rc, fasthttp.StatusRequestHeaderFieldsTooLarge, CodeHeaderTooLarge, "Request header too large")
	case errors.Is(err, fasthttp.ErrBodyTooLarge):
		Fail(rc, fasthttp.StatusRequestEntityTooLarge, CodeTooLarge, "Request body too large")
	case errors.Is(err, errFull):
		Fail(rc, fasthttp.StatusServiceUnavailable, CodeBusy, "Too many large requests at once, try again later")
		rc.Response.Header.Set(fasthttp.HeaderRetryAfter, "1")
	case timedOut(err):
		Fail(rc, fasthttp.StatusRequestTimeout, CodeTimeout, "Request took too long to arrive")
	default:
		Fail(rc, fasthttp.StatusBadRequest, CodeBadRequest, "Malformed HTTP request")
	}
}

// unreadable answers a request that the HTTP library could not read.
func unreadable(rc *fasthttp.RequestCtx, err error) {
	transportError(rc, err)
	if !timedOut(err) { // who was too slow until now is not waited for
		abandon(rc)
	}
}

func timedOut(err error) bool {
	network, ok := errors.AsType[net.Error](err)
	return ok && network.Timeout()
}

// recovering turns a panic of next into a 500 that names a request id, which
// the log line with the stack carries too (F25).
func recovering(next fasthttp.RequestHandler, logger *slog.Logger) fasthttp.RequestHandler {
	return func(rc *fasthttp.RequestCtx) {
		defer func() {
			reason := recover()
			if reason == nil {
				return
			}
			id := uuid.NewString()
			logger.Error("request handler panicked",
				slog.String("request-id", id),
				slog.String("method", string(rc.Method())),
				slog.String("path", string(rc.Path())),
				slog.Any("panic", reason),
				slog.String("stack", string(debug.Stack())))
			Fail(rc, fasthttp.StatusInternalServerError, CodeInternal, "Internal error, request "+id)
			rc.Response.Header.Set(headerRequestID, id)
		}()
		next(rc)
	}
}

// RequestID is the id of a request, which its answer carries; it gets one if it has none.
func RequestID(rc *fasthttp.RequestCtx) string {
	id := string(rc.Response.Header.Peek(headerRequestID))
	if id == "" {
		id = uuid.NewString()
		rc.Response.Header.Set(headerRequestID, id)
	}
	return id
}
