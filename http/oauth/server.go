package oauth

import (
	"context"
	"errors"
	"log/slog"
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
	// Audit is told of refusals, registrations and connections; nil: there is only the log.
	Audit *audit.Trail
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
	apiTokens   *accessTokens
	agentTokens *accessTokens
	connections *jwt.Parser
	verified    *cache
	trail       *audit.Trail
	guesses     *listen.Throttle[guess]
}

// New reads the API clients and returns a Server that is ready.
func New(ctx context.Context, cfg Config) (*Server, error) {
	if cfg.Store == nil || cfg.Keys == nil || cfg.Logger == nil || cfg.Now == nil ||
		cfg.ConnectionTokenLifetime <= 0 || cfg.SessionAlive == nil {
		return nil, ErrConfig
	}
	if cfg.Audit == nil {
		cfg.Audit = audit.New(nil, cfg.Logger)
	}
	clients, err := LoadClients(ctx, cfg.Store, cfg.Keys, cfg.Now)
	if err != nil {
		return nil, err
	}
	return &Server{
		cfg:         cfg,
		clients:     clients,
		statements:  NewStatements(cfg.Store, cfg.Now),
		agents:      NewAgentClients(cfg.Store, cfg.Keys, cfg.Now),
		apiTokens:   newAccessTokens(cfg.Keys, audienceAPI, cfg.Now),
		agentTokens: newAccessTokens(cfg.Keys, audienceAgent, cfg.Now),
		connections: newParser(cfg.Now),
		verified:    &cache{},
		trail:       cfg.Audit,
		guesses:     listen.NewThrottle[guess](guessesPerSecond, guessesAtOnce),
	}, nil
}

// Clients are the API clients.
func (s *Server) Clients() *Clients { return s.clients }

// Statements are the software statements.
func (s *Server) Statements() *Statements { return s.statements }

// Agents are the registered agents.
func (s *Server) Agents() *AgentClients { return s.agents }

// Run adopts other brokers' changes of API clients every interval until ctx
// ends: so long may a client live on here that was unregistered elsewhere.
func (s *Server) Run(ctx context.Context, interval time.Duration) {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	failing := false
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		bounded, cancel := context.WithTimeout(ctx, max(interval, storeWait))
		err := s.clients.Refresh(bounded)
		cancel()
		if err != nil && !failing && ctx.Err() == nil {
			s.cfg.Logger.Warn("API clients cannot be refreshed, trying on", slog.Any("error", err))
		}
		failing = err != nil
	}
}
