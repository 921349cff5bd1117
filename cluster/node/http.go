package node

import (
	"bytes"
	"context"
	"crypto/x509"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/fasthttp/router"
	"github.com/valyala/fasthttp"

	"opensessionmanager/actors"
	"opensessionmanager/http/admin"
	"opensessionmanager/http/admin/adminclient"
	"opensessionmanager/http/agentws"
	"opensessionmanager/http/audit"
	"opensessionmanager/http/dnsmapping"
	"opensessionmanager/http/listen"
	"opensessionmanager/http/oauth"
	"opensessionmanager/http/rest"
	"opensessionmanager/internal/agentproto"
	"opensessionmanager/internal/certs"
	"opensessionmanager/internal/config"
	"opensessionmanager/internal/version"
	"opensessionmanager/messages"
)

// maxAgentForm bounds the bodies of the agent port in bytes.
const maxAgentForm = 64 << 10

// clientRefresh is how soon a change that an administrator made elsewhere is seen here.
const clientRefresh = 500 * time.Millisecond

func (n *Node) openAuthorization(ctx context.Context) error {
	keys, err := oauth.LoadKeys(ctx, n.records())
	if err != nil {
		return err
	}
	n.keys = keys
	cfg := n.opt.Config
	roots, err := authServerRoots(string(cfg.Authorization.AuthServerCA))
	if err != nil {
		return err
	}
	n.auth, err = oauth.New(ctx, oauth.Config{
		Store: n.records(), Keys: keys, Logger: n.log, Audit: n.audit, Now: time.Now, AuthServerRoots: roots, EpochFile: n.epochFile(),
		EnableServer: cfg.Authorization.EnableServer, Changed: n.dropRevoked, Restored: n.lookAgain,
		EnableAuthorization: cfg.Authorization.EnableClient, EnableAgentAuthorization: cfg.Authorization.EnableAgent,
		ConnectionTokenLifetime: cfg.Sessions.TokenDuration, SessionAlive: n.sessionAlive,
	})
	if err != nil {
		return err
	}
	n.onStop(func(context.Context) error { n.auth.Close(); return nil })
	n.background(func(ctx context.Context) { n.auth.Run(ctx, clientRefresh) })
	if !cfg.Authorization.EnableClient {
		n.log.Warn("authorization is off: whoever reaches the client port controls every session", "key", "enable-authorization")
	}
	if cfg.Authorization.EnableClient && !cfg.Authorization.EnableServer {
		n.log.Warn("the broker issues no access tokens: clients need one of a registered authorization server", "key", "enable-authorization-server")
	}
	if !cfg.Authorization.EnableAgent {
		n.log.Warn("agent authorization is off: whoever reaches the agent port can pose as a DCV server", "key", "enable-agent-authorization")
	}
	return nil
}

// epochFile is where the age of the store is remembered; a store in memory has none.
func (n *Node) epochFile() string {
	if n.opt.Store != nil || n.opt.Config.Storage.StateStore == "memory" {
		return ""
	}
	return filepath.Join(n.workingPath(), "authorization-epoch")
}

// authServerRoots reads the CA of external authorization servers; nil are the machine's.
func authServerRoots(file string) (*x509.CertPool, error) {
	if file == "" {
		return nil, nil
	}
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("auth-server-ca-file: %w", err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("auth-server-ca-file: %s holds no certificate", file)
	}
	return roots, nil
}

// sessionAlive says whether connection tokens of a session still count (F34).
func (n *Node) sessionAlive(id string) bool {
	if !n.ready.Load() {
		return true // a token was signed; a broker that does not know yet must not refuse it
	}
	entry, ok := n.deps.Roster.Snapshot().Session(id)
	if !ok {
		return picture{n.deps.Roster, n}.Behind() != nil // else another broker may know it
	}
	switch entry.View.GetState() {
	case messages.SessionState_SESSION_STATE_READY, messages.SessionState_SESSION_STATE_UNKNOWN:
		return true
	default:
		return false
	}
}

// listen opens the ports before the sessions are loaded, so that a load balancer is
// told 503 rather than refused.
func (n *Node) listen(ctx context.Context) (err error) {
	perSecond := n.opt.Config.Throttling.RequestsPerSecond
	n.throttle = listen.NewThrottle[netip.Addr](float64(perSecond), perSecond)
	n.sockets = listen.NewThrottle[netip.Addr](float64(perSecond), perSecond)
	client, agent := n.opt.Config.Client.Connector(), n.opt.Config.Agent.Connector()
	if err := n.openAgentPort(agent); err != nil {
		return err
	}
	if err := n.openAdminPort(ctx); err != nil {
		return err
	}
	// Last, so that it is the first to stop: requests under way still reach agents.
	n.client, err = n.port("client", client, n.throttled(n.serveClient), limits{header: 20 << 10, body: 4 << 20, conns: 4096, drain: drainOpen, admit: n.admitClient,
		proxies: n.proxies(n.opt.Config.Proxies.OnClient())})
	return err
}

// agentPort is the name of the port whose authority enrolling hosts are told of.
const agentPort = "agent"

// limits bounds what a request to a port may be, in bytes, and how many connections
// there may be: an agent keeps one, a client of the API few. The header buffer of the
// agent port lives as long as a socket, and there are many.
type limits struct {
	header, body, conns int
	drain               time.Duration
	admit               func(*fasthttp.RequestHeader) listen.Admission
	proxies             listen.Proxies
}

// drainOpen is how long a broker that stops still answers on the connections that clients
// of the API hold: a few of their requests.
const drainOpen = 500 * time.Millisecond

func (n *Node) port(name string, c config.Connector, handler fasthttp.RequestHandler, most limits) (*listen.Server, error) {
	tlsConfig, err := n.connectorTLS(c)
	if err != nil {
		return nil, fmt.Errorf("%s port: %w", name, err)
	}
	if name == agentPort {
		n.agentTLS = tlsConfig
	}
	s, err := listen.New(listen.Config{Name: name, Addr: net.JoinHostPort(c.BindHost, strconv.Itoa(c.Port)), TLS: tlsConfig,
		Handler: handler, Logger: n.log, HeaderBytes: most.header, MaxBodyBytes: most.body, MaxConns: most.conns, Admit: most.admit, Proxies: most.proxies, DrainTime: most.drain})
	if err != nil {
		return nil, fmt.Errorf("%s port: %w", name, err)
	}
	s.Start()
	n.onStop(s.Shutdown)
	return s, nil
}

// proxies are the load balancers in front of a port, who say who calls.
func (n *Node) proxies(protocol bool) listen.Proxies {
	cfg := n.opt.Config
	return listen.Proxies{Trusted: cfg.Proxies.Networks(), Protocol: protocol, Forwarded: cfg.Throttling.ForwardHeader}
}

// throttled bounds what each caller may ask of both ports together, tokens included
// (max-api-requests-per-second). Balancers ask for the health as often as they like, and
// the hosts behind one address may all come back at once: their sockets have bounds of
// their own, and count here only where they are refused.
func (n *Node) throttled(next fasthttp.RequestHandler) fasthttp.RequestHandler {
	refused := func(rc *fasthttp.RequestCtx) {
		n.audit.Refuse(rc, "too many requests", audit.Event{Act: "throttle", Code: listen.CodeThrottled})
	}
	next = listen.ThrottledRefusals(next, n.sockets, refused, agentproto.PathSocket)
	return listen.Throttled(next, n.throttle, refused, "/health", agentproto.PathSocket)
}

// serveClient answers on the client port once there is something to answer from.
func (n *Node) serveClient(rc *fasthttp.RequestCtx) {
	if api := n.api.Load(); api != nil {
		api.Handler()(rc)
		return
	}
	n.notReady(rc)
}

func (n *Node) admitClient(h *fasthttp.RequestHeader) listen.Admission {
	if api := n.api.Load(); api != nil {
		return api.Admit(h)
	}
	return listen.Admission{}
}

func (n *Node) notReady(rc *fasthttp.RequestCtx) {
	if string(rc.Path()) == "/health" {
		rc.SetStatusCode(fasthttp.StatusServiceUnavailable)
		rc.SetContentType("application/json")
		rc.SetBody(n.healthBody("starting"))
		return
	}
	listen.Fail(rc, fasthttp.StatusServiceUnavailable, messages.CodeNotReady, "The broker is starting")
	rc.Response.Header.Set("Retry-After", "1")
}

func (n *Node) healthBody(status string) []byte {
	return fmt.Appendf(nil, `{"status": %q, "version": %q}`, status, version.String())
}

// health is what a load balancer goes by: a broker whose store fails is not ready.
func (n *Node) health() (bool, []byte) {
	switch {
	case !n.ready.Load():
		return false, n.healthBody("starting")
	case n.storeFails():
		return false, n.healthBody("store unavailable")
	case n.fleet.Contact() != nil:
		return false, n.healthBody("out of contact with the fleet")
	default:
		return true, n.healthBody("ok")
	}
}

func (n *Node) serveAPI() {
	cfg := n.opt.Config
	options := rest.DefaultOptions()
	options.ScreenshotMaxWidth, options.ScreenshotMaxHeight = int64(cfg.Screenshots.MaxWidth), int64(cfg.Screenshots.MaxHeight)
	options.ScreenshotFormat = cfg.Screenshots.Format
	options.AutorunMaxArguments, options.AutorunMaxArgumentLength = cfg.Autorun.MaxArguments, cfg.Autorun.MaxArgumentLength
	api := rest.Config{Base: n.base, Fleet: n.gateway, Connections: n.auth, Authorizer: n.auth, Health: n.health, Logger: n.log, Audit: n.audit,
		Secret: n.keys.Secret("client-api"), EnableAPIYAML: cfg.Client.EnableAPIYAML, Options: options}
	if cfg.Authorization.EnableServer {
		api.TokenEndpoint, api.JWKS = n.auth.TokenHandler(), n.auth.JWKSHandler()
	}
	n.api.Store(rest.New(api))
}

// attacher hands sockets to the actors.
type attacher struct{ links *actors.Links }

func (a attacher) Attach(conn agentws.Conn, agentClientID string) (agentws.Link, error) {
	return a.links.Attach(conn, agentClientID)
}

func (n *Node) openAgentPort(c config.Connector) error {
	agents, err := agentws.New(agentws.Config{Authorize: n.auth.AuthorizeAgent, Attacher: attacher{n.links},
		Logger: n.log, Audit: n.audit, PingInterval: n.opt.Config.Agent.PingInterval})
	if err != nil {
		return err
	}
	n.agents.Store(agents)
	r := router.New()
	r.RedirectTrailingSlash, r.RedirectFixedPath = false, false
	r.POST(agentproto.PathRegister, n.auth.RegisterHandler())
	r.GET(agentproto.PathCA, n.serveAuthority)
	r.POST(agentproto.PathToken, n.auth.AgentTokenHandler())
	r.GET(agentproto.PathSocket, agents.Handler())
	r.POST(agentproto.PathValidate, n.auth.ValidateHandler())
	r.GET("/health", n.serveHealth)
	r.HEAD("/health", n.serveHealth)
	r.NotFound = func(rc *fasthttp.RequestCtx) {
		listen.Fail(rc, fasthttp.StatusNotFound, "NO_SUCH_PATH", "No such path")
	}
	r.MethodNotAllowed = func(rc *fasthttp.RequestCtx) {
		listen.Fail(rc, fasthttp.StatusMethodNotAllowed, "METHOD_NOT_ALLOWED", "Method not allowed")
	}
	n.agent, err = n.port(agentPort, c, n.throttled(func(rc *fasthttp.RequestCtx) {
		if !n.ready.Load() && string(rc.Path()) != "/health" {
			n.notReady(rc) // an agent comes again; a report now would meet half a roster
			return
		}
		r.Handler(rc)
	}), limits{header: 4 << 10, body: maxAgentForm, conns: 16384, admit: n.admitAgent, proxies: n.proxies(n.opt.Config.Proxies.OnAgent())})
	if err != nil {
		return err
	}
	n.onStop(func(ctx context.Context) error { return agents.Shutdown(ctx, "the broker stops") })
	n.background(func(ctx context.Context) { n.followContact(ctx, agents) })
	return nil
}

func (n *Node) serveHealth(rc *fasthttp.RequestCtx) {
	ready, body := n.health()
	if !ready {
		rc.SetStatusCode(fasthttp.StatusServiceUnavailable)
	}
	rc.SetContentType("application/json")
	rc.SetBody(body)
}

// admitAgent lets in what the endpoints for agents and DCV servers read: forms and a
// registration, of which nobody knows yet who sends them.
func (n *Node) admitAgent(h *fasthttp.RequestHeader) listen.Admission {
	path, _, _ := bytes.Cut(h.RequestURI(), []byte{'?'})
	switch {
	case !n.ready.Load() || !h.IsPost():
	case string(path) == agentproto.PathRegister, string(path) == agentproto.PathToken, string(path) == agentproto.PathValidate:
		return listen.Admission{MaxBytes: maxAgentForm, Anonymous: true}
	}
	return listen.Admission{}
}

// openAdminPort listens on the loopback address for the admin commands, and leaves
// them a note where and with what credential.
func (n *Node) openAdminPort(ctx context.Context) error {
	credential, err := admin.Credential(n.workingPath())
	if err != nil {
		return err
	}
	handler := admin.Handler(admin.Config{Credential: credential, OAuth: n.auth, DNSMappings: dnsmapping.New(n.records()), BrokerVersion: version.String(), Authority: n.agentAuthority, Logger: n.log, Audit: n.audit})
	n.admin, err = n.port("admin", config.Connector{Port: n.opt.Config.Admin.Port, BindHost: "127.0.0.1"}, handler, limits{header: 8 << 10, body: admin.MaxBodyBytes})
	if err != nil {
		return err
	}
	n.onStop(func(context.Context) error { return admin.Withdraw(n.workingPath()) })
	err = admin.Publish(n.workingPath(), adminclient.Endpoint{Address: n.AdminAddr(), CAFile: filepath.Join("security", certs.CAFile), ServerName: "localhost"})
	if err != nil {
		return err
	}
	// After that: a command that found no broker looks once more when it has left its note.
	n.takePending(ctx)
	return nil
}
