package service

import (
	"context"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	"github.com/fasthttp/websocket"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"opensessionmanager/agent"
	"opensessionmanager/agent/settings"
	"opensessionmanager/internal/agentproto"
	"opensessionmanager/messages"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const patience = 30 * time.Second

// broker registers agents, gives tokens, greets and confirms one report.
func broker(t *testing.T, hellos chan<- *messages.HelloRequest, confirmed chan<- *messages.SessionsUpdateRequest) *httptest.Server {
	mux := http.NewServeMux()
	mux.HandleFunc("POST "+agentproto.PathRegister, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if !regexp.MustCompile(`"software_statement":"the-statement"`).Match(body) {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		w.WriteHeader(http.StatusCreated)
		fmt.Fprint(w, `{"client_id":"c","client_secret":"very-secret"}`)
	})
	mux.HandleFunc("POST "+agentproto.PathToken, func(w http.ResponseWriter, r *http.Request) {
		if _, secret, _ := r.BasicAuth(); secret != "very-secret" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		fmt.Fprint(w, `{"access_token":"bearer-secret","expires_in":3600}`)
	})
	mux.HandleFunc(agentproto.PathSocket, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer bearer-secret" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		var upgrader websocket.Upgrader
		conn, err := upgrader.Upgrade(w, r, nil)
		if err != nil {
			return
		}
		defer conn.Close()
		send := func(f *messages.AgentFrame) {
			data, _ := agentproto.Encode(f)
			_ = conn.WriteMessage(websocket.TextMessage, data)
		}
		for {
			_, data, err := conn.ReadMessage()
			if err != nil {
				return
			}
			frame, err := agentproto.Decode(data)
			if err != nil {
				t.Errorf("frame: %v", err)
				return
			}
			if hello := frame.GetHelloRequest(); hello != nil {
				send(&messages.AgentFrame{Body: &messages.AgentFrame_HelloResponse{HelloResponse: &messages.HelloResponse{
					RequestId: hello.GetRequestId(), Result: &messages.Result{Success: true},
					ProtocolVersion: &messages.ProtocolVersion{Major: messages.AgentProtocolMajor}}}})
				hellos <- hello
			}
			if report := frame.GetSessionsUpdateRequest(); report != nil {
				send(&messages.AgentFrame{Body: &messages.AgentFrame_SessionsUpdateResponse{SessionsUpdateResponse: &messages.SessionsUpdateResponse{
					RequestId: report.GetRequestId(), Result: &messages.UpdateResult{Success: true}}}})
				confirmed <- report
			}
		}
	})
	s := httptest.NewTLSServer(mux)
	t.Cleanup(s.Close)
	return s
}

// The whole agent as installed: configuration, certificate, registration, token,
// socket, report, log file, and the same identity after a restart.
func TestService_FromTheConfigurationFile(t *testing.T) {
	t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
	hellos := make(chan *messages.HelloRequest, 10)
	confirmed := make(chan *messages.SessionsUpdateRequest, 10)
	server := broker(t, hellos, confirmed)
	folder := t.TempDir()
	path := func(name string) string { return filepath.Join(folder, name) }
	certificate := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	require.NoError(t, os.WriteFile(path("ca.pem"), certificate, 0o600))
	require.NoError(t, os.WriteFile(path("statement"), []byte("the-statement\n"), 0o600))
	require.NoError(t, os.Mkdir(path("tags"), 0o700))
	require.NoError(t, os.WriteFile(path("tags/a.toml"), []byte("pool='blue'\n"), 0o600))
	host, port, err := net.SplitHostPort(server.Listener.Addr().String())
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(path("agent.conf"), fmt.Appendf(nil, `version = '0.1'
[agent]
broker_host = %q
broker_port = %s
ca_file = %q
software_statement_path = %q
tags_folder = %q
data_folder = %q
dcv_root = %q
max_virtual_sessions = 4
[log]
directory = %q
`, host, port, path("ca.pem"), path("statement"), path("tags"), path("data"), path("no-dcv"), path("log")), 0o600))

	first := runOnce(t, path("agent.conf"), hellos, confirmed)
	second := runOnce(t, path("agent.conf"), hellos, confirmed)
	require.Equal(t, first.GetMachineId(), second.GetMachineId())
	require.Equal(t, first.GetServerId(), second.GetServerId())
	require.NotEqual(t, first.GetInstanceId(), second.GetInstanceId())
	require.Equal(t, "blue", first.GetFacts().GetTags()["pool"])
	require.Equal(t, int32(4), first.GetFacts().GetMaxVirtualSessions())
	require.False(t, first.GetLoad().GetDcvHealthy())
	require.Contains(t, first.GetLoad().GetDcvError(), "no-dcv")

	log, err := os.ReadFile(path("log/agent.log"))
	require.NoError(t, err)
	require.Regexp(t, `(?m)^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{6} INFO ThreadId\(\d\d\) dcvsessionmanageragent::agent:`+
		`Processing broker message "\{.*sessionsUpdateResponse.*success.*\}"$`, string(log))
	require.NotContains(t, string(log), "secret")
	require.NotContains(t, string(log), "the-statement")
	info, err := os.Stat(path("data/credentials.json"))
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
}

func runOnce(t *testing.T, config string, hellos <-chan *messages.HelloRequest, confirmed <-chan *messages.SessionsUpdateRequest) *messages.HelloRequest {
	t.Helper()
	s, warnings, err := settings.Load(config)
	require.NoError(t, err)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	service, err := New(ctx, s, warnings, "1.2.3", nil)
	require.NoError(t, err)
	done := make(chan error, 1)
	go func() { done <- service.Run(ctx) }()
	hello := receive(t, hellos, "hello")
	receive(t, confirmed, "a confirmed report")
	require.Eventually(t, func() bool { return !service.agent.Status().LastAck.IsZero() }, patience, time.Millisecond,
		"the agent must see the confirmation")
	stop()
	require.NoError(t, receive(t, done, "the end"))
	require.NoError(t, service.Close())
	return hello
}

func receive[T any](t *testing.T, from <-chan T, what string) T {
	t.Helper()
	select {
	case v := <-from:
		return v
	case <-time.After(patience):
		t.Fatalf("waited in vain for %s", what)
		panic("unreachable")
	}
}

// Contract sections 4 and 7.
func TestLimits_DependOnTheSystem(t *testing.T) {
	t.Parallel()
	a := settings.Default("linux").Agent
	require.Equal(t, agent.Limits{MaxVirtual: -1, MaxPerUser: 1, MaxConsole: 1}, limits(a, "linux"))
	require.Equal(t, agent.Limits{MaxVirtual: 0, MaxPerUser: 1, MaxConsole: 1}, limits(a, "windows"))
	require.Equal(t, agent.Limits{MaxVirtual: 0, MaxPerUser: 1, MaxConsole: 1}, limits(a, "darwin"))
}

func TestTrust_FollowsTheSettings(t *testing.T) {
	t.Parallel()
	a := settings.Default("linux").Agent
	c, err := trust(a)
	require.NoError(t, err)
	require.False(t, c.InsecureSkipVerify)
	require.Nil(t, c.RootCAs)
	a.CAFile = filepath.Join(t.TempDir(), "missing")
	_, err = trust(a)
	require.Error(t, err)
	a.TLSStrict = false
	c, err = trust(a)
	require.NoError(t, err)
	require.True(t, c.InsecureSkipVerify)
}

func TestNew_SaysWhatIsWrongWithItsFolders(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	s := settings.Default("linux")
	s.Agent.BrokerHost = "b"
	s.Log.Directory = filepath.Join(file, "log")
	_, err := New(t.Context(), s, nil, "v", nil)
	require.Error(t, err)
	s.Log.Directory = filepath.Join(t.TempDir(), "log")
	s.Agent.DataFolder = filepath.Join(file, "data")
	_, err = New(t.Context(), s, nil, "v", io.Discard)
	require.ErrorContains(t, err, "machine id")
}
