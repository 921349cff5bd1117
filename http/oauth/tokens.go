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
	maxToken = 8 << 10

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
	key      signer
	audience string
	parser   *jwt.Parser
	now      func() time.Time
}

func newAccessTokens(keys *Keys, audience string, now func() time.Time) *accessTokens {
	return &accessTokens{
		key: keys.access, audience: audience, now: now,
		parser: newParser(now, jwt.WithAudience(audience), jwt.WithIssuer(issuer)),
	}
}

func newParser(now func() time.Time, more ...jwt.ParserOption) *jwt.Parser {
	return jwt.NewParser(append(more,
		jwt.WithValidMethods([]string{jwt.SigningMethodES256.Alg()}), // never none, never HS
		jwt.WithExpirationRequired(),
		jwt.WithIssuedAt(),
		jwt.WithLeeway(skew),
		jwt.WithStrictDecoding(),
		jwt.WithTimeFunc(now))...)
}

func (a *accessTokens) sign(clientID string) (string, error) {
	now := a.now()
	return a.key.sign(typeAccess, accessClaims{
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

// verify returns the client and when the token stops counting.
func (a *accessTokens) verify(token string) (clientID string, until time.Time, err error) {
	var claims accessClaims
	if _, err := a.parser.ParseWithClaims(token, &claims, a.key.lookup(typeAccess)); err != nil {
		return "", time.Time{}, fmt.Errorf("%w: %s", ErrInvalidToken, tokenFault(err))
	}
	return claims.Subject, claims.ExpiresAt.Add(skew), nil
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

// lookup finds the public key for a token that claims to be of the given type.
func (k signer) lookup(typ string) jwt.Keyfunc {
	return func(token *jwt.Token) (any, error) {
		if token.Header["kid"] != k.id || token.Header["typ"] != typ {
			return nil, errForeignKey
		}
		return &k.private.PublicKey, nil
	}
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
		{jwt.ErrTokenSignatureInvalid, "its signature is wrong"},
	} {
		if errors.Is(err, fault.err) {
			return fault.text
		}
	}
	return "it cannot be read"
}
