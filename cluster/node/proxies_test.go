package node

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"opensessionmanager/internal/certs"
	"opensessionmanager/internal/config"
)

// words is a log that a test may read while it is written.
type words struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (w *words) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.text.Write(p)
}

func (w *words) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.text.String()
}

// refusedCall sends a request without a token after some bytes of a proxy. The error is
// that of the connection.
func refusedCall(t *testing.T, dir, address, serverName, first, request string) error {
	t.Helper()
	pem, err := os.ReadFile(filepath.Join(dir, "security", certs.CAFile))
	require.NoError(t, err)
	roots := x509.NewCertPool()
	require.True(t, roots.AppendCertsFromPEM(pem))
	raw, err := net.Dial("tcp", address)
	require.NoError(t, err)
	defer raw.Close()
	_, err = io.WriteString(raw, first)
	require.NoError(t, err)
	conn := tls.Client(raw, &tls.Config{RootCAs: roots, ServerName: serverName})
	if _, err := fmt.Fprintf(conn, "%s HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 6.6.6.6, 192.0.2.44\r\nConnection: close\r\n\r\n", request); err != nil {
		return err
	}
	answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err == nil {
		defer answer.Body.Close()
		require.Equal(t, http.StatusUnauthorized, answer.StatusCode)
	}
	return err
}

// C25, F39: trusted-proxies with proxy-protocol and enable-throttling-forward-header, and
// certificate-names: each has its effect on the port it is for, and there only.
func TestNode_NamesTheCallerBehindProxies(t *testing.T) {
	t.Parallel()
	const header = "PROXY TCP4 192.0.2.33 127.0.0.1 4711 8443\r\n"
	for name, c := range map[string]struct {
		proxies           config.Proxies
		forward           bool
		client, agent     string // what a connection to the port begins with
		clientIs, agentIs string // remote in the log of the refusal
	}{
		"nothing configured": {config.Proxies{Protocol: "off"}, false, "", "", "127.0.0.1:", "127.0.0.1:"},
		"nobody trusted":     {config.Proxies{Protocol: "off"}, true, "", "", "127.0.0.1:", "127.0.0.1:"},
		"X-Forwarded-For":    {config.Proxies{Protocol: "off", Trusted: []string{"127.0.0.1"}}, true, "", "", "192.0.2.44 ", "192.0.2.44 "},
		"both ports":         {config.Proxies{Protocol: "both", Trusted: []string{"127.0.0.0/8"}}, false, header, header, "192.0.2.33:4711", "192.0.2.33:4711"},
		"client":             {config.Proxies{Protocol: "client", Trusted: []string{"127.0.0.0/8"}}, false, header, "", "192.0.2.33:4711", "127.0.0.1:"},
		"agent":              {config.Proxies{Protocol: "agent", Trusted: []string{"127.0.0.0/8"}}, false, "", header, "127.0.0.1:", "192.0.2.33:4711"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir, log := t.TempDir(), &words{}
			opt := options(t, dir)
			opt.Logger = slog.New(slog.NewTextHandler(log, nil))
			opt.Config.Proxies, opt.Config.Throttling.ForwardHeader = c.proxies, c.forward
			opt.Config.Proxies.Names = []string{"dcv.example.com"}
			n := start(t, opt)
			require.NoError(t, refusedCall(t, dir, n.ClientAddr(), "dcv.example.com", c.client, "POST /describeSessions"))
			require.NoError(t, refusedCall(t, dir, n.AgentAddr(), "dcv.example.com", c.agent, "GET /agent/ws"))
			require.Regexp(t, `"API request not authorized".* remote="?`+c.clientIs, log.String())
			require.Regexp(t, `"agent refused".* remote="?`+c.agentIs, log.String())

			other := map[string]string{"": header, header: ""}
			if c.proxies.Protocol != "off" {
				require.Error(t, refusedCall(t, dir, n.ClientAddr(), "localhost", other[c.client], "POST /describeSessions"))
			}
			require.Error(t, refusedCall(t, dir, n.ClientAddr(), "other.example.com", c.client, "POST /describeSessions"))
		})
	}
}
