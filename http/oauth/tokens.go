package oauth

import (
	"errors"
	"fmt"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/uuid"
)

const (
	// AccessTokenLifetime is the expires_in of the vendor's answer.
	AccessTokenLifetime = time.Hour
	// skew is how far clocks may differ between brokers (F16).
	skew = time.Minute
	// maxToken bounds a token in bytes before anything looks at it.
	// Tokens of external servers with many roles have several thousand.
	maxToken = 16 << 10

	issuer        = "dcv-session-manager-broker"
	audienceAPI   = "dcv-session-manager"
	audienceAgent = "dcv-session-manager-agent"
	typeAccess    = "at+jwt" // RFC 9068
)

// accessClaims are those of RFC 9068 that a client-credentials token needs.
type accessClaims struct {
	jwt.RegisteredClaims
	ClientID string `json:"client_id"`
}

// accessTokens signs and checks the access tokens of one audience.
type accessTokens struct {
	keys     *ring
	audience string
	parser   *jwt.Parser
	now      func() time.Time
}

func newAccessTokens(keys *Keys, audience string, now func() time.Time) *accessTokens {
	return &accessTokens{
		keys: keys.access, audience: audience, now: now,
		parser: newParser(now, jwt.WithAudience(audience), jwt.WithIssuer(issuer)),
	}
}

func newParser(now func() time.Time, more ...jwt.ParserOption) *jwt.Parser {
	return bareParser(now, append(more, jwt.WithValidMethods([]string{jwt.SigningMethodES256.Alg()}))...) // never none, never HS
}

// bareParser is given the methods by its caller.
func bareParser(now func() time.Time, more ...jwt.ParserOption) *jwt.Parser {
	return jwt.NewParser(append(more,
		jwt.WithExpirationRequired(),
		jwt.WithIssuedAt(),
		jwt.WithLeeway(skew),
		jwt.WithStrictDecoding(),
		jwt.WithTimeFunc(now))...)
}

func (a *accessTokens) sign(clientID string) (string, error) {
	now := a.now()
	return a.keys.signer().sign(typeAccess, accessClaims{
		RegisteredClaims: jwt.RegisteredClaims{
			Issuer:    issuer,
			Audience:  jwt.ClaimStrings{a.audience},
			Subject:   clientID,
			ExpiresAt: jwt.NewNumericDate(now.Add(AccessTokenLifetime)),
			IssuedAt:  jwt.NewNumericDate(now),
			ID:        uuid.NewString(),
		},
		ClientID: clientID,
	})
}

// verify returns the client, when the token stops counting, and the key it was signed with.
func (a *accessTokens) verify(token string) (clientID string, until time.Time, key *verifyKey, err error) {
	var claims accessClaims
	if _, err := a.parser.ParseWithClaims(token, &claims, a.keys.lookup(typeAccess, a.now(), &key)); err != nil {
		return "", time.Time{}, nil, tokenError(err)
	}
	return claims.Subject, claims.ExpiresAt.Add(skew), key, nil
}

// tokenError is ErrInvalidToken with the reason, or ErrUnavailable.
func tokenError(err error) error {
	if errors.Is(err, ErrUnavailable) {
		return ErrUnavailable
	}
	return fmt.Errorf("%w: %s", ErrInvalidToken, tokenFault(err))
}

func (k signer) sign(typ string, claims jwt.Claims) (string, error) {
	token := jwt.NewWithClaims(jwt.SigningMethodES256, claims)
	token.Header["typ"] = typ
	token.Header["kid"] = k.id
	signed, err := token.SignedString(k.private)
	if err != nil {
		return "", fmt.Errorf("oauth: sign token: %w", err)
	}
	return signed, nil
}

var errForeignKey = errors.New("oauth: not our key")

// lookup finds the public key for a token that claims to be of the given type, and
// leaves it in found.
func (r *ring) lookup(typ string, now time.Time, found **verifyKey) jwt.Keyfunc {
	return func(token *jwt.Token) (any, error) {
		kid, _ := token.Header["kid"].(string)
		if token.Header["typ"] != typ || hasCritical(token) {
			return nil, errForeignKey
		}
		key, err := r.find(kid, now)
		if err != nil {
			return nil, err
		}
		*found = key
		return key.public, nil
	}
}

// hasCritical: the token has extensions that must be understood (RFC 7515 section
// 4.1.11), and nobody here does. The library does not look.
func hasCritical(token *jwt.Token) bool {
	_, ok := token.Header["crit"]
	return ok
}

// tokenFault names what is wrong with a token in words of ours: the library's
// repeat pieces of it.
func tokenFault(err error) string {
	for _, fault := range []struct {
		err  error
		text string
	}{
		{jwt.ErrTokenExpired, "it has expired"},
		{jwt.ErrTokenNotValidYet, "it is not valid yet"},
		{jwt.ErrTokenUsedBeforeIssued, "it was issued in the future"},
		{jwt.ErrTokenInvalidAudience, "it is for another audience"},
		{jwt.ErrTokenInvalidIssuer, "it is from another issuer"},
		{errForeignKey, "it is not signed by this fleet"},
		{errUnknownKey, errUnknownKey.Error()},
		{jwt.ErrTokenRequiredClaimMissing, "it lacks a claim"},
		{jwt.ErrTokenSignatureInvalid, "its signature is wrong"},
	} {
		if errors.Is(err, fault.err) {
			return fault.text
		}
	}
	return "it cannot be read"
}
