package oauth

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"opensessionmanager/http/oauth/authserver"
	"opensessionmanager/http/oauth/keyset"
)

const (
	// fetchWait bounds how long a check waits for keys that are being fetched.
	fetchWait = 2 * time.Second
	// maxWaiting bounds how many do; those beyond are refused as if nothing came.
	maxWaiting = 512
	// maxCandidates bounds the keys that are tried on one token: as many servers may
	// have a key of the same name.
	maxCandidates = 8
	maxIdentity   = 256 // bytes of a client's name in a token
)

// externalClaims are those of RFC 9068, Cognito and Microsoft Entra ID that matter here.
type externalClaims struct {
	jwt.RegisteredClaims
	ClientID        string `json:"client_id"`
	AuthorizedParty string `json:"azp"`
	AppID           string `json:"appid"`
	Scope           words  `json:"scope"`
	SCP             words  `json:"scp"`
	Roles           words  `json:"roles"`
	TokenUse        string `json:"token_use"` // Cognito: access or id
	Nonce           string `json:"nonce"`
	AtHash          string `json:"at_hash"`
}

// words are a text with blanks between them, or a list.
type words []string

func (w *words) UnmarshalJSON(data []byte) error {
	var text string
	if json.Unmarshal(data, &text) == nil {
		*w = strings.Fields(text)
		return nil
	}
	return json.Unmarshal(data, (*[]string)(w))
}

// Errors of a token whose signature may be right.
var (
	errUnknownKey = errors.New("no registered authorization server has its key and issuer")
	errNoAccess   = errors.New("it is not an access token")
	errScope      = errors.New("it lacks the scope")
	errNobody     = errors.New("it does not say whose it is")
)

// outline is what an unchecked token says about itself: good for finding the key.
type outline struct {
	keyID, algorithm, issuer string
}

// outlineOf reads a token without believing it.
func outlineOf(token string) (outline, error) {
	var claims struct {
		jwt.RegisteredClaims
	}
	parsed, _, err := jwt.NewParser(jwt.WithStrictDecoding()).ParseUnverified(token, &claims)
	if err != nil {
		return outline{}, err
	}
	id, isText := parsed.Header["kid"].(string)
	if _, has := parsed.Header["kid"]; has && !isText || hasCritical(parsed) {
		return outline{}, jwt.ErrTokenMalformed
	}
	if !slices.Contains(authserver.Algorithms(), parsed.Method.Alg()) {
		return outline{}, jwt.ErrTokenSignatureInvalid
	}
	return outline{id, parsed.Method.Alg(), claims.Issuer}, nil
}

// candidate is a key that may have signed a token.
type candidate struct {
	server *external
	key    *keyset.Key
}

// verify returns whose token it is, until when it counts, and with which key.
func (a *AuthServers) verify(token string, o outline) (Principal, time.Time, *keyset.Key, error) {
	candidates, err := a.find(o)
	if err != nil {
		return Principal{}, time.Time{}, nil, err
	}
	for _, c := range candidates {
		principal, until, tokenErr := a.verifyWith(token, c)
		if tokenErr == nil {
			return principal, until, c.key, nil
		}
		err = tokenErr
	}
	return Principal{}, time.Time{}, nil, fmt.Errorf("%w: %s", ErrInvalidToken, externalFault(err))
}

func (a *AuthServers) verifyWith(token string, c candidate) (Principal, time.Time, error) {
	options := []jwt.ParserOption{jwt.WithValidMethods([]string{c.key.Algorithm})}
	if c.server.Issuer != "" {
		options = append(options, jwt.WithIssuer(c.server.Issuer))
	}
	if c.server.Audience != "" {
		options = append(options, jwt.WithAudience(c.server.Audience))
	}
	var claims externalClaims
	parsed, err := bareParser(a.now, options...).ParseWithClaims(token, &claims, func(*jwt.Token) (any, error) { return c.key.Public, nil })
	if err != nil {
		return Principal{}, time.Time{}, err
	}
	if !accessTokenType(parsed.Header["typ"]) || claims.TokenUse != "" && claims.TokenUse != "access" || claims.Nonce != "" || claims.AtHash != "" {
		return Principal{}, time.Time{}, errNoAccess
	}
	if want := c.server.Scope; want != "" && !slices.Contains(slices.Concat(claims.Scope, claims.SCP, claims.Roles), want) {
		return Principal{}, time.Time{}, errScope
	}
	principal, err := claims.principal(c.server)
	return principal, claims.ExpiresAt.Add(skew), err
}

// accessTokenType: RFC 9068 says at+jwt, most say JWT or nothing. Other types of
// token must not stand in for one (RFC 8725 section 3.11).
func accessTokenType(typ any) bool {
	if typ == nil {
		return true
	}
	text, _ := typ.(string)
	text = strings.TrimPrefix(strings.ToLower(text), "application/")
	return text == "jwt" || text == "at+jwt"
}

// principal: the server's word counts for who the client is, not for who the server is.
func (c *externalClaims) principal(server *external) (Principal, error) {
	p := Principal{Issuer: server.URL}
	if server.Issuer != "" {
		p.Issuer = server.Issuer
	}
	for _, id := range []string{c.ClientID, c.AuthorizedParty, c.AppID, c.Subject} {
		if id == "" {
			continue
		}
		if len(id) > maxIdentity || !printable(id) {
			return Principal{}, errNobody
		}
		p.ClientID, p.Name = id, id
		return p, nil
	}
	return Principal{}, errNobody
}

// find looks for keys that a token may have been signed with, and waits, for a bounded
// time, for servers that are asked for newer ones. ErrUnavailable if a server that was
// never reached may have the key.
func (a *AuthServers) find(o outline) ([]candidate, error) {
	servers := *a.list.Load()
	if found := candidates(servers, o); len(found) > 0 {
		return found, nil
	}
	a.demand(servers, o)
	if found := candidates(servers, o); len(found) > 0 {
		return found, nil
	}
	for _, e := range servers {
		if e.mayHaveIssued(o) && e.set.Empty() {
			return nil, ErrUnavailable
		}
	}
	return nil, fmt.Errorf("%w: %w", ErrInvalidToken, errUnknownKey)
}

func (a *AuthServers) demand(servers []*external, o outline) {
	if a.waiting.Add(1) > maxWaiting {
		a.waiting.Add(-1)
		return
	}
	defer a.waiting.Add(-1)
	limit := time.NewTimer(fetchWait)
	defer limit.Stop()
	var fetches []<-chan struct{}
	for _, e := range servers {
		if !e.mayHaveIssued(o) {
			continue
		}
		if done := e.set.Demand(); done != nil {
			fetches = append(fetches, done)
		}
	}
	for _, done := range fetches {
		select {
		case <-done:
		case <-limit.C:
			return
		}
	}
}

func candidates(servers []*external, o outline) []candidate {
	var found []candidate
	for _, e := range servers {
		if !e.mayHaveIssued(o) {
			continue
		}
		for _, key := range e.set.Find(o.keyID, o.algorithm) {
			found = append(found, candidate{e, key})
		}
	}
	return found[:min(len(found), maxCandidates)]
}

func (e *external) mayHaveIssued(o outline) bool { return e.Issuer == "" || e.Issuer == o.issuer }

// externalFault names what is wrong with a token in words of ours.
func externalFault(err error) string {
	for _, known := range []error{errNoAccess, errScope, errNobody} {
		if errors.Is(err, known) {
			return known.Error()
		}
	}
	return tokenFault(err)
}
