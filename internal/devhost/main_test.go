package devhost_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"opensessionmanager/internal/devhost"
	"opensessionmanager/internal/devhost/control"
	"opensessionmanager/internal/devhost/dcvcmd"
	"opensessionmanager/internal/devhost/viewer"
)

// The test binary is also the `dcv` command of the hosts it starts.
func TestMain(m *testing.M) {
	if code, ran := dcvcmd.Intercept(context.Background(), os.Args, os.Stdout, os.Stderr); ran {
		os.Exit(code)
	}
	goleak.VerifyTestMain(m)
}

const patience = 20 * time.Second

func await(t *testing.T, what string, is func() bool) {
	t.Helper()
	require.Eventually(t, is, patience, 10*time.Millisecond, what)
}

func start(t *testing.T, cfg devhost.Config) *devhost.Host {
	t.Helper()
	if cfg.Dir == "" {
		cfg.Dir = filepath.Join(t.TempDir(), "host 1") // a folder with a space
	}
	host, err := devhost.Start(cfg)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, host.Close()) })
	return host
}

// dcv runs the `dcv` command in this process.
func dcv(t *testing.T, host *devhost.Host, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	var out, errs bytes.Buffer
	code = dcvcmd.Run(t.Context(), host.Info().Socket, args, &out, &errs)
	return out.String(), errs.String(), code
}

func mustDCV(t *testing.T, host *devhost.Host, args ...string) string {
	t.Helper()
	stdout, stderr, code := dcv(t, host, args...)
	require.Zero(t, code, stderr)
	require.Empty(t, stderr)
	return stdout
}

func refuseDCV(t *testing.T, host *devhost.Host, args ...string) string {
	t.Helper()
	stdout, stderr, code := dcv(t, host, args...)
	require.Equal(t, 1, code, "%v", args)
	require.Empty(t, stdout)
	return strings.TrimSpace(stderr)
}

// broker verifies tokens as a broker does: each is good for one session.
type broker struct {
	mu     sync.Mutex
	tokens map[string][2]string // token → session, user
	url    string
}

func startBroker(t *testing.T) *broker {
	t.Helper()
	b := &broker{tokens: map[string][2]string{}}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b.mu.Lock()
		defer b.mu.Unlock()
		grant, known := b.tokens[r.PostFormValue("authenticationToken")]
		if !known || grant[0] != r.PostFormValue("sessionId") {
			_, _ = io.WriteString(w, `<auth result="no"><message>unknown token</message></auth>`)
			return
		}
		fmt.Fprintf(w, `<auth result="yes"><username>%s</username></auth>`, grant[1])
	}))
	t.Cleanup(server.Close)
	b.url = server.URL
	return b
}

// grant makes a token and the client URL with it.
func (b *broker) grant(host *devhost.Host, session, user string) string {
	b.mu.Lock()
	defer b.mu.Unlock()
	token := fmt.Sprintf("token-%d", len(b.tokens))
	b.tokens[token] = [2]string{session, user}
	return clientURL(host, token, session)
}

func clientURL(host *devhost.Host, token, session string) string {
	info := host.Info()
	return fmt.Sprintf("https://%s:%d%s?authToken=%s#%s", info.Address, info.Port, info.WebURLPath, url.QueryEscape(token), session)
}

func trust(t *testing.T, host *devhost.Host) *tls.Config {
	t.Helper()
	pem, err := os.ReadFile(host.Info().CertFile)
	require.NoError(t, err)
	pool := x509.NewCertPool()
	require.True(t, pool.AppendCertsFromPEM(pem))
	return &tls.Config{RootCAs: pool}
}

func connect(t *testing.T, host *devhost.Host, clientURL string) (*viewer.Viewer, error) {
	t.Helper()
	v, err := viewer.Connect(t.Context(), clientURL, trust(t, host))
	if err == nil {
		t.Cleanup(func() { _ = v.Close() })
	}
	return v, err
}

// untilEnd reads events until the host cuts the connection.
func untilEnd(t *testing.T, v *viewer.Viewer) error {
	t.Helper()
	for {
		if _, _, err := v.Next(); err != nil {
			return err
		}
	}
}

func session(t *testing.T, host *devhost.Host, id string) control.Session {
	t.Helper()
	for _, s := range host.Sessions() {
		if s.ID == id {
			return s
		}
	}
	require.Fail(t, "no such session", id)
	return control.Session{}
}
