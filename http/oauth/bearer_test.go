package oauth_test

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/require"
	"github.com/valyala/fasthttp"

	"opensessionmanager/http/oauth"
	"opensessionmanager/persistence/memory"
)

func accessToken(t testing.TB, answer *fasthttp.Response) string {
	t.Helper()
	require.Equal(t, fasthttp.StatusOK, answer.StatusCode(), string(answer.Body()))
	var body struct {
		AccessToken string `json:"access_token"`
	}
	require.NoError(t, json.Unmarshal(answer.Body(), &body))
	return body.AccessToken
}

// The readiness probes of the guide and of RES compare this text (contract 1.1).
func TestAuthorize_MissingHeaderHasTheExactText(t *testing.T) {
	t.Parallel()
	_, err := newWorld(t).Authorize(nil)
	require.ErrorIs(t, err, oauth.ErrNoHeader)
	require.EqualError(t, err, "No authorization header")
}

func TestAuthorize_AcceptsWhatItIssued(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	id, token := w.token(t, "portal")
	for _, header := range []string{"Bearer " + token, "bearer " + token, "Bearer  " + token + " "} {
		principal, err := w.Authorize([]byte(header)) // twice for the cache
		require.NoError(t, err)
		require.Equal(t, oauth.Principal{ClientID: id, Name: "portal"}, principal)
	}
	parsed, _, err := jwt.NewParser().ParseUnverified(token, jwt.MapClaims{})
	require.NoError(t, err)
	require.Equal(t, "ES256", parsed.Header["alg"])
	require.Equal(t, "at+jwt", parsed.Header["typ"])
	require.NotEmpty(t, parsed.Header["kid"])
}

func TestAuthorize_TokensEndAfterAnHourAlsoInTheCache(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	_, token := w.token(t, "portal")
	header := []byte("Bearer " + token)
	_, err := w.Authorize(header)
	require.NoError(t, err)
	w.clock.forward(time.Hour + 59*time.Second) // F16: bounded skew
	_, err = w.Authorize(header)
	require.NoError(t, err)
	w.clock.forward(2 * time.Second)
	_, err = w.Authorize(header)
	require.ErrorIs(t, err, oauth.ErrInvalidToken)
	require.ErrorContains(t, err, "expired")
}

// F33: every forged or misplaced token is refused, and nothing of it comes back.
func TestAuthorize_RefusesForgedTokens(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	stranger := newWorld(t)
	id, good := w.token(t, "portal")
	_, foreign := stranger.token(t, "portal")
	connection, err := w.SignConnection("s-1", "s-1", "ann", "ann")
	require.NoError(t, err)
	parsed, parts, err := jwt.NewParser().ParseUnverified(good, jwt.MapClaims{})
	require.NoError(t, err)
	kid := parsed.Header["kid"]

	hs := jwt.NewWithClaims(jwt.SigningMethodHS256, parsed.Claims)
	hs.Header["kid"], hs.Header["typ"] = kid, "at+jwt"
	confused, err := hs.SignedString([]byte("any key"))
	require.NoError(t, err)
	none := jwt.NewWithClaims(jwt.SigningMethodNone, parsed.Claims)
	none.Header["kid"], none.Header["typ"] = kid, "at+jwt"
	unsigned, err := none.SignedString(jwt.UnsafeAllowNoneSignatureType)
	require.NoError(t, err)

	for name, token := range map[string]string{
		"alg none":              unsigned,
		"HS with our kid":       confused,
		"another fleet's":       foreign,
		"connection token":      connection,
		"changed claims":        parts[0] + "." + jwtPart(`{"sub":"`+id+`","exp":9999999999}`) + "." + parts[2],
		"cut off":               good[:len(good)-2],
		"no dots":               "abc",
		"only dots":             "..",
		"empty":                 "",
		"one megabyte":          strings.Repeat("a", 1<<20),
		"many dots":             strings.Repeat(".", 4000),
		"deep JSON":             jwtPart(strings.Repeat("[", 3000)) + "..",
		"control characters":    "a\x00b\r\nc",
		"alg not text":          jwtPart(`{"alg":[]}`) + "." + jwtPart(`{}`) + ".AAAA",
		"signature of 1 byte":   parts[0] + "." + parts[1] + ".AA",
		"two tokens in a row":   good + " " + good,
		"trailing dot and more": good + ".x",
	} {
		_, err := w.Authorize([]byte("Bearer " + token))
		require.ErrorIs(t, err, oauth.ErrInvalidToken, name)
		require.Less(t, len(err.Error()), 100, name)
	}
	for _, header := range []string{"Basic abc", "Bearer", "x", good} {
		_, err := w.Authorize([]byte(header))
		require.ErrorIs(t, err, oauth.ErrInvalidToken)
	}
}

// An agent's token is no API token, and the other way round.
func TestAuthorize_AudiencesDoNotMix(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	_, api := w.token(t, "portal")
	_, agent := w.agentToken(t)
	_, err := w.Authorize([]byte("Bearer " + agent))
	require.ErrorIs(t, err, oauth.ErrInvalidToken)
	require.ErrorContains(t, err, "another audience")
	_, err = w.AuthorizeAgent([]byte("Bearer " + api))
	require.ErrorIs(t, err, oauth.ErrInvalidToken)
	require.ErrorContains(t, err, "another audience")
}

func TestAuthorize_DisabledLetsEverybodyIn(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *oauth.Config) { c.EnableAuthorization = false })
	for _, header := range []string{"", "nonsense"} {
		principal, err := w.Authorize([]byte(header))
		require.NoError(t, err)
		require.Equal(t, "anonymous", principal.ClientID)
	}
	_, err := w.AuthorizeAgent(nil) // a switch of its own
	require.ErrorIs(t, err, oauth.ErrNoHeader)
}

// F19: without the store, tokens that were seen go on; a client nobody here knows waits.
func TestAuthorize_WithoutTheStore(t *testing.T) {
	t.Parallel()
	store := &broken{Store: memory.New()}
	w := join(t, store)
	_, token := w.token(t, "portal")
	_, agent := w.agentToken(t)
	second := join(t, store)
	_, late := w.token(t, "late")
	store.down = true
	_, err := w.Authorize([]byte("Bearer " + token))
	require.NoError(t, err)
	_, err = second.Authorize([]byte("Bearer " + late))
	require.ErrorIs(t, err, oauth.ErrUnavailable)
	require.NotContains(t, err.Error(), "down")
	_, err = w.AuthorizeAgent([]byte("Bearer " + agent))
	require.NoError(t, err)
}

func FuzzAuthorize(f *testing.F) {
	w := newWorld(f)
	_, token := w.token(f, "portal")
	f.Add([]byte("Bearer " + token))
	f.Add([]byte("Bearer a.b.c"))
	f.Add([]byte("Basic x"))
	f.Fuzz(func(t *testing.T, header []byte) {
		principal, err := w.Authorize(header)
		if err == nil && principal.ClientID == "" {
			t.Fatal("let in nobody")
		}
		_, _ = w.AuthorizeAgent(header)
	})
}

func BenchmarkAuthorizeCached(b *testing.B) {
	w := newWorld(b, func(c *oauth.Config) { c.Now = time.Now })
	_, token := w.token(b, "portal")
	header := []byte("Bearer " + token)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := w.Authorize(header); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkSignConnection(b *testing.B) {
	w := newWorld(b)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := w.SignConnection("s-1", "s-1", "ann", "ann"); err != nil {
			b.Fatal(err)
		}
	}
}

// agentToken registers an agent and gets it a token.
func (w *world) agentToken(t testing.TB) (id, token string) {
	t.Helper()
	statement, err := w.Statements().Generate(context.Background(), "1.0.0")
	require.NoError(t, err)
	answer := ask(w.RegisterHandler(), "/agent/register", "", `{"client_name":"host","software_statement":"`+statement+`"}`)
	require.Equal(t, fasthttp.StatusCreated, answer.StatusCode(), string(answer.Body()))
	var made struct {
		ID     string `json:"client_id"`
		Secret string `json:"client_secret"`
	}
	require.NoError(t, json.Unmarshal(answer.Body(), &made))
	return made.ID, accessToken(t, ask(w.AgentTokenHandler(), "/agent/oauth2/token?grant_type=client_credentials", basic(made.ID, made.Secret), ""))
}
