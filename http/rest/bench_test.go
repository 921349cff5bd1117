package rest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"math/big"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/valyala/fasthttp"

	"opensessionmanager/actors/roster"
	"opensessionmanager/messages"
)

const (
	benchSessions = 100_000
	benchServers  = 10_000
)

// frozen is a fleet of fixed size: Snapshot costs nothing.
type frozen struct {
	*fakeFleet
	snapshot *roster.Snapshot
}

func (f frozen) Snapshot() (*roster.Snapshot, *messages.Refusal) { return f.snapshot, nil }

func benchID(i int) string { return fmt.Sprintf("6f1c0f5a-0000-4000-8000-%012d", i) }

func benchServer(b *testing.B) *Server {
	builder := roster.NewBuilder()
	for i := range benchServers {
		builder.PutServer(versioned(linuxServer(fmt.Sprintf("srv-%d", i))))
	}
	for i := range benchSessions {
		v := readySession(benchID(i), fmt.Sprintf("user%d", i%5000), fmt.Sprintf("srv-%d", i%benchServers))
		v.Version, v.CreationUnixMs = 1, int64(1_600_000_000_000+i)
		builder.PutSession(v)
	}
	b.ResetTimer()
	return New(Config{
		Fleet: frozen{newFakeFleet(), builder.Snapshot()}, Authorizer: fakeAuthorizer{}, Connections: fakeConnections{},
		Logger: slog.New(slog.DiscardHandler), Secret: []byte(strings.Repeat("s", 32)),
	})
}

func describeBody(ids int) string {
	list := make([]string, ids)
	for i := range list {
		list[i] = `"` + benchID(i*7) + `"`
	}
	return `{"SessionIds":[` + strings.Join(list, ",") + `]}`
}

// The cost of a request without a socket.
func BenchmarkDescribeSessions(b *testing.B) {
	for _, c := range []struct{ name, body string }{
		{"1 id", describeBody(1)}, {"100 ids", describeBody(100)}, {"page of 1000", "{}"},
		{"page of one owner", `{"Filters":[{"Key":"owner","Value":"user7"}]}`},
	} {
		b.Run(c.name, func(b *testing.B) {
			handler := benchServer(b).Handler()
			var rc fasthttp.RequestCtx
			var req fasthttp.Request
			describeRequest(&req, "/describeSessions", c.body)
			rc.Init(&req, nil, nil)
			b.ReportAllocs()
			for b.Loop() {
				rc.Response.Reset()
				handler(&rc)
			}
			require.Equal(b, 200, rc.Response.StatusCode())
			b.SetBytes(int64(len(rc.Response.Body())))
		})
	}
}

func describeRequest(req *fasthttp.Request, url, body string) {
	req.Header.SetMethod("POST")
	req.SetRequestURI(url)
	req.Header.SetContentType("application/json")
	req.Header.Set("Authorization", goodToken)
	req.SetBodyString(body)
}

// The budget of design section 9: "api" should reach 0.8 of "bare", a handler
// that returns the same bytes, over TLS with kept connections.
func BenchmarkDescribeOverTLS(b *testing.B) {
	api := benchServer(b).Handler()
	var rc fasthttp.RequestCtx
	var req fasthttp.Request
	describeRequest(&req, "/describeSessions", describeBody(1))
	rc.Init(&req, nil, nil)
	api(&rc)
	same := rc.Response.Body()
	bare := func(rc *fasthttp.RequestCtx) {
		rc.SetContentType("application/json")
		rc.SetBody(same)
	}
	b.Run("bare", func(b *testing.B) { overTLS(b, bare) })
	b.Run("api", func(b *testing.B) { overTLS(b, api) })
}

func overTLS(b *testing.B, handler fasthttp.RequestHandler) {
	listener, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{benchCertificate(b)}})
	require.NoError(b, err)
	server := &fasthttp.Server{Handler: handler}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	client := &fasthttp.HostClient{
		Addr: listener.Addr().String(), IsTLS: true, MaxConns: 64,
		TLSConfig: &tls.Config{InsecureSkipVerify: true}, // the benchmark's own certificate
	}
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		var req fasthttp.Request
		var resp fasthttp.Response
		describeRequest(&req, "https://"+listener.Addr().String()+"/describeSessions", describeBody(1))
		for pb.Next() {
			if err := client.Do(&req, &resp); err != nil || resp.StatusCode() != 200 {
				b.Errorf("%v %d", err, resp.StatusCode())
				return
			}
		}
	})
	b.StopTimer()
	client.CloseIdleConnections()
	require.NoError(b, server.Shutdown())
	require.NoError(b, <-served)
}

func benchCertificate(b *testing.B) tls.Certificate {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(b, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	require.NoError(b, err)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}
