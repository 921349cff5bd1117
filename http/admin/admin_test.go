package admin_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"github.com/valyala/fasthttp"
	"go.uber.org/goleak"

	"opensessionmanager/http/admin"
	"opensessionmanager/http/admin/adminclient"
	"opensessionmanager/http/dnsmapping"
	"opensessionmanager/http/listen"
	"opensessionmanager/http/oauth"
	"opensessionmanager/persistence/memory"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, // the library's clock and pool cleaner end late or never
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.updateServerDate.func1"),
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.(*workerPool).Start.func2"))
}

// broker is an admin endpoint on loopback with its working path.
type broker struct {
	dir   string
	port  *listen.Server
	oauth *oauth.Server
	log   *syncBuffer

	authority *x509.Certificate
}

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

func start(t *testing.T) *broker {
	t.Helper()
	b := &broker{dir: t.TempDir(), log: &syncBuffer{}}
	logger := slog.New(slog.NewTextHandler(b.log, nil))
	store := memory.New()
	keys, err := oauth.LoadKeys(t.Context(), store)
	require.NoError(t, err)
	b.oauth, err = oauth.New(t.Context(), oauth.Config{
		Store: store, Keys: keys, Logger: logger, Now: time.Now, EnableServer: true, EnableAuthorization: true, EnableAgentAuthorization: true,
		ConnectionTokenLifetime: time.Hour, SessionAlive: func(string) bool { return true },
	})
	require.NoError(t, err)
	credential, err := admin.Credential(b.dir)
	require.NoError(t, err)
	certificate, ca := selfSigned(t)
	require.NoError(t, os.WriteFile(filepath.Join(b.dir, "ca.pem"), ca, 0o600))
	block, _ := pem.Decode(ca)
	b.authority, err = x509.ParseCertificate(block.Bytes)
	require.NoError(t, err)
	b.port, err = listen.New(listen.Config{
		Name: "admin", Addr: "127.0.0.1:0", TLS: certificate, Logger: logger, MaxBodyBytes: admin.MaxBodyBytes,
		Handler: admin.Handler(admin.Config{Credential: credential, OAuth: b.oauth, DNSMappings: dnsmapping.New(store), BrokerVersion: "1.0.0", Logger: logger,
			Authority: func() (*x509.Certificate, error) { return b.authority, nil }}),
	})
	require.NoError(t, err)
	b.port.Start()
	t.Cleanup(func() { b.stop(t) })
	require.NoError(t, admin.Publish(b.dir, adminclient.Endpoint{Address: b.port.Addr().String(), CAFile: "ca.pem", ServerName: "broker.test"}))
	return b
}

func (b *broker) stop(t *testing.T) {
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	_ = b.port.Shutdown(ended)
}

func (b *broker) open(t *testing.T) *adminclient.Admin {
	t.Helper()
	a, err := adminclient.Open(b.dir)
	require.NoError(t, err)
	t.Cleanup(a.Close)
	return a
}

func TestAdmin_ClientsFromRegistrationToDeactivation(t *testing.T) {
	t.Parallel()
	b := start(t)
	a := b.open(t)
	made, err := a.RegisterAPIClient(t.Context(), "portal")
	require.NoError(t, err)
	require.NoError(t, uuid.Validate(made.ClientID))
	require.Len(t, made.ClientPassword, 48)
	list, err := a.DescribeAPIClients(t.Context())
	require.NoError(t, err)
	require.Equal(t, []adminclient.Client{{Name: "portal", ID: made.ClientID, Active: true}}, list)
	require.NoError(t, a.UnregisterAPIClient(t.Context(), made.ClientID))
	list, err = a.DescribeAPIClients(t.Context())
	require.NoError(t, err)
	require.False(t, list[0].Active)
	require.NotContains(t, b.log.String(), made.ClientPassword)
}

func TestAdmin_StatementsFromGenerationToDeactivation(t *testing.T) {
	t.Parallel()
	b := start(t)
	a := b.open(t)
	statement, err := a.GenerateSoftwareStatement(t.Context())
	require.NoError(t, err)
	list, err := a.DescribeSoftwareStatements(t.Context())
	require.NoError(t, err)
	require.Len(t, list, 1)
	require.Equal(t, statement, list[0].SoftwareStatement)
	require.True(t, list[0].Active)
	unregistered, err := a.DeactivateSoftwareStatement(t.Context(), statement, true)
	require.NoError(t, err)
	require.Zero(t, unregistered)
	list, err = a.DescribeSoftwareStatements(t.Context())
	require.NoError(t, err)
	require.False(t, list[0].Active)
	agents, err := a.DescribeAgentClients(t.Context())
	require.NoError(t, err)
	require.Empty(t, agents)
	require.NotContains(t, b.log.String(), statement)
}

func TestAdmin_RefusalsHaveACodeAndAText(t *testing.T) {
	t.Parallel()
	a := start(t).open(t)
	_, err := a.RegisterAPIClient(t.Context(), "portal")
	require.NoError(t, err)
	_, taken := a.RegisterAPIClient(t.Context(), "portal")
	_, unusable := a.RegisterAPIClient(t.Context(), "")
	for code, err := range map[string]error{
		"NAME_TAKEN":      taken,
		"INVALID_REQUEST": unusable,
		"NOT_FOUND":       a.UnregisterAPIClient(t.Context(), uuid.NewString()),
	} {
		var refused *adminclient.Refused
		require.ErrorAs(t, err, &refused)
		require.Equal(t, code, refused.Code)
		require.NotEmpty(t, refused.Text)
		require.NotContains(t, refused.Text, "oauth")
	}
	require.Error(t, a.UnregisterAgentClient(t.Context(), "x"))
	_, err = a.DeactivateSoftwareStatement(t.Context(), "x", false)
	require.Error(t, err)
	_, err = a.RotateAPIClientSecret(t.Context(), uuid.NewString(), 60)
	require.EqualError(t, err, "unknown client")
	_, err = a.RotateAPIClientSecret(t.Context(), "x", -1)
	require.EqualError(t, err, "the overlap must be 0 to 2592000 seconds")
}

// A command while the broker is down says so.
func TestAdmin_CommandWithoutABrokerSaysSo(t *testing.T) {
	t.Parallel()
	_, err := adminclient.Open(t.TempDir())
	require.ErrorIs(t, err, adminclient.ErrNotRunning)
	require.ErrorContains(t, err, "the broker is not running")

	b := start(t)
	a := b.open(t)
	b.stop(t) // killed: the endpoint file stays behind
	_, err = a.DescribeAPIClients(t.Context())
	require.ErrorIs(t, err, adminclient.ErrNotRunning)
	require.NoError(t, admin.Withdraw(b.dir))
	require.NoError(t, admin.Withdraw(b.dir))
	_, err = adminclient.Open(b.dir)
	require.ErrorIs(t, err, adminclient.ErrNotRunning)
}

func TestAdmin_ClientTrustsItsOwnBrokerOnly(t *testing.T) {
	t.Parallel()
	b, impostor := start(t), start(t)
	require.NoError(t, admin.Publish(b.dir, adminclient.Endpoint{Address: impostor.port.Addr().String(), CAFile: "ca.pem", ServerName: "broker.test"}))
	_, err := b.open(t).DescribeAPIClients(t.Context())
	var unknown x509.UnknownAuthorityError
	require.ErrorAs(t, err, &unknown)
	require.NotContains(t, impostor.log.String(), "without the credential") // it never saw one
}

func call(t *testing.T, handler fasthttp.RequestHandler, method, path, authorization, body string) *fasthttp.Response {
	t.Helper()
	var rc fasthttp.RequestCtx
	rc.Init(&fasthttp.Request{}, &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1}, nil)
	rc.Request.Header.SetMethod(method)
	rc.Request.SetRequestURI(path)
	rc.Request.Header.Set("Authorization", authorization)
	rc.Request.SetBodyString(body)
	handler(&rc)
	var answer fasthttp.Response
	rc.Response.CopyTo(&answer)
	return &answer
}

func handler(t *testing.T) (fasthttp.RequestHandler, string) {
	b := start(t)
	credential, err := admin.Credential(b.dir)
	require.NoError(t, err)
	return admin.Handler(admin.Config{Credential: credential, OAuth: b.oauth, DNSMappings: dnsmapping.New(memory.New()), BrokerVersion: "1", Logger: slog.New(slog.DiscardHandler)}), "Bearer " + credential
}

// C20: without the random credential nothing is said but 401, not even what exists.
func TestHandler_NeedsTheCredential(t *testing.T) {
	t.Parallel()
	h, right := handler(t)
	for _, wrong := range []string{"", "Bearer ", "Bearer x", right[:len(right)-1], right + "0", strings.Repeat("a", 1<<16)} {
		for _, path := range []string{"/admin/v1/describe-api-clients", "/admin/v1/nothing", "/"} {
			answer := call(t, h, "POST", path, wrong, "{}")
			require.Equal(t, http.StatusUnauthorized, answer.StatusCode())
		}
	}
	none := admin.Handler(admin.Config{OAuth: start(t).oauth, Logger: slog.New(slog.DiscardHandler)})
	require.Equal(t, http.StatusUnauthorized, call(t, none, "POST", "/admin/v1/describe-api-clients", "Bearer ", "{}").StatusCode())
}

// F28: strict and bounded JSON.
func TestHandler_RefusesWhatACommandDoesNotTake(t *testing.T) {
	t.Parallel()
	h, credential := handler(t)
	for name, c := range map[string]struct {
		method, path, body string
		status             int
	}{
		"unknown command": {"POST", "/admin/v1/drop-everything", "{}", 404},
		"GET":             {"GET", "/admin/v1/describe-api-clients", "", 405},
		"no body":         {"POST", "/admin/v1/register-api-client", "", 400},
		"misspelt":        {"POST", "/admin/v1/register-api-client", `{"nam":"a"}`, 400},
		"wrong type":      {"POST", "/admin/v1/register-api-client", `{"name":1}`, 400},
		"two values":      {"POST", "/admin/v1/register-api-client", `{"name":"a"}{}`, 400},
		"deep":            {"POST", "/admin/v1/register-api-client", strings.Repeat("[", 60_000), 400},
		"too large":       {"POST", "/admin/v1/register-api-client", `{"name":"` + strings.Repeat("a", 70_000) + `"}`, 400},
	} {
		answer := call(t, h, c.method, c.path, credential, c.body)
		require.Equal(t, c.status, answer.StatusCode(), name)
		require.Regexp(t, `^\{"error": ".+"\}$`, string(answer.Body()), name)
	}
}

func FuzzHandler(f *testing.F) {
	store := memory.New()
	keys, err := oauth.LoadKeys(f.Context(), store)
	require.NoError(f, err)
	server, err := oauth.New(f.Context(), oauth.Config{
		Store: store, Keys: keys, Logger: slog.New(slog.DiscardHandler), Now: time.Now,
		ConnectionTokenLifetime: time.Hour, SessionAlive: func(string) bool { return true },
	})
	require.NoError(f, err)
	h := admin.Handler(admin.Config{Credential: "c", OAuth: server, DNSMappings: dnsmapping.New(memory.New()), BrokerVersion: "1", Logger: slog.New(slog.DiscardHandler)})
	f.Add("unregister-api-client", `{"clientId":"x"}`)
	f.Add("deactivate-software-statement", `{"softwareStatement":"eyJpZCI6MX0="}`)
	f.Add("describe-api-clients", `{}`)
	f.Fuzz(func(t *testing.T, name, body string) {
		if name == "register-api-client" || name == "generate-software-statement" {
			return // they fill the store
		}
		answer := call(t, h, "POST", "/admin/v1/"+name, "Bearer c", body)
		require.Less(t, answer.StatusCode(), 500)
	})
}

func TestCredential_IsMadeOnceForItsOwnerOnly(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	secrets := make([]string, 8)
	var made sync.WaitGroup
	for i := range secrets {
		made.Go(func() { secrets[i], _ = admin.Credential(dir) })
	}
	made.Wait()
	require.Len(t, secrets[0], 64)
	for _, secret := range secrets {
		require.Equal(t, secrets[0], secret)
	}
	info, err := os.Stat(filepath.Join(dir, adminclient.CredentialFile))
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode())
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, entries, 1, "a temporary file is left")
	other, err := admin.Credential(t.TempDir())
	require.NoError(t, err)
	require.NotEqual(t, secrets[0], other)
}

// F48: a credential that others could have read, or a damaged one, stops the start.
func TestCredential_RefusesAnUnfitFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, adminclient.CredentialFile)
	secret, err := admin.Credential(dir)
	require.NoError(t, err)
	require.NoError(t, os.Chmod(path, 0o640))
	_, err = admin.Credential(dir)
	require.ErrorIs(t, err, admin.ErrCredentialFile)
	require.NotContains(t, err.Error(), secret)
	require.NoError(t, os.WriteFile(path, []byte("short"), 0o600))
	require.NoError(t, os.Chmod(path, 0o600))
	_, err = admin.Credential(dir)
	require.ErrorIs(t, err, admin.ErrCredentialFile)
	require.NoError(t, os.Remove(path))
	require.NoError(t, os.Symlink("/etc/hostname", path))
	_, err = admin.Credential(dir)
	require.ErrorIs(t, err, admin.ErrCredentialFile)
	_, err = admin.Credential(filepath.Join(dir, "absent"))
	require.Error(t, err)
}

func TestAdmin_AnswersAreNotKeptByCaches(t *testing.T) {
	t.Parallel()
	h, credential := handler(t)
	answer := call(t, h, "POST", "/admin/v1/register-api-client", credential, `{"name":"a"}`)
	require.Equal(t, "no-store", string(answer.Header.Peek("Cache-Control")))
	require.Contains(t, string(answer.Body()), "clientPassword")
}

func selfSigned(t *testing.T) (*tls.Config, []byte) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), DNSNames: []string{"broker.test"},
		IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	require.NoError(t, err)
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}},
		pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}
