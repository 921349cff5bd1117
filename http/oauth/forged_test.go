package oauth_test

import (
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/require"
	"github.com/valyala/fasthttp"

	"opensessionmanager/http/oauth"
	"opensessionmanager/http/oauth/authserver"
)

// F33, RFC 8725: forged, misplaced and mutilated tokens of an external server are 401,
// and nothing of them comes back.
func TestExternal_RefusesForgedTokens(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	key, attacker := newRSA(t), newRSA(t)
	p := newProvider(t, rsaJWK(key, object{"kid": "k", "use": "sig"}), object{"kty": "oct", "kid": "shared", "k": b64([]byte("secret"))})
	evil := newProvider(t, rsaJWK(attacker, object{"kid": "k"}))
	w.trust(t, p, func(s *authserver.Server) { s.Audience = "api://dcv" })
	now := w.clock.Now()
	claims, header := azure(now), object{"kid": "k"}
	good := signed(t, jwt.SigningMethodRS256, key, header, claims)
	require.NoError(t, w.authorize(good))
	parts := strings.Split(good, ".")

	der, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	require.NoError(t, err)
	pkcs1 := x509.MarshalPKCS1PublicKey(&key.PublicKey)
	jwk, err := json.Marshal(rsaJWK(key, object{"kid": "k"}))
	require.NoError(t, err)
	hmac := func(secret []byte, more object) string {
		return signed(t, jwt.SigningMethodHS256, secret, with(header, more), claims)
	}
	own := func(more object) string {
		return signed(t, jwt.SigningMethodRS256, attacker, with(header, more), claims)
	}
	rs := func(head, body object) string {
		return signed(t, jwt.SigningMethodRS256, key, with(header, head), with(claims, body))
	}
	for name, token := range map[string]string{
		"alg none":                    signed(t, jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, header, claims),
		"alg None":                    jwtPart(`{"alg":"None","kid":"k"}`) + "." + parts[1] + ".",
		"alg missing":                 jwtPart(`{"kid":"k"}`) + "." + parts[1] + "." + parts[2],
		"no signature":                parts[0] + "." + parts[1] + ".",
		"HMAC with the PEM key":       hmac(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), nil),
		"HMAC with the PKCS 1 PEM":    hmac(pem.EncodeToMemory(&pem.Block{Type: "RSA PUBLIC KEY", Bytes: pkcs1}), nil),
		"HMAC with the DER key":       hmac(der, nil),
		"HMAC with the JWK":           hmac(jwk, nil),
		"HMAC with the modulus":       hmac(key.N.Bytes(), nil),
		"HMAC with the published oct": hmac([]byte("secret"), object{"kid": "shared"}),
		"another's key, its kid":      own(nil),
		"jwk in the header":           own(object{"jwk": rsaJWK(attacker, object{"kid": "k"})}),
		"jku in the header":           own(object{"jku": evil.jwks()}),
		"x5u in the header":           own(object{"x5u": evil.jwks()}),
		"x5c in the header":           own(object{"x5c": []string{"MIIC"}}),
		"kid as a path":               own(object{"kid": "../../../../dev/null"}),
		"kid as a URL":                own(object{"kid": evil.jwks()}),
		"kid as SQL":                  own(object{"kid": "k' UNION SELECT 'x'--"}),
		"kid as a number":             rs(object{"kid": 17}, nil),
		"crit":                        rs(object{"crit": []string{"b64"}, "b64": false}, nil),
		"expired":                     rs(nil, object{"exp": now.Add(-61 * time.Second).Unix()}),
		"no exp":                      rs(nil, object{"exp": nil}),
		"exp as text":                 rs(nil, object{"exp": "tomorrow"}),
		"exp beyond all bounds":       rs(nil, object{"exp": -1e300}),
		"not valid yet":               rs(nil, object{"nbf": now.Add(62 * time.Second).Unix()}),
		"from the future":             rs(nil, object{"iat": now.Add(62 * time.Second).Unix()}),
		"foreign audience":            rs(nil, object{"aud": []string{"api://other"}}),
		"no audience":                 rs(nil, object{"aud": nil}),
		"our own issuer":              rs(nil, object{"iss": "dcv-session-manager-broker"}),
		"nobody's":                    rs(nil, object{"azp": nil, "sub": nil}),
		"a name with a line end":      rs(nil, object{"azp": "a\nb"}),
		"a name without end":          rs(nil, object{"azp": strings.Repeat("a", 300)}),
		"an id token":                 rs(nil, object{"nonce": "n"}),
		"an id token of a code flow":  rs(nil, object{"at_hash": "n"}),
		"a logout token":              rs(object{"typ": "logout+jwt"}, nil),
		"a DPoP proof":                rs(object{"typ": "dpop+jwt"}, nil),
		"typ as a number":             rs(object{"typ": 1}, nil),
		"other algorithm, same key":   signed(t, jwt.SigningMethodPS256, key, header, claims),
		"changed claims":              parts[0] + "." + jwtPart(`{"azp":"x","aud":"api://dcv","exp":9999999999}`) + "." + parts[2],
		"padded":                      parts[0] + "." + parts[1] + "." + parts[2] + "=",
		"four parts":                  good + "." + parts[2],
		"encrypted":                   parts[0] + ".AA.AA.AA.AA",
		"two tokens":                  good + " " + good,
		"two tokens with a comma":     good + "," + good,
		"one megabyte":                strings.Repeat("a", 1<<20),
		"long, with the right form":   parts[0] + "." + strings.Repeat("A", 17<<10) + "." + parts[2],
		"deep JSON":                   parts[0] + "." + jwtPart(strings.Repeat(`{"a":`, 1500)) + "." + parts[2],
	} {
		err := w.authorize(token)
		require.ErrorIs(t, err, oauth.ErrInvalidToken, name)
		require.Less(t, len(err.Error()), 120, name)
		require.NotContains(t, err.Error(), "\n", name)
	}
	require.EqualValues(t, 0, evil.asked.Load(), "nobody follows what a token says about keys")
	_, err = w.AuthorizeAgent([]byte("Bearer " + good))
	require.ErrorIs(t, err, oauth.ErrInvalidToken, "it is no agent's")
	for range 3 { // F16: clocks may differ by a minute
		require.NoError(t, w.authorize(rs(nil, object{"iat": now.Add(59 * time.Second).Unix(), "nbf": now.Add(59 * time.Second).Unix()})))
		require.NoError(t, w.authorize(rs(object{"typ": "application/AT+jwt"}, object{"exp": now.Add(-59 * time.Second).Unix()})))
	}
}

// Two headers are refused whatever is in them, and so are two in one.
func TestHeaderOf_DoubledHeaders(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	_, good := w.token(t, "portal")
	_, other := w.token(t, "other")
	var none, doubled fasthttp.RequestHeader
	header, err := oauth.HeaderOf(&none)
	require.NoError(t, err)
	require.Empty(t, header)
	for _, value := range []string{good, other} {
		doubled.Add("Authorization", "Bearer "+value)
	}
	_, err = oauth.HeaderOf(&doubled)
	require.ErrorIs(t, err, oauth.ErrInvalidToken)
	for _, value := range []string{good + ", Bearer " + other, good + " " + other, good + ",", good + "\x00" + other} {
		require.ErrorIs(t, w.authorize(value), oauth.ErrInvalidToken)
	}
	require.NoError(t, w.authorize(good))
}
