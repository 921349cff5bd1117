package oauth

import (
	"errors"
	"fmt"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/uuid"
)

// ErrUser: a session id, owner or user that cannot be put into a connection token.
var ErrUser = errors.New("oauth: invalid session or user for a connection token")

// maxClaim bounds a session id, owner or user in bytes.
const maxClaim = 1024

// maxConnectionToken bounds a connection token in bytes; ours have less than 6,000.
const maxConnectionToken = 8 << 10

// connectionClaims are the vendor's (contract section 1.8), and one of ours.
type connectionClaims struct {
	SessionID string           `json:"dcvSessionId"`
	Owner     string           `json:"dcvSessionOwner"`
	User      string           `json:"dcvSessionUser"`
	ExpiresAt *jwt.NumericDate `json:"exp"`
	IssuedAt  *jwt.NumericDate `json:"iat"`
	ID        string           `json:"jti"`
	// BrokerSessionID is there only if the broker knows the session under another id
	// than its host does: each host may have its own session "console".
	BrokerSessionID string `json:"brokerSessionId,omitempty"`
}

// The methods make connectionClaims jwt.Claims.

func (c connectionClaims) GetExpirationTime() (*jwt.NumericDate, error) { return c.ExpiresAt, nil }
func (c connectionClaims) GetIssuedAt() (*jwt.NumericDate, error)       { return c.IssuedAt, nil }
func (c connectionClaims) GetNotBefore() (*jwt.NumericDate, error)      { return nil, nil }
func (c connectionClaims) GetIssuer() (string, error)                   { return "", nil }
func (c connectionClaims) GetSubject() (string, error)                  { return "", nil }
func (c connectionClaims) GetAudience() (jwt.ClaimStrings, error)       { return nil, nil }

const typeConnection = "JWT"

// SignConnection issues the token with which user connects to a session that its
// DCV server knows as dcvSessionID. Who may do so is for the caller to decide.
// ErrUser if a text is empty, longer than 1,024 bytes, not UTF-8 or has control
// characters.
func (s *Server) SignConnection(sessionID, dcvSessionID, owner, user string) (string, error) {
	for _, text := range []string{sessionID, dcvSessionID, owner, user} {
		if text == "" || len(text) > maxClaim || !printable(text) {
			return "", fmt.Errorf("%w: want 1 to %d bytes of printable UTF-8", ErrUser, maxClaim)
		}
	}
	now := s.cfg.Now()
	alias := ""
	if sessionID != dcvSessionID {
		alias = sessionID
	}
	return s.cfg.Keys.connection.signer().sign(typeConnection, connectionClaims{
		SessionID: dcvSessionID,
		Owner:     owner,
		User:      user,
		ExpiresAt: jwt.NewNumericDate(now.Add(s.cfg.ConnectionTokenLifetime)),
		IssuedAt:  jwt.NewNumericDate(now),
		ID:        uuid.NewString(),

		BrokerSessionID: alias,
	})
}

// ValidateConnection says as whom the bearer of token may use the session that a DCV
// server knows as dcvSessionID, or why not, once the session still counts. Tokens may
// be used more than once: DCV asks again for each channel a client opens.
func (s *Server) ValidateConnection(token, dcvSessionID string) (user, reason string, ok bool) {
	if len(token) > maxConnectionToken {
		return "", "Invalid token: it is too long", false
	}
	var claims connectionClaims
	var key *verifyKey
	lookup := s.cfg.Keys.connection.lookup(typeConnection, s.cfg.Now(), &key)
	if _, err := s.connections.ParseWithClaims(token, &claims, lookup); errors.Is(err, ErrUnavailable) {
		return "", "The token cannot be checked now", false
	} else if err != nil {
		return "", "Invalid token: " + tokenFault(err), false
	}
	if claims.SessionID != dcvSessionID {
		return "", "Invalid token: it is for another session", false
	}
	sessionID := claims.SessionID
	if claims.BrokerSessionID != "" {
		sessionID = claims.BrokerSessionID
	}
	if !s.cfg.SessionAlive(sessionID) {
		return "", "The session does not exist", false
	}
	return claims.User, "", true
}
