package rest

import (
	"errors"

	"github.com/valyala/fasthttp"

	"opensessionmanager/messages"
)

// Codes of refusals that never leave the door. Like those of package messages
// they are part of the API: clients read them in X-Error-Code.
const (
	CodeUnauthorized     = "UNAUTHORIZED"           // no token, or not a good one
	CodeForbidden        = "FORBIDDEN"              // a good token that may not do this
	CodeNoSuchPath       = "PATH_NOT_FOUND"         // not a path of this API
	CodeMethodNotAllowed = "METHOD_NOT_ALLOWED"     // see the Allow header
	CodeBodyTooLarge     = "REQUEST_TOO_LARGE"      // see Options.MaxBodySize
	CodeMediaType        = "UNSUPPORTED_MEDIA_TYPE" // not application/json, or compressed
	CodeThrottled        = "TOO_MANY_REQUESTS"      // see the Retry-After header
)

// verdict is what a client sees of a code.
type verdict struct {
	// status is the answer's when the whole request is refused.
	status int
	// text is the error text or FailureReason.
	text string
	// own: a text that comes with the refusal says more than ours.
	own bool
	// wholly: if every item of a request is refused so, nothing happened and the
	// request as a whole is refused with status, for clients and balancers to repeat.
	wholly bool
}

// verdicts is the one table of errors. Texts of contract sections 1.5 to 1.10
// are exact: clients compare them.
var verdicts = map[string]verdict{
	messages.CodeSessionNotFound:   {status: 400, text: textNoSession},
	messages.CodeSessionNotReady:   {status: 400, text: "The session is not in READY state"},
	messages.CodeSessionDeleted:    {status: 400, text: textNoSession},
	messages.CodeSessionExists:     {status: 400, text: "A session with this id already exists"},
	messages.CodeKeyReused:         {status: 400, text: "The Idempotency-Key was used with a different request"},
	messages.CodeNoServer:          {status: 400, text: "No DCV server found for the given criteria"},
	messages.CodeServerFull:        {status: 400, text: "The DCV server has no room for another session"},
	messages.CodeOwnerLimit:        {status: 400, text: "The owner has as many sessions on the DCV server as allowed"},
	messages.CodeServerUnavailable: {status: 400, text: "The DCV server of the session is not available", own: true},
	messages.CodeServerNotFound:    {status: 400, text: "Dcv server not found."},
	messages.CodeServerHasSessions: {status: 400, text: "The DCV server has sessions; close it with Force to keep them running"},
	messages.CodeQueueFull:         {status: 400, text: "The queue of sessions waiting for a DCV server is full"},
	messages.CodeQueueTimeout:      {status: 400, text: "No DCV server had room for the session in time"},
	messages.CodeInvalid:           {status: 400, text: "The request is not valid", own: true},
	messages.CodeRequirements:      {status: 400, text: "The requirements are not valid", own: true},
	messages.CodeLaunchFailed:      {status: 400, text: "The session could not be created on a DCV server", own: true},
	messages.CodeAgentTimeout:      {status: 503, text: "The agent of the DCV server did not answer in time"},
	messages.CodeAgentFailed:       {status: 400, text: "The agent of the DCV server reported a failure", own: true},
	messages.CodeHostRestarted:     {status: 400, text: "The host of the session was restarted"},
	messages.CodeVanished:          {status: 400, text: "The session is no longer on its host"},
	messages.CodeUnreachable:       {status: 503, text: "The agent of the DCV server cannot be reached"},
	messages.CodeDuplicateIdentity: {status: 400, text: "The identity of the DCV server is in use by another agent"},
	messages.CodeStoreUnavailable:  {status: 503, text: "The broker cannot store anything at the moment", wholly: true},
	messages.CodeBusy:              {status: 429, text: "The broker is busy; try again later", own: true},
	messages.CodeUnknownMessage:    {status: 503, text: "The broker that owns the object is of another version; try again later"},
	messages.CodeNotReady:          {status: 503, text: "The broker is not ready to answer; try again later", wholly: true},
	messages.CodeInternal:          {status: 500, text: "The broker failed to answer; its log has the request id"},
	messages.CodeTimeout:           {status: 503, text: "The broker did not finish in time", own: true},

	CodeUnauthorized:     {status: 401, text: "Not authorized", own: true},
	CodeForbidden:        {status: 403, text: "Not allowed", own: true},
	CodeNoSuchPath:       {status: 404, text: "The path is not part of this API"},
	CodeMethodNotAllowed: {status: 405, text: "The method is not allowed for this path"},
	CodeBodyTooLarge:     {status: 413, text: "The request body is too large"},
	CodeMediaType:        {status: 415, text: "The request body must be application/json", own: true},
	CodeThrottled:        {status: 429, text: "Too many requests", own: true},
}

const (
	textNoSession      = "The requested dcvSession does not exist"
	textNoScreenshot   = "Dcv session not found."
	textNoSessionToUse = "The session was not found"
)

// asked names an operation and a code.
type asked struct {
	op   opName
	code string
}

// texts are where the vendor words one code differently per operation.
var texts = map[asked]string{
	{opScreenshots, messages.CodeSessionNotFound}:    textNoScreenshot,
	{opScreenshots, messages.CodeSessionDeleted}:     textNoScreenshot,
	{opConnectionData, messages.CodeSessionNotFound}: textNoSessionToUse,
	{opConnectionData, messages.CodeSessionDeleted}:  textNoSessionToUse,
}

// judge looks a refusal up; a code the table does not know is our own fault.
func judge(op opName, r *messages.Refusal) verdict {
	v, known := verdicts[r.GetCode()]
	if !known {
		return verdicts[messages.CodeInternal]
	}
	if text, special := texts[asked{op, r.GetCode()}]; special {
		v.text = text
	} else if v.own && r.GetText() != "" {
		v.text = r.GetText()
	}
	return v
}

// refusedError is the refusal of a whole request.
type refusedError struct{ refusal *messages.Refusal }

func refuse(r *messages.Refusal) error { return &refusedError{r} }

func (e *refusedError) Error() string {
	return "rest: " + e.refusal.GetCode() + ": " + e.refusal.GetText()
}

// asRefusal turns any error into a refusal. What is not ours to tell becomes an
// internal error without a word of the cause.
func asRefusal(err error) *messages.Refusal {
	if refused, ok := errors.AsType[*refusedError](err); ok {
		return refused.refusal
	}
	return &messages.Refusal{Code: messages.CodeInternal}
}

// retryAfterSeconds is the Retry-After of a refusal; 0 = none.
func retryAfterSeconds(r *messages.Refusal, status int) int64 {
	if ms := r.GetRetryAfterMs(); ms > 0 {
		return (ms + 999) / 1000
	}
	if status == fasthttp.StatusServiceUnavailable || status == fasthttp.StatusTooManyRequests {
		return 1
	}
	return 0
}
