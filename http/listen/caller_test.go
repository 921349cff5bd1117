package listen_test

import (
	"crypto/tls"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"

	"github.com/pires/go-proxyproto"
	"github.com/stretchr/testify/require"
	"github.com/valyala/fasthttp"

	"opensessionmanager/http/listen"
)

// naming answers each request with its caller.
func naming(cfg listen.Config) listen.Config {
	cfg.Handler = func(rc *fasthttp.RequestCtx) { rc.SetBodyString(listen.RemoteText(rc)) }
	return cfg
}

var (
	loopback = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	others   = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}
)

// asked sends start, then a request with head lines, and returns who was its caller.
func asked(t *testing.T, server *listen.Server, start string, lines ...string) (caller, self string) {
	t.Helper()
	conn := dial(t, server)
	write(t, conn, start+"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n")
	for _, line := range lines {
		write(t, conn, line+"\r\n")
	}
	write(t, conn, "\r\n")
	_, body := lastAnswer(t, conn)
	return body, conn.LocalAddr().String()
}

// F39: X-Forwarded-For counts only where a trusted proxy wrote it.
func TestCaller_ByForwardedFor(t *testing.T) {
	t.Parallel()
	mixed := append([]netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/8")}, loopback...)
	const self = "SELF"
	for name, c := range map[string]struct {
		proxies listen.Proxies
		lines   []string
		want    string
	}{
		"not enabled":              {listen.Proxies{Trusted: mixed}, []string{"X-Forwarded-For: 1.2.3.4"}, self},
		"not a listed peer":        {listen.Proxies{Trusted: others, Forwarded: true}, []string{"X-Forwarded-For: 1.2.3.4"}, self},
		"nobody listed":            {listen.Proxies{Forwarded: true}, []string{"X-Forwarded-For: 1.2.3.4"}, self},
		"no header":                {listen.Proxies{Trusted: mixed, Forwarded: true}, nil, self},
		"one":                      {listen.Proxies{Trusted: mixed, Forwarded: true}, []string{"X-Forwarded-For: 1.2.3.4"}, "1.2.3.4"},
		"made up before it":        {listen.Proxies{Trusted: mixed, Forwarded: true}, []string{"X-Forwarded-For: 6.6.6.6, 1.2.3.4"}, "1.2.3.4"},
		"through two":              {listen.Proxies{Trusted: mixed, Forwarded: true}, []string{"X-Forwarded-For: 6.6.6.6, 1.2.3.4, 10.1.1.1"}, "1.2.3.4"},
		"in two lines":             {listen.Proxies{Trusted: mixed, Forwarded: true}, []string{"X-Forwarded-For: 6.6.6.6, 1.2.3.4", "x-forwarded-for: 10.1.1.1"}, "1.2.3.4"},
		"the proxies alone":        {listen.Proxies{Trusted: mixed, Forwarded: true}, []string{"X-Forwarded-For: 10.1.1.2, 10.1.1.1"}, "10.1.1.2"},
		"no address":               {listen.Proxies{Trusted: mixed, Forwarded: true}, []string{"X-Forwarded-For: unknown"}, self},
		"no address before proxy":  {listen.Proxies{Trusted: mixed, Forwarded: true}, []string{"X-Forwarded-For: 1.2.3.4, _hidden, 10.1.1.1"}, "10.1.1.1"},
		"empty":                    {listen.Proxies{Trusted: mixed, Forwarded: true}, []string{"X-Forwarded-For: ,1.2.3.4,"}, self},
		"with a port":              {listen.Proxies{Trusted: mixed, Forwarded: true}, []string{"X-Forwarded-For: 1.2.3.4:5678"}, "1.2.3.4"},
		"IPv6":                     {listen.Proxies{Trusted: mixed, Forwarded: true}, []string{"X-Forwarded-For: 2001:db8::1, [fd00::1]:443, [fd00::2]"}, "2001:db8::1"},
		"IPv4 in IPv6":             {listen.Proxies{Trusted: mixed, Forwarded: true}, []string{"X-Forwarded-For: 1.2.3.4, ::ffff:10.1.1.1"}, "1.2.3.4"},
		"with a zone":              {listen.Proxies{Trusted: mixed, Forwarded: true}, []string{"X-Forwarded-For: fe80::1%eth0"}, "fe80::1"},
		"more hops than there are": {listen.Proxies{Trusted: mixed, Forwarded: true}, []string{"X-Forwarded-For: 1.2.3.4" + strings.Repeat(", 10.0.0.1", 1000)}, "10.0.0.1"},
		"an open bracket":          {listen.Proxies{Trusted: mixed, Forwarded: true}, []string{"X-Forwarded-For: [2001:db8::1"}, self},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			caller, peer := asked(t, start(t, naming(listen.Config{Proxies: c.proxies})), "", c.lines...)
			if c.want == self {
				c.want = peer
			}
			require.Equal(t, c.want, caller)
		})
	}
}

func headerV2(t *testing.T, source string) string {
	t.Helper()
	addr := net.TCPAddrFromAddrPort(netip.MustParseAddrPort(source))
	text, err := proxyproto.HeaderProxyFromAddrs(2, addr, &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 8443}).Format()
	require.NoError(t, err)
	return string(text)
}

func TestCaller_ByProxyProtocol(t *testing.T) {
	t.Parallel()
	trusted := listen.Proxies{Trusted: loopback, Protocol: true}
	both := listen.Proxies{Trusted: append([]netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}, loopback...), Protocol: true, Forwarded: true}
	local := string(proxyproto.SIGV2) + "\x20\x00\x00\x00"
	for name, c := range map[string]struct {
		proxies listen.Proxies
		start   string
		want    string // "" = the peer
	}{
		"version 1":            {trusted, "PROXY TCP4 192.0.2.7 127.0.0.1 4711 8443\r\n", "192.0.2.7:4711"},
		"version 1, IPv6":      {trusted, "PROXY TCP6 2001:db8::7 ::1 4711 8443\r\n", "[2001:db8::7]:4711"},
		"version 1, unknown":   {trusted, "PROXY UNKNOWN\r\n", ""},
		"version 2":            {trusted, headerV2(t, "192.0.2.7:4711"), "192.0.2.7:4711"},
		"version 2, mapped":    {trusted, headerV2(t, "[::ffff:192.0.2.7]:4711"), "192.0.2.7:4711"},
		"version 2, its own":   {trusted, local, ""},
		"client forges header": {both, headerV2(t, "192.0.2.7:4711"), "192.0.2.7:4711"},
		"then X-Forwarded-For": {both, headerV2(t, "10.0.0.1:4711"), "1.2.3.4"},
		"not a listed peer":    {listen.Proxies{Trusted: others, Protocol: true}, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			caller, peer := asked(t, start(t, naming(listen.Config{Proxies: c.proxies})), c.start, "X-Forwarded-For: 6.6.6.6, 1.2.3.4")
			if c.want == "" {
				c.want = peer
			}
			require.Equal(t, c.want, caller)
		})
	}
}

func TestCaller_BehindTLS(t *testing.T) {
	t.Parallel()
	server := start(t, naming(listen.Config{TLS: selfSigned(t), Proxies: listen.Proxies{Trusted: loopback, Protocol: true}}))
	raw := dial(t, server)
	write(t, raw, headerV2(t, "192.0.2.7:4711"))
	conn := tls.Client(raw, &tls.Config{InsecureSkipVerify: true})
	write(t, conn, "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
	_, body := lastAnswer(t, conn)
	require.Equal(t, "192.0.2.7:4711", body)
}

// lines is a log that a test may read while it is written.
type lines struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// F39: what a stranger says about who they are ends their connection, and a proxy that
// says nothing gets nowhere, which the log explains once.
func TestServer_RefusesWhereProxyProtocolIsNotAgreed(t *testing.T) {
	t.Parallel()
	const header = "PROXY TCP4 192.0.2.7 127.0.0.1 4711 8443\r\n"
	for name, c := range map[string]struct {
		trusted []netip.Prefix
		plain   bool
		sent    string
		logged  string
	}{
		"version 1 of a stranger":   {trusted: others, sent: header, logged: "from whom this port takes none"},
		"version 2 of a stranger":   {trusted: others, sent: headerV2(t, "192.0.2.7:4711"), logged: "from whom this port takes none"},
		"a stranger without TLS":    {trusted: others, plain: true, sent: header + "GET / HTTP/1.1\r\nHost: a\r\n\r\n"},
		"none of a proxy":           {trusted: loopback, sent: "GET / HTTP/1.1\r\nHost: a\r\n\r\n", logged: "sent no PROXY protocol header"},
		"two of a proxy":            {trusted: loopback, sent: header + header, logged: "from whom this port takes none"},
		"a broken one":              {trusted: loopback, sent: "PROXY TCP4 a b c d\r\n"},
		"one of a UNIX socket":      {trusted: loopback, sent: string(proxyproto.SIGV2) + "\x21\x31\x00\xd8" + strings.Repeat("a\x00", 108)},
		"one longer than allowed":   {trusted: loopback, sent: string(proxyproto.SIGV2) + "\x21\x11\xff\xff" + strings.Repeat("a", 70_000)},
		"one with an unknown class": {trusted: loopback, sent: string(proxyproto.SIGV2) + "\x21\x13\x00\x0c" + strings.Repeat("a", 12)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			log := &lines{}
			cfg := listen.Config{Proxies: listen.Proxies{Trusted: c.trusted, Protocol: true}, Logger: slog.New(slog.NewTextHandler(log, nil))}
			if !c.plain {
				cfg.TLS = selfSigned(t)
			}
			var called bool
			cfg.Handler = func(*fasthttp.RequestCtx) { called = true }
			server := start(t, cfg)
			for range 3 {
				conn := dial(t, server)
				_, _ = io.WriteString(conn, c.sent) // may be cut off on the way
				_ = conn.(*net.TCPConn).CloseWrite()
				_, _ = io.ReadAll(conn)
			}
			require.NoError(t, server.Shutdown(t.Context()))
			require.False(t, called)
			if c.logged != "" {
				require.Equal(t, 1, strings.Count(log.String(), c.logged), log.String())
			} else {
				require.Empty(t, log.String())
			}
		})
	}
}

// F27: the header has its time as everything else.
func TestServer_BoundsTheTimeOfAProxyHeader(t *testing.T) {
	t.Parallel()
	server := start(t, naming(listen.Config{HeaderTimeout: 1, Proxies: listen.Proxies{Trusted: loopback, Protocol: true}}))
	conn := dial(t, server)
	write(t, conn, "PROXY TCP4 ")
	_, err := io.ReadAll(conn)
	_ = err // an end or a reset: the server has hung up either way
	await(t, "the connection to be closed", func() bool { return server.Stats().Open == 0 })
}

// Whatever comes, a caller is named and nothing breaks.
func FuzzServer_ProxyHeader(f *testing.F) {
	f.Add([]byte("PROXY TCP4 192.0.2.7 127.0.0.1 4711 8443\r\n"), "1.2.3.4, 10.0.0.1")
	f.Add([]byte("PROXY UNKNOWN\r\n"), "[::1]:80")
	f.Add([]byte("\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c\xc0\x00\x02\x07\x7f\x00\x00\x01\x12\x67\x20\xfb"), "a")
	f.Add([]byte("\r\n\r\n\x00\r\nQUIT\n\x20\x00\x00\x00"), "")
	cfg := naming(listen.Config{Name: "fuzz", Addr: "127.0.0.1:0", Logger: slog.New(slog.DiscardHandler), AcceptsPerSecond: 1 << 20,
		Proxies: listen.Proxies{Trusted: append([]netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}, loopback...), Protocol: true, Forwarded: true}})
	server, err := listen.New(cfg)
	require.NoError(f, err)
	server.Start()
	f.Cleanup(func() { _ = server.Shutdown(f.Context()) })
	f.Fuzz(func(t *testing.T, header []byte, forwarded string) {
		conn, err := net.Dial("tcp", server.Addr().String())
		require.NoError(t, err)
		defer conn.Close()
		forwarded = strings.NewReplacer("\r", "", "\n", "").Replace(forwarded)
		_, _ = io.WriteString(conn, string(header)+"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nX-Forwarded-For: "+forwarded+"\r\n\r\n")
		_ = conn.(*net.TCPConn).CloseWrite()
		answer, _ := io.ReadAll(conn)
		if _, caller, ok := strings.Cut(string(answer), "\r\n\r\n"); ok && strings.HasPrefix(string(answer), "HTTP/1.1 200") {
			if _, err := netip.ParseAddrPort(caller); err != nil {
				_, err = netip.ParseAddr(caller)
				require.NoError(t, err, caller)
			}
		}
	})
}
