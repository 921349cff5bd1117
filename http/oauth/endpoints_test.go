package oauth_test

import (
	"encoding/base64"
	"encoding/json"
	"encoding/xml"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"github.com/valyala/fasthttp"

	"opensessionmanager/http/oauth"
	"opensessionmanager/persistence/memory"
)

func jwtPart(text string) string { return base64.RawURLEncoding.EncodeToString([]byte(text)) }

// Contract section 2: the answer's properties and order, and all ways to ask.
func TestToken_AnswersAsTheVendorDoes(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	id, password, err := w.Clients().Register(t.Context(), "portal")
	require.NoError(t, err)
	form := "client_id=" + id + "&client_secret=" + url.QueryEscape(password)
	for name, answer := range map[string]*fasthttp.Response{
		"grant in query, Basic": ask(w.TokenHandler(), "/oauth2/token?grant_type=client_credentials", basic(id, password), ""),
		"grant in body, Basic":  ask(w.TokenHandler(), "/oauth2/token", basic(id, password), "grant_type=client_credentials&scope=x"),
		"all in body":           ask(w.TokenHandler(), "/oauth2/token", "", "grant_type=client_credentials&"+form),
		"encoded inside Basic":  ask(w.TokenHandler(), "/oauth2/token?grant_type=client_credentials", basic(strings.ReplaceAll(id, "-", "%2D"), url.QueryEscape(password)), ""), // RFC 6749 section 2.3.1
		"grant in both":         ask(w.TokenHandler(), "/oauth2/token?grant_type=client_credentials", basic(id, password), "grant_type=client_credentials&client_id="+id),
	} {
		require.Equal(t, fasthttp.StatusOK, answer.StatusCode(), name)
		require.Regexp(t, `^\{"access_token":"[\w.-]+","token_type":"Bearer","expires_in":3600\}$`, string(answer.Body()), name)
		require.Equal(t, "no-store", string(answer.Header.Peek("Cache-Control")), name)
		require.Equal(t, "application/json", string(answer.Header.ContentType()), name)
	}
}

func TestToken_RefusesWithRFC6749Errors(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	id, password, err := w.Clients().Register(t.Context(), "portal")
	require.NoError(t, err)
	const uri = "/oauth2/token?grant_type=client_credentials"
	for name, c := range map[string]struct {
		uri, authorization, body string
		status                   int
		code                     string
	}{
		"no grant":          {"/oauth2/token", basic(id, password), "", 400, "invalid_request"},
		"other grant":       {"/oauth2/token?grant_type=password", basic(id, password), "", 400, "unsupported_grant_type"},
		"two grants":        {uri + "&grant_type=password", basic(id, password), "", 400, "invalid_request"},
		"no credentials":    {uri, "", "", 401, "invalid_client"},
		"wrong secret":      {uri, basic(id, "x"), "", 401, "invalid_client"},
		"unknown client":    {uri, basic(uuid.NewString(), password), "", 401, "invalid_client"},
		"odd client id":     {uri, basic(strings.Repeat("x", 5000), password), "", 401, "invalid_client"},
		"not base64":        {uri, "Basic ???", "", 401, "invalid_client"},
		"no colon":          {uri, "Basic YWJj", "", 401, "invalid_client"},
		"bearer":            {uri, "Bearer x", "", 401, "invalid_client"},
		"secret in query":   {uri + "&client_id=" + id + "&client_secret=" + password, "", "", 401, "invalid_client"},
		"secret twice":      {uri, basic(id, password), "client_secret=" + password, 400, "invalid_request"},
		"oversized body":    {uri, basic(id, password), strings.Repeat("a", 20_000), 400, "invalid_request"},
		"oversized header":  {uri, basic(strings.Repeat("x", 20_000), password), "", 401, "invalid_client"},
		"other id in form":  {uri, basic(id, password), "client_id=" + uuid.NewString(), 400, "invalid_request"},
		"empty Basic parts": {uri, basic("", ""), "", 401, "invalid_client"},
	} {
		answer := ask(w.TokenHandler(), c.uri, c.authorization, c.body)
		require.Equal(t, c.status, answer.StatusCode(), name)
		var body map[string]string
		require.NoError(t, json.Unmarshal(answer.Body(), &body), name)
		require.Equal(t, c.code, body["error"], name)
		require.NotEmpty(t, body["error_description"], name)
		require.NotContains(t, string(answer.Body()), password, name)
		require.Equal(t, "no-store", string(answer.Header.Peek("Cache-Control")), name)
		require.Equal(t, c.status == 401, len(answer.Header.Peek("WWW-Authenticate")) > 0, name)
	}

	require.NoError(t, w.Clients().Unregister(t.Context(), id))
	require.Equal(t, 401, ask(w.TokenHandler(), uri, basic(id, password), "").StatusCode())
}

func TestEndpoints_TakeOnlyPost(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, handler := range []fasthttp.RequestHandler{w.TokenHandler(), w.AgentTokenHandler(), w.RegisterHandler()} {
		var rc fasthttp.RequestCtx
		handler(&rc)
		require.Equal(t, fasthttp.StatusMethodNotAllowed, rc.Response.StatusCode())
		require.Equal(t, "POST", string(rc.Response.Header.Peek("Allow")))
	}
}

func TestToken_StoreDownIsNotInvalidClient(t *testing.T) {
	t.Parallel()
	store := &broken{Store: memory.New(), down: false}
	w := join(t, store)
	store.down = true
	answer := ask(w.TokenHandler(), "/oauth2/token?grant_type=client_credentials", basic(uuid.NewString(), "x"), "")
	require.Equal(t, fasthttp.StatusServiceUnavailable, answer.StatusCode())
	require.NotEmpty(t, answer.Header.Peek("Retry-After"))
	require.NotContains(t, string(answer.Body()), "down")
}

// Contract section 2: base64 of the vendor's pretty-printed JSON.
func TestStatement_HasTheVendorsForm(t *testing.T) {
	t.Parallel()
	text, err := newWorld(t).Statements().Generate(t.Context(), "1.0.0")
	require.NoError(t, err)
	raw, err := base64.StdEncoding.DecodeString(text)
	require.NoError(t, err)
	require.Regexp(t, regexp.MustCompile(`^\{\n  "id" : "[0-9a-f-]{36}",\n  "active" : true,\n  "issuedAt" : 1800000000\.000000000,\n  "brokerVersion" : "1\.0\.0"\n\}$`), string(raw))
	require.True(t, json.Valid(raw))
}

// RFC 7591, and then a token with what was got.
func TestRegister_AgentGetsCredentialsThatWork(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	id, token := w.agentToken(t)
	got, err := w.AuthorizeAgent([]byte("Bearer " + token))
	require.NoError(t, err)
	require.Equal(t, id, got)

	all, err := w.Agents().Describe(t.Context())
	require.NoError(t, err)
	require.Equal(t, []oauth.Description{{ID: id, Name: "host", Active: true}}, all)
	require.NoError(t, w.Agents().Unregister(t.Context(), id)) // F36: counts at once
	_, err = w.AuthorizeAgent([]byte("Bearer " + token))
	require.ErrorIs(t, err, oauth.ErrInvalidToken)
	require.ErrorIs(t, w.Agents().Unregister(t.Context(), uuid.NewString()), oauth.ErrUnknownClient)
}

// Whoever has stolen a statement cannot fill the store: each agent stays in it for good.
func TestRegister_OneCallerCannotFloodTheStore(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	statement, err := w.Statements().Generate(t.Context(), "1.0.0")
	require.NoError(t, err)
	register := func() *fasthttp.Response {
		return ask(w.RegisterHandler(), "/agent/register", "", `{"client_name":"host","software_statement":"`+statement+`"}`)
	}
	answer, registered := register(), 0
	for ; answer.StatusCode() == fasthttp.StatusCreated; answer = register() {
		registered++
		require.Less(t, registered, 5000)
	}
	t.Logf("%d registrations at once", registered)
	require.Equal(t, fasthttp.StatusTooManyRequests, answer.StatusCode())
	require.Equal(t, "TOO_MANY_REQUESTS", string(answer.Header.Peek("X-Error-Code")))
	seconds, err := strconv.Atoi(string(answer.Header.Peek("Retry-After")))
	require.NoError(t, err)
	all, err := w.Agents().Describe(t.Context())
	require.NoError(t, err)
	require.Len(t, all, registered, "nothing is kept of who was refused")
	w.clock.forward(time.Duration(seconds) * time.Second)
	require.Equal(t, fasthttp.StatusCreated, register().StatusCode())
}

func TestRegister_RefusesWithRFC7591Errors(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	statement, err := w.Statements().Generate(t.Context(), "1.0.0")
	require.NoError(t, err)
	retired, err := w.Statements().Generate(t.Context(), "1.0.0")
	require.NoError(t, err)
	_, err = w.Statements().Deactivate(t.Context(), retired)
	require.NoError(t, err)
	raw, err := base64.StdEncoding.DecodeString(statement)
	require.NoError(t, err)
	altered := base64.StdEncoding.EncodeToString([]byte(strings.Replace(string(raw), "1.0.0", "1.0.1", 1)))

	for name, c := range map[string]struct{ body, code string }{
		"no JSON":             {`hello`, "invalid_client_metadata"},
		"an array":            {`[]`, "invalid_client_metadata"},
		"no name":             {`{"software_statement":"` + statement + `"}`, "invalid_client_metadata"},
		"name with newline":   {`{"client_name":"a\nb","software_statement":"` + statement + `"}`, "invalid_client_metadata"},
		"other grant":         {`{"client_name":"a","grant_types":["password"],"software_statement":"` + statement + `"}`, "invalid_client_metadata"},
		"oversized":           {`{"client_name":"` + strings.Repeat("a", 40_000) + `"}`, "invalid_client_metadata"},
		"deep":                {strings.Repeat("[", 30_000), "invalid_client_metadata"},
		"no statement":        {`{"client_name":"a"}`, "invalid_software_statement"},
		"not base64":          {`{"client_name":"a","software_statement":"???"}`, "invalid_software_statement"},
		"inactive statement":  {`{"client_name":"a","software_statement":"` + retired + `"}`, "invalid_software_statement"},
		"altered statement":   {`{"client_name":"a","software_statement":"` + altered + `"}`, "invalid_software_statement"},
		"statement elsewhere": {`{"client_name":"a","software_statement":"` + base64.StdEncoding.EncodeToString([]byte(`{"id":"`+uuid.NewString()+`"}`)) + `"}`, "invalid_software_statement"},
	} {
		answer := ask(w.RegisterHandler(), "/agent/register", "", c.body)
		require.Equal(t, fasthttp.StatusBadRequest, answer.StatusCode(), name)
		var body map[string]string
		require.NoError(t, json.Unmarshal(answer.Body(), &body), name)
		require.Equal(t, c.code, body["error"], name)
	}
	answer := ask(w.RegisterHandler(), "/agent/register", "", `{"client_name":"a","software_statement":"`+statement+`\n","later":[1]}`)
	require.Equal(t, fasthttp.StatusCreated, answer.StatusCode())
	require.Contains(t, string(answer.Body()), `"client_secret_expires_at":0`)
	_, err = w.Statements().Deactivate(t.Context(), "x")
	require.ErrorIs(t, err, oauth.ErrUnknownStatement)
	all, err := w.Statements().Describe(t.Context())
	require.NoError(t, err)
	require.Len(t, all, 2)
}

func TestRegister_DisabledNeedsNoStatementAndKeepsNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *oauth.Config) { c.EnableAgentAuthorization = false })
	answer := ask(w.RegisterHandler(), "/agent/register", "", `{"client_name":"a"}`)
	require.Equal(t, fasthttp.StatusCreated, answer.StatusCode())
	all, err := w.Agents().Describe(t.Context())
	require.NoError(t, err)
	require.Empty(t, all)
	token := accessToken(t, ask(w.AgentTokenHandler(), "/agent/oauth2/token?grant_type=client_credentials", basic("a", "b"), ""))
	for _, header := range []string{"", "Bearer " + token} {
		id, err := w.AuthorizeAgent([]byte(header))
		require.NoError(t, err)
		require.Empty(t, id)
	}
	strict := join(t, w.store) // the setting is turned on again
	_, err = strict.AuthorizeAgent([]byte("Bearer " + token))
	require.ErrorIs(t, err, oauth.ErrInvalidToken)
}

// Contract section 1.8: header and claims, all of them and no others.
func TestConnectionToken_HasTheVendorsClaims(t *testing.T) {
	t.Parallel()
	token, err := newWorld(t).SignConnection("s-1", "s-1", "ann", `DOMAIN\bob`)
	require.NoError(t, err)
	claims := jwt.MapClaims{}
	parsed, _, err := jwt.NewParser().ParseUnverified(token, claims)
	require.NoError(t, err)
	require.Equal(t, "JWT", parsed.Header["typ"])
	require.Equal(t, "ES256", parsed.Header["alg"])
	require.NoError(t, uuid.Validate(parsed.Header["kid"].(string)))
	require.NoError(t, uuid.Validate(claims["jti"].(string)))
	require.InDelta(t, 3600, claims["exp"].(float64)-claims["iat"].(float64), 0)
	require.Equal(t, "s-1", claims["dcvSessionId"])
	require.Equal(t, "ann", claims["dcvSessionOwner"])
	require.Equal(t, `DOMAIN\bob`, claims["dcvSessionUser"])
	require.Len(t, claims, 6)
}

// F29: what could not be a user cannot get into a token.
func TestConnectionToken_RefusesUnusableUsers(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, user := range []string{"", "a\x00b", "a\r\nb", "\xff", strings.Repeat("a", 2000)} {
		_, err := w.SignConnection("s-1", "s-1", "ann", user)
		require.ErrorIs(t, err, oauth.ErrUser)
	}
}

func validate(w *world, session, token string) (int, string) {
	answer := ask(w.ValidateHandler(), "/agent/validate-authentication-token", "",
		url.Values{"sessionId": {session}, "authenticationToken": {token}, "clientAddr": {"10.0.0.1"}}.Encode())
	return answer.StatusCode(), string(answer.Body())
}

// Contract section 11: exact XML, names escaped.
func TestValidate_AnswersYesWithTheUser(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for user, escaped := range map[string]string{
		"ann":               "ann",
		`DOMAIN\bob`:        `DOMAIN\bob`,
		"<b>&\"'":           "&lt;b&gt;&amp;&#34;&#39;",
		"]]></username>":    "]]&gt;&lt;/username&gt;",
		"Zoë 🙂 o''neil":     "Zoë 🙂 o&#39;&#39;neil",
		"user@example.test": "user@example.test",
	} {
		token, err := w.SignConnection("s-1", "s-1", "ann", user)
		require.NoError(t, err)
		status, body := validate(w, "s-1", token)
		require.Equal(t, fasthttp.StatusOK, status)
		require.Equal(t, `<auth result="yes"><username>`+escaped+`</username></auth>`, body)
	}
}

// F34: a replay for another session, after deletion or after expiry is refused.
func TestValidate_RefusesReplays(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	token, err := w.SignConnection("s-1", "s-1", "ann", "ann")
	require.NoError(t, err)
	_, api := w.token(t, "portal")
	refused := func(session, token, reason string) {
		t.Helper()
		status, body := validate(w, session, token)
		require.Equal(t, fasthttp.StatusOK, status)
		require.Equal(t, `<auth result="no"><message>`+reason+`</message></auth>`, body)
	}
	refused("s-2", token, "Invalid token: it is for another session")
	refused("s-1", api, "Invalid token: it is not signed by this fleet")
	refused("s-1", "", "sessionId or authenticationToken is missing")
	refused("", token, "sessionId or authenticationToken is missing")
	refused("s-1", strings.Repeat("a", 10_000), "Invalid token: it is too long")
	refused("s-1", strings.Repeat("a", 20_000), "sessionId or authenticationToken is missing")
	delete(w.alive, "s-1")
	refused("s-1", token, "The session does not exist")
	w.alive["s-1"] = true
	w.clock.forward(time.Hour + 61*time.Second)
	refused("s-1", token, "Invalid token: it has expired")
}

func FuzzToken(f *testing.F) {
	w := newWorld(f)
	id, password, err := w.Clients().Register(f.Context(), "portal")
	require.NoError(f, err)
	f.Add("grant_type=client_credentials", basic(id, password), "")
	f.Add("", "", "grant_type=client_credentials&client_id="+id+"&client_secret="+password)
	f.Add("grant_type=%zz&&&=", "Basic :", "%")
	f.Fuzz(func(t *testing.T, query, authorization, body string) {
		answer := ask(w.TokenHandler(), "/oauth2/token?"+query, authorization, body)
		require.Contains(t, []int{200, 400, 401}, answer.StatusCode())
		require.True(t, json.Valid(answer.Body()))
	})
}

func FuzzRegister(f *testing.F) {
	w := newWorld(f)
	statement, err := w.Statements().Generate(f.Context(), "1.0.0")
	require.NoError(f, err)
	f.Add(`{"client_name":"a","software_statement":"` + statement + `"}`)
	f.Add(`{"client_name":"a","software_statement":"eyJpZCI6MX0="}`)
	token, _ := w.enrolmentToken(f, 1)
	f.Add(papers(token, "a"))
	f.Fuzz(func(t *testing.T, body string) {
		answer := ask(w.RegisterHandler(), "/agent/register", "", body)
		require.Contains(t, []int{201, 400, 429}, answer.StatusCode())
		require.True(t, json.Valid(answer.Body()))
	})
}

func FuzzValidate(f *testing.F) {
	w := newWorld(f)
	token, err := w.SignConnection("s-1", "s-1", "ann", "ann")
	require.NoError(f, err)
	f.Add("sessionId=s-1&authenticationToken=" + token + "&clientAddress=1.2.3.4")
	f.Add("sessionId=%00&authenticationToken=%ff")
	f.Fuzz(func(t *testing.T, body string) {
		answer := ask(w.ValidateHandler(), "/", "", body)
		require.Equal(t, 200, answer.StatusCode())
		var v struct {
			XMLName xml.Name `xml:"auth"`
			Result  string   `xml:"result,attr"`
		}
		require.NoError(t, xml.Unmarshal(answer.Body(), &v))
		require.Contains(t, []string{"yes", "no"}, v.Result)
	})
}
