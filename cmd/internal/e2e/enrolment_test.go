package e2e

import (
	"crypto/tls"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// enrolmentToken makes a token as an administrator does, and cuts it out as a script does.
func (b *broker) enrolmentToken(args ...string) string {
	b.t.Helper()
	text, ok := strings.CutPrefix(b.admin(append([]string{"generate-enrolment-token"}, args...)...), "enrolment-token: ")
	require.True(b.t, ok)
	return strings.TrimSpace(text)
}

// enrol runs the command on a host.
func (h *host) enrol(token string, more ...string) outcome {
	h.t.Helper()
	return command(h.t, agentProgram, append([]string{"enrol", "--config", h.confFile(), "--token", token}, more...)...)
}

func (b *broker) auditTrail() string {
	b.t.Helper()
	text, err := os.ReadFile(filepath.Join(b.dir, "work", "audit.log"))
	require.NoError(b.t, err)
	return string(text)
}

// N10, C17, C18: a token and the broker's name are all that a host needs. Then it works
// as any other; the token does not work twice.
func TestEnrolment_ATokenIsAllThatAHostNeeds(t *testing.T) {
	t.Parallel()
	b := startBroker(t)
	h, late := b.prepareHost("a", hostOptions{enrols: true}), b.prepareHost("b", hostOptions{enrols: true})
	token := b.enrolmentToken()
	said := h.enrol(token)
	require.Zero(t, said.code, said.stderr)
	require.Contains(t, said.stdout, "broker_host = '127.0.0.1'")
	again := h.enrol(token) // a script that runs again
	require.Zero(t, again.code, again.stderr)
	require.Contains(t, again.stdout, "already")
	h.startAgent()
	b.api.awaitServer("a", "AVAILABLE", "")
	id := b.api.create(virtual("alice", nil)).SuccessfulList[0].ID
	b.api.awaitState(id, "READY")

	refused := late.enrol(token)
	require.Equal(t, 4, refused.code)
	require.Contains(t, refused.stderr, "The enrolment token was used already; ask for another one")
	require.Contains(t, late.enrol(token[:60]).stderr, "copy all of it")
	agents := b.agentClients()
	require.Len(t, agents, 1)
	require.Contains(t, said.stdout, agents[0].ID)

	data := filepath.Join(h.dir, "data")
	ca, err := os.ReadFile(filepath.Join(data, "broker-ca.pem"))
	require.NoError(t, err)
	ours, err := os.ReadFile(b.caFile())
	require.NoError(t, err)
	require.Equal(t, string(ours), string(ca))
	secret, err := os.ReadFile(filepath.Join(data, "credentials.json"))
	require.NoError(t, err)
	if runtime.GOOS != "windows" {
		info, err := os.Stat(filepath.Join(data, "credentials.json"))
		require.NoError(t, err)
		require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
	}
	require.NoFileExists(t, filepath.Join(data, "enrolment.json"))

	var kept struct {
		Secret string `json:"client_secret"`
	}
	require.NoError(t, json.Unmarshal(secret, &kept))
	trail := b.auditTrail()
	require.Equal(t, 1, strings.Count(trail, `"msg":"register-agent"`), "one line for who was let in")
	require.Equal(t, 1, strings.Count(trail, "used already"), "and one for who was not")
	for _, text := range []string{trail, b.log.String(), h.agentLog(), said.stdout} {
		require.NotContains(t, text, token[20:60])
		require.NotContains(t, text, kept.Secret)
	}
}

// A token that was revoked with those who used it.
func TestEnrolment_RevokedWithItsAgents(t *testing.T) {
	t.Parallel()
	b := startBroker(t, "agent-grace-seconds = 1")
	h := b.prepareHost("a", hostOptions{enrols: true})
	token := b.enrolmentToken("--uses", "2")
	require.Zero(t, h.enrol(token).code)
	h.startAgent()
	b.api.awaitServer("a", "AVAILABLE", "")
	var tokens []struct {
		ID       string
		UsesLeft int `json:"uses-left"`
		Active   bool
	}
	require.NoError(t, json.Unmarshal([]byte(b.admin("describe-enrolment-tokens", "--output", "json")), &tokens))
	require.Len(t, tokens, 1)
	require.Equal(t, 1, tokens[0].UsesLeft)
	require.Contains(t, b.admin("revoke-enrolment-token", "--id", tokens[0].ID, "--with-agents"), "1 agent clients unregistered\n")
	b.api.awaitServer("a", "UNAVAILABLE", "UNREACHABLE_AGENT")
	again := b.prepareHost("b", hostOptions{enrols: true}).enrol(token)
	require.Equal(t, 4, again.code)
	require.Contains(t, again.stderr, "revoked")
}

// An image with a token in it: the agent enrols by itself, also if its broker comes later.
func TestEnrolment_AnAgentEnrolsByItself(t *testing.T) {
	t.Parallel()
	b := startBroker(t)
	tokenFile := filepath.Join(b.dir, "token")
	require.NoError(t, os.WriteFile(tokenFile, []byte(b.admin("generate-enrolment-token", "--uses", "2")), 0o600))
	b.proc.kill()
	hosts := []*host{b.startHost("a", hostOptions{enrols: true, tokenFile: tokenFile}), b.startHost("b", hostOptions{enrols: true, tokenFile: tokenFile})}
	for _, h := range hosts {
		await(t, "the agent to have tried", func() error {
			if !strings.Contains(h.agentLog(), "Cannot enrol this host yet") {
				return fmt.Errorf("nothing in its log")
			}
			return nil
		})
	}
	b.start()
	for _, h := range hosts {
		b.api.awaitServer(h.name, "AVAILABLE", "")
	}
	require.Len(t, b.agentClients(), 2)
	hosts[0].agent.kill()
	hosts[0].startAgent()
	b.api.awaitServer("a", "AVAILABLE", "")
	require.Len(t, b.agentClients(), 2, "it enrolled once")
}

// middle is somebody between host and broker, with a certificate of its own.
type middle struct {
	*httptest.Server
	mu   sync.Mutex
	seen []string // paths
}

// startMiddle answers /agent/ca with authority, or its own certificate if there is none,
// and passes on the rest.
func startMiddle(t *testing.T, b *broker, authority []byte) *middle {
	m := &middle{}
	to, err := url.Parse(b.agentURL(""))
	require.NoError(t, err)
	onward := httputil.NewSingleHostReverseProxy(to)
	onward.Transport = &http.Transport{TLSClientConfig: &tls.Config{RootCAs: b.caPool()}, DisableKeepAlives: true}
	m.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		m.mu.Lock()
		m.seen = append(m.seen, r.URL.Path)
		m.mu.Unlock()
		if r.URL.Path != "/agent/ca" {
			onward.ServeHTTP(w, r)
			return
		}
		if authority == nil {
			_, _ = w.Write(m.own())
		}
		_, _ = w.Write(authority)
	}))
	m.Config.ErrorLog = nil
	m.StartTLS()
	t.Cleanup(m.Close)
	return m
}

func (m *middle) own() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: m.Certificate().Raw})
}

func (m *middle) address() string { return m.Listener.Addr().String() }

func (m *middle) paths() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.seen
}

// Somebody in the middle learns nothing: with an authority of its own, with the right one
// and a certificate that this did not sign, with both. The token works afterwards.
func TestEnrolment_SomebodyInTheMiddleGetsNothing(t *testing.T) {
	t.Parallel()
	b := startBroker(t)
	h := b.prepareHost("a", hostOptions{enrols: true})
	token := b.enrolmentToken()
	ours, err := os.ReadFile(b.caFile())
	require.NoError(t, err)
	own, relayed := startMiddle(t, b, nil), startMiddle(t, b, ours)
	both := startMiddle(t, b, append(relayed.own(), ours...))

	said := h.enrol(token, "--broker", own.address())
	require.Equal(t, 5, said.code)
	require.Contains(t, said.stderr, "somebody may be in the middle")
	for _, m := range []*middle{relayed, both} {
		said := h.enrol(token, "--broker", m.address())
		require.Equal(t, 5, said.code)
		require.Contains(t, said.stderr, "not signed by the authority that was expected")
	}
	for _, m := range []*middle{own, relayed, both} {
		require.Equal(t, []string{"/agent/ca"}, m.paths(), "the token never went there")
	}
	require.NoFileExists(t, filepath.Join(h.dir, "data", "broker-ca.pem"))
	require.NoFileExists(t, filepath.Join(h.dir, "data", "credentials.json"))
	require.Zero(t, h.enrol(token, "--broker", b.agentAddress()).code)
}

// A balancer that ends TLS is trusted by ca_file, as the operator says.
func TestEnrolment_ThroughABalancerThatEndsTLS(t *testing.T) {
	t.Parallel()
	b := startBroker(t)
	h := b.prepareHost("a", hostOptions{enrols: true})
	balancer := startMiddle(t, b, nil)
	file := filepath.Join(b.dir, "balancer.pem")
	require.NoError(t, os.WriteFile(file, balancer.own(), 0o600))
	text, err := os.ReadFile(h.confFile())
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(h.confFile(), []byte(strings.Replace(string(text), "[agent]\n", "[agent]\nca_file = '"+file+"'\n", 1)), 0o600))
	said := h.enrol(b.enrolmentToken(), "--broker", balancer.address())
	require.Zero(t, said.code, said.stderr)
	require.Contains(t, said.stdout, "ca_file = '"+file+"'")
	require.NoFileExists(t, filepath.Join(h.dir, "data", "broker-ca.pem"))
}

func TestEnrolment_NobodyThereIsWorthAnotherTry(t *testing.T) {
	t.Parallel()
	b := startBroker(t)
	h := b.prepareHost("a", hostOptions{enrols: true})
	token := b.enrolmentToken()
	said := h.enrol(token, "--broker", fmt.Sprintf("127.0.0.1:%d", freePort(t)))
	require.Equal(t, 3, said.code)
	require.Contains(t, said.stderr, "The token is not used up")
	require.Zero(t, h.enrol(token).code)
}
