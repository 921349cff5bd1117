package e2e

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"image"
	_ "image/png" // screenshots are decoded
	"net/http"
	"os/exec"
	"testing"

	"github.com/stretchr/testify/require"
)

// What the broker is for: a session's whole life on real hosts with real agents, and each
// of the nine operations with a good and a bad end (contract 1.3 to 1.10, F42, F45).
func TestMainJob_ASessionsWholeLifeOnThreeHosts(t *testing.T) {
	t.Parallel()
	b := startBroker(t, "delete-session-duration-seconds = 2", "session-screenshot-max-width = 200", "session-screenshot-max-height = 120")
	hosts := map[string]*host{}
	for name, color := range map[string]string{"a": "red", "b": "blue", "c": "green"} {
		hosts[name] = b.startHost(name, hostOptions{tags: map[string]string{"color": color}, maxVirtual: 3, perUser: 2})
	}
	for name := range hosts {
		b.api.awaitServer(name, "AVAILABLE", "")
	}
	awaitAcknowledgedReport(t, hosts["a"])

	id := createdWhereRequired(t, b, hosts)
	data := connectedAndCounted(t, b, hosts["b"], id)
	pictured(t, b, id)
	permitted(t, b, hosts["b"], id)
	deletedAndForgotten(t, b, hosts["b"], id)

	require.Contains(t, connect(t, hosts["b"], data).stderr, "refused", "a token dies with its session (F34)")
	serversOpenAndClose(t, b)
	refusesOnTheWhole(t, b)
}

// awaitAcknowledgedReport is the check that administrators do (contract section 3).
func awaitAcknowledgedReport(t *testing.T, h *host) {
	t.Helper()
	await(t, "an acknowledged report in agent.log", func() error {
		script := "grep 'sessionsUpdateResponse' '" + h.dir + "/log/agent.log' | tail -1 | grep -o success"
		out, err := exec.CommandContext(t.Context(), "sh", "-c", script).CombinedOutput()
		if err == nil && string(out) != "success\n" {
			err = fmt.Errorf("the check printed %q", out)
		}
		return err
	})
}

func createdWhereRequired(t *testing.T, b *broker, hosts map[string]*host) string {
	r := b.api.create(
		virtual("alice", object{"Requirements": "tag:color = 'blue' and server:Host.Os.Family = 'linux'", "StorageRoot": "%home%", "MaxConcurrentClients": 5}),
		virtual("alice", object{"Requirements": "tag:color = 'purple'"}),
		virtual("alice", object{"Requirements": "server:Ip = '1.1.1.1'"}),
		virtual("", nil),
	)
	require.Len(t, r.SuccessfulList, 1)
	s := r.SuccessfulList[0]
	require.Equal(t, "CREATING", s.State)
	require.Equal(t, "VIRTUAL", s.Type)
	require.Len(t, r.UnsuccessfulList, 3)
	require.Equal(t, "No DCV server found for the given criteria", r.UnsuccessfulList[0].FailureReason)
	require.Contains(t, r.UnsuccessfulList[1].FailureReason, "Server property server:Ip not found")
	require.Equal(t, "Owner is required", r.UnsuccessfulList[2].FailureReason)

	ready := b.api.awaitState(s.ID, "READY")
	require.Equal(t, b.api.awaitServer("b", "AVAILABLE", "").ID, ready.Server.ID)
	onHost, err := hosts["b"].sessions()
	require.NoError(t, err)
	require.Equal(t, "alice", onHost[s.ID].Owner)
	require.Equal(t, "desktop of alice", onHost[s.ID].Name)
	require.Equal(t, 1, b.api.awaitServer("b", "AVAILABLE", "").VirtualSessionCount)

	filtered := call[describedSessions](b.api, http.MethodPost, "/describeSessions", object{"Filters": list{
		object{"Key": "owner", "Value": "alice"}, object{"Key": "tag:color", "Value": "blue"}}})
	require.Len(t, filtered.Sessions, 1)
	absent := call[describedSessions](b.api, http.MethodPost, "/describeSessions", object{"SessionIds": list{"no-such-session"}})
	require.Empty(t, absent.Sessions)
	return s.ID
}

// url is what a user opens (contract section 1.8).
func (d connectionData) url() string {
	s := d.Session.Server
	return fmt.Sprintf("https://127.0.0.1:%s%s?authToken=%s#%s", s.Port, s.WebURLPath, d.ConnectionToken, d.Session.ID)
}

func connect(t *testing.T, h *host, d connectionData) outcome {
	t.Helper()
	return command(t, hostProgram, "connect", "--ca-file", h.folder()+"/dcv.pem", "--for", "10ms", d.url())
}

func connectedAndCounted(t *testing.T, b *broker, h *host, id string) connectionData {
	data := call[connectionData](b.api, http.MethodGet, "/sessionConnectionData/"+id+"/alice", nil)
	require.Equal(t, id, data.Session.ID)
	viewer := start(t, h.log, hostProgram, "connect", "--insecure", data.url())
	await(t, "one connection", func() error {
		s, err := b.api.session(id)
		if err == nil && s.NumOfConnections != 1 {
			err = fmt.Errorf("%d connections", s.NumOfConnections)
		}
		if !viewer.running() {
			t.Fatal("the viewer ended")
		}
		return err
	})
	require.Zero(t, viewer.stop())
	await(t, "no connection", func() error {
		s, err := b.api.session(id)
		if err == nil && s.NumOfConnections != 0 {
			err = fmt.Errorf("%d connections", s.NumOfConnections)
		}
		return err
	})
	require.Contains(t, b.api.refused(http.MethodGet, "/sessionConnectionData/no-such-session/alice", nil, http.StatusBadRequest), "not found")
	return data
}

func pictured(t *testing.T, b *broker, id string) {
	for width, item := range map[int]object{200: {"SessionId": id}, 64: {"SessionId": id, "MaxWidth": 64, "MaxHeight": 64}} {
		r := call[shots](b.api, http.MethodPost, "/getSessionScreenshots", list{item, object{"SessionId": "no-such-session"}})
		require.Len(t, r.SuccessfulList, 1)
		require.NotEmpty(t, r.SuccessfulList[0].SessionScreenshot.Images)
		shot := r.SuccessfulList[0].SessionScreenshot.Images[0]
		require.Equal(t, "png", shot.Format)
		picture, format, err := image.Decode(bytes.NewReader(shot.Data))
		require.NoError(t, err)
		require.Equal(t, "png", format)
		require.LessOrEqual(t, picture.Bounds().Dx(), width)
		require.Positive(t, picture.Bounds().Dx())
		require.Len(t, r.UnsuccessfulList, 1)
		require.Equal(t, "Dcv session not found.", r.UnsuccessfulList[0].FailureReason)
	}
}

// permitted: who was not allowed in is, once the permissions say so.
func permitted(t *testing.T, b *broker, h *host, id string) {
	bob := func() connectionData {
		return call[connectionData](b.api, http.MethodGet, "/sessionConnectionData/"+id+"/bob", nil)
	}
	require.Equal(t, 3, connect(t, h, bob()).code, "a stranger is refused")
	file := base64.StdEncoding.EncodeToString([]byte("[permissions]\n%owner% allow builtin\nbob allow builtin\n"))
	r := call[results](b.api, http.MethodPut, "/sessionPermissions", list{
		object{"SessionId": id, "Owner": "alice", "PermissionsFile": file},
		object{"SessionId": id, "Owner": "mallory", "PermissionsFile": file},
		object{"SessionId": id, "Owner": "alice", "PermissionsFile": "not base64!"},
	})
	require.Len(t, r.SuccessfulList, 1)
	require.Len(t, r.UnsuccessfulList, 2)
	require.Equal(t, "The requested dcvSession does not exist", r.UnsuccessfulList[0].FailureReason)
	o := connect(t, h, bob())
	require.Zero(t, o.code, o.stderr)
	require.Contains(t, o.stdout, "as bob")
}

func deletedAndForgotten(t *testing.T, b *broker, h *host, id string) {
	r := call[results](b.api, http.MethodPost, "/deleteSessions", list{
		object{"SessionId": id, "Owner": "mallory"},
		object{"SessionId": id, "Owner": "alice", "Force": false},
		object{"SessionId": "no-such-session", "Owner": "alice"},
	})
	require.Len(t, r.SuccessfulList, 1)
	require.Equal(t, "DELETING", r.SuccessfulList[0].State)
	require.Len(t, r.UnsuccessfulList, 2)
	for _, f := range r.UnsuccessfulList {
		require.Equal(t, "The requested dcvSession does not exist", f.FailureReason)
	}
	b.api.awaitState(id, "DELETED")
	h.awaitSession(id, false)
	await(t, "the session to be forgotten", func() error {
		all, err := b.api.sessions()
		if _, still := all[id]; err == nil && still {
			err = errors.New("it is still visible")
		}
		return err
	})
	again := b.api.delete(id, "alice", true)
	require.Equal(t, "The requested dcvSession does not exist", again.UnsuccessfulList[0].FailureReason)
}

func serversOpenAndClose(t *testing.T, b *broker) {
	id := b.api.awaitServer("c", "AVAILABLE", "").ID
	items := list{object{"ServerId": id}, object{"ServerId": "no-such-server"}}
	for _, path := range []string{"/closeServers", "/openServers"} {
		r := call[serverResults](b.api, http.MethodPost, path, items)
		require.Len(t, r.SuccessfulList, 1)
		require.Equal(t, "DCV_SERVER_NOT_FOUND", r.UnsuccessfulList[0].FailureCode)
		require.Equal(t, "Dcv server not found.", r.UnsuccessfulList[0].FailureReason)
		if path == "/closeServers" {
			b.api.awaitServer("c", "UNAVAILABLE", "SERVER_CLOSED")
		}
	}
	b.api.awaitServer("c", "AVAILABLE", "")
}

// refusesOnTheWhole: each operation without a token and with a body that is none.
func refusesOnTheWhole(t *testing.T, b *broker) {
	for path, method := range map[string]string{
		"/describeSessions": http.MethodPost, "/describeServers": http.MethodPost, "/createSessions": http.MethodPost,
		"/deleteSessions": http.MethodPost, "/sessionPermissions": http.MethodPut, "/getSessionScreenshots": http.MethodPost,
		"/openServers": http.MethodPost, "/closeServers": http.MethodPost,
	} {
		require.Equal(t, "No authorization header", b.anybody.refused(method, path, "[]", http.StatusUnauthorized))
		require.NotEmpty(t, b.api.refused(method, path, `{"Nonsense": 1`, http.StatusBadRequest), path)
		require.NotEmpty(t, b.api.refused(method, path, `"text"`, http.StatusBadRequest), path)
	}
	require.Contains(t, b.api.refused(http.MethodPost, "/getSessionScreenshots", `[{"SessionId": "s", "MaxWidht": 1}]`, http.StatusBadRequest),
		`Unrecognized field "MaxWidht"`)
	vendorsProbe(t, b)
}

// vendorsProbe is the readiness check of the vendor's guide, word for word (contract 1.1).
func vendorsProbe(t *testing.T, b *broker) {
	out, err := exec.CommandContext(t.Context(), "curl", "-s", "-k", "-X", "GET", b.url()+"/sessionConnectionData/aSession/aOwner",
		"--insecure").Output()
	if errors.Is(err, exec.ErrNotFound) {
		a, err := b.anybody.try(http.MethodGet, "/sessionConnectionData/aSession/aOwner", nil)
		require.NoError(t, err)
		out = a.body
	} else {
		require.NoError(t, err)
	}
	require.Equal(t, `{"error": "No authorization header"}`, string(out))
}
