package oauth

import (
	"context"
	"crypto/x509"
	"errors"
	"log/slog"
	"net/netip"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"opensessionmanager/http/audit"
	"opensessionmanager/http/listen"
	"opensessionmanager/persistence"
)

// Config is what a Server needs; every field is required, the switches aside.
type Config struct {
	Store  persistence.Store
	Keys   *Keys
	Logger *slog.Logger
	Now    func() time.Time
	// Changed is called by Run after administrators changed something, on whatever
	// broker, until it returns nil, and once more: what was under way is seen then. It is
	// also called after every 120 intervals, for a change that nobody was told of. It has
	// half a minute. Nil is none.
	Changed func(context.Context) error
	// Restored is called when the store was found to be older than it was. It must not
	// block; nil is none.
	Restored func()
	// Audit is told of refusals, registrations and connections; nil: there is only the log.
	Audit *audit.Trail
	// EnableServer false makes tokens of external authorization servers the only ones
	// of the API (enable-authorization-server). Agents' tokens are not affected.
	EnableServer bool
	// AuthServerRoots sign the certificates of external authorization servers; nil are
	// the machine's.
	AuthServerRoots *x509.CertPool
	// EpochFile remembers how new the store was, so that one put back from a backup is
	// noticed at the next start (F52). Empty: it is not.
	EpochFile string
	// EnableAuthorization false lets everybody use the API (enable-authorization).
	EnableAuthorization bool
	// EnableAgentAuthorization false lets every agent in (enable-agent-authorization).
	EnableAgentAuthorization bool
	// ConnectionTokenLifetime is connect-session-token-duration-minutes.
	ConnectionTokenLifetime time.Duration
	// SessionAlive reports whether connection tokens of a session still count:
	// false once it is unknown, deleting or deleted (F34).
	SessionAlive func(sessionID string) bool
}

// ErrConfig: a required field of Config is missing.
var ErrConfig = errors.New("oauth: incomplete configuration")

// Server is the authorization server and the check of its tokens. Its methods
// may be called concurrently.
type Server struct {
	cfg         Config
	clients     *Clients
	statements  *Statements
	agents      *AgentClients
	enrolments  *Enrolments
	servers     *AuthServers
	epoch       epoch
	apiTokens   *accessTokens
	agentTokens *accessTokens
	connections *jwt.Parser
	verified    *cache
	trail       *audit.Trail
	guesses     *listen.Throttle[guess]
	outages     *audit.Bounded
	newAgents   *listen.Throttle[netip.Addr]
}

// New reads the API clients and authorization servers, whose keys it begins to fetch,
// and returns a Server that is ready. Close ends the fetching.
func New(ctx context.Context, cfg Config) (*Server, error) {
	if cfg.Store == nil || cfg.Keys == nil || cfg.Logger == nil || cfg.Now == nil ||
		cfg.ConnectionTokenLifetime <= 0 || cfg.SessionAlive == nil {
		return nil, ErrConfig
	}
	if cfg.Audit == nil {
		cfg.Audit = audit.New(nil, cfg.Logger)
	}
	s := &Server{
		cfg:         cfg,
		statements:  NewStatements(cfg.Store, cfg.Now),
		epoch:       epoch{shelf[epochRecord]{cfg.Store, kindEpoch}, cfg.EpochFile, fleetName(cfg.Keys)},
		apiTokens:   newAccessTokens(cfg.Keys, audienceAPI, cfg.Now),
		agentTokens: newAccessTokens(cfg.Keys, audienceAgent, cfg.Now),
		connections: newParser(cfg.Now),
		verified:    &cache{},
		trail:       cfg.Audit,
		guesses:     listen.NewThrottle[guess](guessesPerSecond, guessesAtOnce),
		outages:     audit.NewBounded(outagesPerSecond, outagesAtOnce),
		newAgents:   listen.NewThrottle[netip.Addr](newAgentsPerSecond, newAgentsAtOnce),
	}
	s.agents = newAgentClients(cfg, s.epoch)
	s.enrolments = newEnrolments(cfg, s.agents)
	seen, err := s.epoch.read(ctx)
	if err != nil {
		return nil, err
	}
	if err := s.checkEpoch(ctx, s.epoch.remembered(), seen); err != nil {
		return nil, err
	}
	if s.clients, err = loadClients(ctx, cfg, s.epoch); err != nil {
		return nil, err
	}
	s.servers, err = loadAuthServers(ctx, cfg, s.epoch)
	return s, err
}

// Close ends what runs for the external authorization servers. Tokens of theirs are
// refused from then on.
func (s *Server) Close() { s.servers.close() }

// AuthServers are the external authorization servers.
func (s *Server) AuthServers() *AuthServers { return s.servers }

// RenewKeys replaces the keys that sign tokens, on all brokers. Tokens that were
// issued stay good. ErrTooManyKeys, or an error of the store.
func (s *Server) RenewKeys(ctx context.Context) error {
	if err := s.cfg.Keys.Renew(ctx, s.cfg.Now(), s.cfg.ConnectionTokenLifetime, false); err != nil {
		return err
	}
	return s.epoch.announce(ctx)
}

// Clients are the API clients.
func (s *Server) Clients() *Clients { return s.clients }

// Statements are the software statements.
func (s *Server) Statements() *Statements { return s.statements }

// Agents are the registered agents.
func (s *Server) Agents() *AgentClients { return s.agents }

// Enrolments are the one-time enrolment tokens.
func (s *Server) Enrolments() *Enrolments { return s.enrolments }
