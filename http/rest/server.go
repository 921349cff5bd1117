package rest

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/fasthttp/router"
	"github.com/go-json-experiment/json"
	"github.com/valyala/fasthttp"

	"opensessionmanager/http/audit"
	"opensessionmanager/http/listen"
	"opensessionmanager/http/rest/openapi"
	"opensessionmanager/messages"
)

const (
	headerRequestID      = "X-Request-Id"
	headerErrorCode      = "X-Error-Code"
	headerIdempotencyKey = "Idempotency-Key"
	contentTypeJSON      = "application/json"
	userValuePrincipal   = "principal"
)

// Requests that fail by a fault of ours are logged no faster than this: with a store or
// an authorization server away, each request of a stranger is one.
const (
	faultsPerSecond = 20
	faultsAtOnce    = 100
)

// Server answers the client API. It has no goroutine of its own.
type Server struct {
	cfg    Config
	opt    Options
	log    *slog.Logger
	trail  *audit.Trail
	faults *audit.Bounded // lines about requests that failed by a fault of ours
	base   context.Context
	strict json.Options
	pages  pageTokens
	ids    sessionIDs
	routes *router.Router
	bodies map[string]string // by path: the method whose requests may have a body
}

// New makes a Server. It panics if Fleet, Connections or Logger is missing:
// that is a mistake of the program, not of its input.
func New(cfg Config) *Server {
	if cfg.Fleet == nil || cfg.Connections == nil || cfg.Logger == nil {
		panic("rest: Config needs Fleet, Connections and Logger")
	}
	if cfg.Base == nil {
		cfg.Base = context.Background()
	}
	if cfg.Audit == nil {
		cfg.Audit = audit.New(nil, cfg.Logger)
	}
	if len(cfg.Secret) == 0 {
		cfg.Secret = []byte(rand.Text())
	}
	s := &Server{
		cfg:    cfg,
		opt:    cfg.Options.withDefaults(),
		log:    cfg.Logger,
		trail:  cfg.Audit,
		faults: audit.NewBounded(faultsPerSecond, faultsAtOnce),
		base:   cfg.Base,
		strict: json.RejectUnknownMembers(true),
		pages:  newPageTokens(cfg.Secret),
		ids:    newSessionIDs(cfg.Secret),
		bodies: make(map[string]string),
	}
	s.routes = s.newRoutes()
	return s
}

func (s *Server) newRoutes() *router.Router {
	r := router.New()
	r.RedirectTrailingSlash, r.RedirectFixedPath, r.HandleOPTIONS = false, false, false
	r.NotFound = s.notFound
	r.MethodNotAllowed = s.methodNotAllowed

	withBody := func(method, path string, handler fasthttp.RequestHandler) {
		r.Handle(method, path, handler)
		s.bodies[path] = method
	}
	withBody("POST", "/describeSessions", operation(s, opDescribeSessions, optionalJSON, s.describeSessions))
	withBody("POST", "/describeServers", operation(s, opDescribeServers, optionalJSON, s.describeServers))
	withBody("POST", "/createSessions", operation(s, opCreateSessions, requiredJSON, s.createSessions))
	withBody("POST", "/deleteSessions", operation(s, opDeleteSessions, requiredJSON, s.deleteSessions))
	withBody("PUT", "/sessionPermissions", operation(s, opUpdatePermissions, requiredJSON, s.updateSessionPermissions))
	r.GET("/sessionConnectionData/{sessionId}/{user}", operation(s, opConnectionData, pathOnly, s.sessionConnectionData))
	withBody("POST", "/getSessionScreenshots", operation(s, opScreenshots, requiredJSON, s.sessionScreenshots))
	withBody("POST", "/openServers", operation(s, opOpenServers, requiredJSON, s.openServers))
	withBody("POST", "/closeServers", operation(s, opCloseServers, requiredJSON, s.closeServers))

	r.GET("/health", s.health)
	r.HEAD("/health", s.health) // the library leaves the body out
	if s.cfg.TokenEndpoint != nil {
		withBody("POST", pathToken, s.cfg.TokenEndpoint)
	}
	if s.cfg.JWKS != nil {
		r.GET("/.well-known/jwks.json", s.cfg.JWKS)
	}
	if s.cfg.EnableAPIYAML {
		r.GET("/api.yaml", apiYAML)
	}
	return r
}

// Handler is the handler of the client port, which asks Admit about bodies.
func (s *Server) Handler() fasthttp.RequestHandler { return s.serve }

// serve gives every request an id, and one line in the log.
func (s *Server) serve(rc *fasthttp.RequestCtx) {
	setRequestID(rc)
	defer s.logAccess(rc)
	defer s.recovered(rc)
	s.routes.Handler(rc)
}

// recovered keeps a panic inside its request: the client gets a 500 with the id
// under which the log has the stack.
func (s *Server) recovered(rc *fasthttp.RequestCtx) {
	cause := recover()
	if cause == nil {
		return
	}
	s.log.Error("request panicked", "request_id", requestID(rc), "panic", shorten(fmt.Sprint(cause), maxProblemText),
		"stack", string(debug.Stack()))
	rc.Response.ResetBody()
	s.fail(rc, opNone, refuse(&messages.Refusal{Code: messages.CodeInternal}))
}

// logAccess writes the line of a request: failures of ours, the rest for debugging.
func (s *Server) logAccess(rc *fasthttp.RequestCtx) {
	status := rc.Response.StatusCode()
	fault := status >= fasthttp.StatusInternalServerError
	if !fault && !s.log.Enabled(s.base, slog.LevelDebug) {
		return
	}
	attrs := func() []slog.Attr {
		principal, _ := rc.UserValue(userValuePrincipal).(string)
		return []slog.Attr{
			slog.String("request_id", requestID(rc)),
			slog.String("method", shorten(string(rc.Method()), 20)),
			slog.String("path", shorten(string(rc.URI().PathOriginal()), 200)),
			slog.Int("status", status),
			slog.String("code", string(rc.Response.Header.Peek(headerErrorCode))),
			slog.String("client", principal),
			listen.Remote(rc),
			slog.Duration("took", time.Since(rc.Time())),
		}
	}
	if fault {
		s.faults.Write(s.log, slog.LevelError, "client request", attrs)
		return
	}
	s.log.LogAttrs(s.base, slog.LevelDebug, "client request", attrs()...)
}

// setRequestID gives a request its id, which the answer carries as a header.
func setRequestID(rc *fasthttp.RequestCtx) {
	var id [uuidLength]byte
	rc.Response.Header.SetBytesV(headerRequestID, appendRandomUUID(id[:0]))
}

func requestID(rc *fasthttp.RequestCtx) string {
	return string(rc.Response.Header.Peek(headerRequestID))
}

// methodNotAllowed corrects the router's Allow, which always names OPTIONS too.
func (s *Server) methodNotAllowed(rc *fasthttp.RequestCtx) {
	allowed := strings.Split(string(rc.Response.Header.Peek(fasthttp.HeaderAllow)), ", ")
	allowed = slices.DeleteFunc(allowed, func(method string) bool { return method == fasthttp.MethodOptions })
	rc.Response.Header.Set(fasthttp.HeaderAllow, strings.Join(allowed, ", "))
	s.fail(rc, opNone, refuse(&messages.Refusal{Code: CodeMethodNotAllowed}))
}

func (s *Server) notFound(rc *fasthttp.RequestCtx) {
	s.fail(rc, opNone, refuse(&messages.Refusal{Code: CodeNoSuchPath}))
}

func (s *Server) health(rc *fasthttp.RequestCtx) {
	ready, body := true, []byte(`{"status":"UP"}`)
	if s.cfg.Health != nil {
		ready, body = s.cfg.Health()
	}
	if !ready {
		rc.SetStatusCode(fasthttp.StatusServiceUnavailable)
	}
	rc.SetContentType(contentTypeJSON)
	rc.SetBody(body)
}

func apiYAML(rc *fasthttp.RequestCtx) {
	rc.SetContentType("application/yaml")
	rc.SetBodyString(openapi.YAML())
}
