package oauth

import (
	"encoding/base64"
	"encoding/json"
	"slices"
	"strings"
	"time"

	"github.com/valyala/fasthttp"
)

// jwk is a public key as RFC 7517 and RFC 7518 section 6.2 write it.
type jwk struct {
	KeyType   string `json:"kty"`
	Curve     string `json:"crv"`
	KeyID     string `json:"kid"`
	Use       string `json:"use"`
	Algorithm string `json:"alg"`
	X         string `json:"x"`
	Y         string `json:"y"`
}

// JWKSHandler is GET /.well-known/jwks.json: the public keys of our access tokens,
// for others that are shown one. After a renewal the new key is there before anybody
// can have seen a token of it here; whoever keeps a copy looks again on a new key id.
func (s *Server) JWKSHandler() fasthttp.RequestHandler {
	return func(rc *fasthttp.RequestCtx) {
		data, err := s.cfg.Keys.access.jwks(s.cfg.Now())
		if err != nil { // our own keys always encode
			rc.SetStatusCode(fasthttp.StatusInternalServerError)
			return
		}
		rc.SetContentType("application/json")
		rc.Response.Header.Set("Cache-Control", "public, max-age=300")
		rc.SetBody(data)
	}
}

func (r *ring) jwks(now time.Time) ([]byte, error) {
	set := struct {
		Keys []jwk `json:"keys"`
	}{[]jwk{}}
	for _, key := range r.state.Load().keys {
		if key.over(now) {
			continue
		}
		point, err := key.public.Bytes() // 4, x, y
		if err != nil {
			return nil, err
		}
		half := (len(point) - 1) / 2
		encode := base64.RawURLEncoding.EncodeToString
		set.Keys = append(set.Keys, jwk{"EC", "P-256", key.id, "sig", "ES256", encode(point[1 : 1+half]), encode(point[1+half:])})
	}
	slices.SortFunc(set.Keys, func(a, b jwk) int { return strings.Compare(a.KeyID, b.KeyID) })
	return json.Marshal(set)
}
