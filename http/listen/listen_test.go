package listen_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"github.com/valyala/fasthttp"
	"go.uber.org/goleak"

	"opensessionmanager/http/listen"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, // the library's clock and pool cleaner end late or never
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.updateServerDate.func1"),
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.(*workerPool).Start.func2"))
}

// start serves cfg on a free loopback port until the test ends.
func start(t *testing.T, cfg listen.Config) *listen.Server {
	t.Helper()
	cfg.Name, cfg.Addr = "test", "127.0.0.1:0"
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Handler == nil {
		cfg.Handler = func(rc *fasthttp.RequestCtx) { rc.SetBodyString("hello") }
	}
	server, err := listen.New(cfg)
	require.NoError(t, err)
	server.Start()
	t.Cleanup(func() {
		ended, cancel := context.WithCancel(context.Background())
		cancel()
		_ = server.Shutdown(ended)
	})
	return server
}

func dial(t *testing.T, server *listen.Server) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", server.Addr().String())
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// answer reads one response; the whole connection must end after it.
func lastAnswer(t *testing.T, conn net.Conn) (*http.Response, string) {
	t.Helper()
	reader := bufio.NewReader(conn)
	response, err := http.ReadResponse(reader, nil)
	require.NoError(t, err)
	body, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	_, err = reader.ReadByte()
	require.Error(t, err, "the connection stays open")
	require.Empty(t, response.Header.Get("Server"))
	return response, string(body)
}

// trickle writes head, then one byte of rest after the other until the peer
// gives up. It returns when that happened.
func trickle(conn net.Conn, head string, rest byte) {
	if _, err := io.WriteString(conn, head); err != nil {
		return
	}
	ticker := time.NewTicker(5 * time.Millisecond)
	defer ticker.Stop()
	for range ticker.C {
		if _, err := conn.Write([]byte{rest}); err != nil {
			return
		}
	}
}

// F27: a header that never ends is cut off although bytes keep coming.
func TestServer_SlowHeaderIsCutOff(t *testing.T) {
	t.Parallel()
	server := start(t, listen.Config{HeaderTimeout: 150 * time.Millisecond})
	conn := dial(t, server)
	go trickle(conn, "GET / HTTP/1.1\r\nHost: a\r\nX-Slow: ", 'a')
	response, body := lastAnswer(t, conn)
	require.Equal(t, http.StatusRequestTimeout, response.StatusCode)
	require.Equal(t, `{"error": "Request took too long to arrive"}`, body)
}

// F27: the same for a body within its announced length.
func TestServer_SlowBodyIsCutOff(t *testing.T) {
	t.Parallel()
	server := start(t, listen.Config{ReadTimeout: 150 * time.Millisecond})
	conn := dial(t, server)
	go trickle(conn, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n", 'a')
	response, _ := lastAnswer(t, conn)
	require.Equal(t, http.StatusRequestTimeout, response.StatusCode)
	require.Equal(t, listen.CodeTimeout, response.Header.Get("X-Error-Code"))
}

// F27: a silent client does not hold a connection, nor does a half-made handshake.
func TestServer_SilentClientIsCutOff(t *testing.T) {
	t.Parallel()
	plain := start(t, listen.Config{HeaderTimeout: 100 * time.Millisecond})
	secure := start(t, listen.Config{HeaderTimeout: 100 * time.Millisecond, TLS: selfSigned(t)})
	for _, server := range []*listen.Server{plain, secure} {
		_, err := io.ReadAll(dial(t, server))
		if err != nil {
			require.NotErrorIs(t, err, net.ErrClosed)
		}
	}
	conn := dial(t, secure)
	_, err := conn.Write([]byte{22, 3, 1, 2, 0, 1}) // the start of a ClientHello
	require.NoError(t, err)
	_, _ = io.ReadAll(conn) // returns, that is all
}

// F28: what cannot be a request within the limits is refused with JSON.
func TestServer_RefusesWhatExceedsItsLimits(t *testing.T) {
	t.Parallel()
	server := start(t, listen.Config{HeaderBytes: 4096, MaxBodyBytes: 1000})
	for name, c := range map[string]struct {
		request, body string
		status        int
	}{
		"header too large": {"GET / HTTP/1.1\r\nHost: a\r\nX-Big: " + strings.Repeat("a", 10_000) + "\r\n\r\n",
			`{"error": "Request header too large"}`, http.StatusRequestHeaderFieldsTooLarge},
		"announced body too large": {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1001\r\n\r\n",
			`{"error": "Request body too large"}`, http.StatusRequestEntityTooLarge},
		"endless chunks": {"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + strings.Repeat("10\r\n0123456789abcdef\r\n", 200),
			`{"error": "Request body too large"}`, http.StatusRequestEntityTooLarge},
		"garbage": {"\x00\x01\x02 nonsense\r\n\r\n",
			`{"error": "Malformed HTTP request"}`, http.StatusBadRequest},
		"negative length": {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -5\r\n\r\n",
			`{"error": "Malformed HTTP request"}`, http.StatusBadRequest},
	} {
		conn := dial(t, server)
		_, err := io.WriteString(conn, c.request)
		require.NoError(t, err, name)
		reader := bufio.NewReader(conn)
		response, err := http.ReadResponse(reader, nil)
		require.NoError(t, err, name)
		body, err := io.ReadAll(response.Body)
		require.NoError(t, err, name)
		require.Equal(t, c.status, response.StatusCode, name)
		require.Equal(t, c.body, string(body), name)
		require.Equal(t, "application/json", response.Header.Get("Content-Type"), name)
		require.NoError(t, uuid.Validate(response.Header.Get("X-Request-Id")), name)
		require.Empty(t, response.Header.Get("Server"), name)
	}
}

// F25: a panic costs one request, and its answer names the id of the log line.
func TestServer_PanicCostsOneRequest(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	server := start(t, listen.Config{
		Logger: slog.New(slog.NewTextHandler(&log, nil)),
		Handler: func(rc *fasthttp.RequestCtx) {
			if string(rc.Path()) == "/boom" {
				rc.SetBodyString("half an answer")
				panic("boom")
			}
		},
	})
	conn := dial(t, server)
	reader := bufio.NewReader(conn)
	ask := func(path string) (*http.Response, string) {
		_, err := io.WriteString(conn, "GET "+path+" HTTP/1.1\r\nHost: a\r\n\r\n")
		require.NoError(t, err)
		response, err := http.ReadResponse(reader, nil)
		require.NoError(t, err)
		body, err := io.ReadAll(response.Body)
		require.NoError(t, err)
		return response, string(body)
	}
	response, body := ask("/boom")
	require.Equal(t, http.StatusInternalServerError, response.StatusCode)
	id := response.Header.Get("X-Request-Id")
	require.NotEmpty(t, id)
	require.Equal(t, `{"error": "Internal error, request `+id+`"}`, body)
	response, _ = ask("/fine") // on the same connection
	require.Equal(t, http.StatusOK, response.StatusCode)
	require.NoError(t, server.Shutdown(t.Context())) // orders the log with this goroutine
	require.Contains(t, log.String(), id)
}

func TestServer_SpeaksModernTLSOnly(t *testing.T) {
	t.Parallel()
	server := start(t, listen.Config{TLS: selfSigned(t)})
	_, err := tls.Dial("tcp", server.Addr().String(), &tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS11})
	require.Error(t, err)

	conn, err := tls.Dial("tcp", server.Addr().String(), &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2", "http/1.1"}})
	require.NoError(t, err)
	defer conn.Close()
	require.Equal(t, "http/1.1", conn.ConnectionState().NegotiatedProtocol)
	_, err = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
	require.NoError(t, err)
	response, body := lastAnswer(t, conn)
	require.Equal(t, http.StatusOK, response.StatusCode)
	require.Equal(t, "hello", body)
}

// F27: the cap on connections counts all of them and frees what is closed.
func TestServer_CapsConnections(t *testing.T) {
	t.Parallel()
	server := start(t, listen.Config{MaxConns: 2})
	first, second := dial(t, server), dial(t, server)
	await(t, "two open connections", func() bool { return server.Stats().Open == 2 })
	_, err := io.ReadAll(dial(t, server))
	if err == nil {
		err = io.EOF
	}
	require.Error(t, err)
	await(t, "a refused connection", func() bool { return server.Stats().Refused == 1 })
	require.NoError(t, first.Close())
	await(t, "room again", func() bool { return server.Stats().Open == 1 })
	_, err = io.WriteString(second, "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
	require.NoError(t, err)
	response, _ := lastAnswer(t, second)
	require.Equal(t, http.StatusOK, response.StatusCode)
}

func TestServer_ShutdownLetsRequestsFinish(t *testing.T) {
	t.Parallel()
	entered, release := make(chan struct{}), make(chan struct{})
	server := start(t, listen.Config{Handler: func(rc *fasthttp.RequestCtx) {
		close(entered)
		<-release
		rc.SetBodyString("done")
	}})
	conn := dial(t, server)
	_, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	require.NoError(t, err)
	<-entered
	down := make(chan error, 1)
	go func() { down <- server.Shutdown(context.Background()) }()
	await(t, "the port to close", func() bool {
		probe, err := net.Dial("tcp", server.Addr().String())
		if err == nil {
			_ = probe.Close()
		}
		return err != nil
	})
	close(release)
	response, body := lastAnswer(t, conn)
	require.Equal(t, http.StatusOK, response.StatusCode)
	require.Equal(t, "done", body)
	require.NoError(t, <-down)
}

func TestServer_ShutdownCutsOffWhoeverOutlastsIt(t *testing.T) {
	t.Parallel()
	entered, release := make(chan struct{}), make(chan struct{})
	server := start(t, listen.Config{Handler: func(*fasthttp.RequestCtx) { close(entered); <-release }})
	conn := dial(t, server)
	_, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	require.NoError(t, err)
	<-entered
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	require.ErrorIs(t, server.Shutdown(ended), context.Canceled)
	left, _ := io.ReadAll(conn)
	require.Empty(t, left)
	require.Zero(t, server.Stats().Open)
	close(release)
}

func TestServer_RefusesAConfigurationItCannotServe(t *testing.T) {
	t.Parallel()
	_, err := listen.New(listen.Config{Addr: "127.0.0.1:0"})
	require.ErrorIs(t, err, listen.ErrConfig)
	server := start(t, listen.Config{})
	_, err = listen.New(listen.Config{Name: "second", Addr: server.Addr().String(), Logger: slog.New(slog.DiscardHandler), Handler: func(*fasthttp.RequestCtx) {}})
	require.ErrorContains(t, err, "second port")
}

func TestServer_ShutdownBeforeStart(t *testing.T) {
	t.Parallel()
	server, err := listen.New(listen.Config{Addr: "127.0.0.1:0", Logger: slog.New(slog.DiscardHandler), Handler: func(*fasthttp.RequestCtx) {}})
	require.NoError(t, err)
	require.NoError(t, server.Shutdown(t.Context()))
}

func await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	require.Eventually(t, ok, time.Minute, 2*time.Millisecond, "waited for %s", what)
}

func selfSigned(t *testing.T) *tls.Config {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), DNSNames: []string{"localhost"}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	require.NoError(t, err)
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
}
