package devhost_test

import (
	"bytes"
	"encoding/json"
	"image"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"opensessionmanager/internal/devhost"
	"opensessionmanager/internal/devhost/control"
	"opensessionmanager/internal/devhost/viewer"
)

func TestClient_SeesTheSessionAndIsCounted(t *testing.T) {
	t.Parallel()
	b := startBroker(t)
	host := start(t, devhost.Config{VerifierURL: b.url, WebURLPath: "/dcv/"})
	mustDCV(t, host, "create-session", "--owner", "alice", "--name", "desk", "s-1")
	v, err := connect(t, host, b.grant(host, "s-1", "alice"))
	require.NoError(t, err)
	w := v.Welcome()
	require.Equal(t, []any{"s-1", "desk", "alice", "alice", 1}, []any{w.Session, w.Name, w.Owner, w.User, w.Connections})

	event, _, err := v.Next()
	require.NoError(t, err)
	require.Equal(t, viewer.State, event.Type)
	_, picture, err := v.Next()
	require.NoError(t, err)
	_, format, err := image.DecodeConfig(bytes.NewReader(picture))
	require.NoError(t, err)
	require.Equal(t, "jpeg", format)

	var connections []control.Connection
	require.NoError(t, json.Unmarshal([]byte(mustDCV(t, host, "list-connections", "-j", "s-1")), &connections))
	require.Len(t, connections, 1)
	require.Equal(t, "alice", connections[0].Username)
	require.Equal(t, w.Connection, connections[0].ID)
	require.Equal(t, 1, session(t, host, "s-1").NumOfConnections)
	require.Empty(t, session(t, host, "s-1").LastDisconnectionTime)

	require.NoError(t, v.Close())
	await(t, "the host to notice", func() bool { return session(t, host, "s-1").NumOfConnections == 0 })
	require.NotEmpty(t, session(t, host, "s-1").LastDisconnectionTime)
}

func TestClient_RefreshBringsANewPicture(t *testing.T) {
	t.Parallel()
	b := startBroker(t)
	host := start(t, devhost.Config{VerifierURL: b.url})
	mustDCV(t, host, "create-session", "--owner", "alice", "s-1")
	v, err := connect(t, host, b.grant(host, "s-1", "alice"))
	require.NoError(t, err)
	for pictures := 0; pictures < 3; {
		_, picture, err := v.Next()
		require.NoError(t, err)
		if picture != nil {
			pictures++
			require.NoError(t, v.Refresh())
		}
	}
}

// Expectation F34: a token for another session or user, an old one, none: refused
// by the verifier, and not counted.
func TestClient_IsRefusedWithoutTheRightToken(t *testing.T) {
	t.Parallel()
	b := startBroker(t)
	host := start(t, devhost.Config{VerifierURL: b.url})
	mustDCV(t, host, "create-session", "--owner", "alice", "s-1")
	mustDCV(t, host, "create-session", "--owner", "alice", "s-2")
	other := strings.Replace(b.grant(host, "s-1", "alice"), "#s-1", "#s-2", 1)
	for address, want := range map[string]string{
		clientURL(host, "guessed", "s-1"):                   "unknown token",
		clientURL(host, "", "s-1"):                          "unknown token",
		other:                                               "unknown token",
		b.grant(host, "s-1", "mallory"):                     "no permission",
		b.grant(host, "s-9", "alice"):                       "was not found",
		clientURL(host, strings.Repeat("x", 20_000), "s-1"): "token too long",
	} {
		_, err := connect(t, host, address)
		require.ErrorIs(t, err, viewer.ErrRefused)
		require.ErrorContains(t, err, want)
	}
	require.Zero(t, session(t, host, "s-1").NumOfConnections+session(t, host, "s-2").NumOfConnections)
	require.Empty(t, session(t, host, "s-1").LastDisconnectionTime)
}

func TestClient_NobodyGetsInWithoutAVerifier(t *testing.T) {
	t.Parallel()
	host := start(t, devhost.Config{})
	mustDCV(t, host, "create-session", "--owner", "alice", "s-1")
	_, err := connect(t, host, clientURL(host, "t", "s-1"))
	require.ErrorContains(t, err, "no auth-token-verifier")

	silent := start(t, devhost.Config{VerifierURL: "http://127.0.0.1:1/"})
	mustDCV(t, silent, "create-session", "--owner", "alice", "s-1")
	_, err = connect(t, silent, clientURL(silent, "t", "s-1"))
	require.ErrorContains(t, err, "no usable answer")
}

func TestClient_MaxConcurrentClientsHolds(t *testing.T) {
	t.Parallel()
	b := startBroker(t)
	host := start(t, devhost.Config{VerifierURL: b.url})
	mustDCV(t, host, "create-session", "--owner", "alice", "--max-concurrent-clients", "1", "s-1")
	first, err := connect(t, host, b.grant(host, "s-1", "alice"))
	require.NoError(t, err)
	_, err = connect(t, host, b.grant(host, "s-1", "alice"))
	require.ErrorContains(t, err, "maximum number of clients (1)")
	require.NoError(t, first.Close())
	await(t, "room for another", func() bool {
		_, err := connect(t, host, b.grant(host, "s-1", "alice"))
		return err == nil
	})
}

func TestClient_PermissionsAreHonouredAtOnce(t *testing.T) {
	t.Parallel()
	b := startBroker(t)
	host := start(t, devhost.Config{VerifierURL: b.url})
	file := filepath.Join(t.TempDir(), "p")
	require.NoError(t, os.WriteFile(file, []byte("[permissions]\n%owner% allow builtin\nbob allow mouse\n"), 0o600))
	mustDCV(t, host, "create-session", "--owner", "alice", "--permissions-file", file, "s-1")
	bob, err := connect(t, host, b.grant(host, "s-1", "bob"))
	require.NoError(t, err)
	require.Equal(t, []string{"mouse"}, bob.Welcome().Features)
	alice, err := connect(t, host, b.grant(host, "s-1", "alice"))
	require.NoError(t, err)

	mustDCV(t, host, "set-permissions", "--session", "s-1", "--reset-builtin")
	require.ErrorIs(t, untilEnd(t, bob), viewer.ErrEnded)
	await(t, "only alice to be left", func() bool { return session(t, host, "s-1").NumOfConnections == 1 })
	mustDCV(t, host, "set-permissions", "--session", "s-1", "--none")
	require.ErrorContains(t, untilEnd(t, alice), "no longer allowed")
	_, err = connect(t, host, b.grant(host, "s-1", "alice"))
	require.ErrorContains(t, err, "no permission")
	require.NoError(t, os.WriteFile(file, []byte("nonsense"), 0o600))
	require.Contains(t, refuseDCV(t, host, "set-permissions", "--session", "s-1", "--file", file), "line 1")
}

func TestClient_IsCutByAdministratorAndByTheEndOfTheSession(t *testing.T) {
	t.Parallel()
	b := startBroker(t)
	host := start(t, devhost.Config{VerifierURL: b.url})
	mustDCV(t, host, "create-session", "--owner", "alice", "s-1")
	v, err := connect(t, host, b.grant(host, "s-1", "alice"))
	require.NoError(t, err)
	require.Contains(t, refuseDCV(t, host, "close-connection", "s-1", "99"), "was not found")
	mustDCV(t, host, "close-connection", "s-1", strconv.Itoa(v.Welcome().Connection))
	require.ErrorContains(t, untilEnd(t, v), "administrator")

	v, err = connect(t, host, b.grant(host, "s-1", "alice"))
	require.NoError(t, err)
	mustDCV(t, host, "close-session", "s-1")
	require.ErrorContains(t, untilEnd(t, v), "session has been closed")
}

func TestClient_PageIsSelfContained(t *testing.T) {
	t.Parallel()
	host := start(t, devhost.Config{WebURLPath: "desk"})
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: trust(t, host)}}
	t.Cleanup(client.CloseIdleConnections)
	address, _, _ := strings.Cut(clientURL(host, "secret-token", "s-1"), "#")
	require.Contains(t, address, "/desk?authToken")
	response, err := client.Get(address)
	require.NoError(t, err)
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, response.StatusCode)
	require.Contains(t, response.Header.Get("Content-Security-Policy"), "default-src 'none'")
	require.Equal(t, "no-referrer", response.Header.Get("Referrer-Policy"))
	require.NotContains(t, string(body), "NONCE")
	require.NotContains(t, string(body), "secret-token")
	require.NotContains(t, string(body), "http://")
}

func FuzzParseURL(f *testing.F) {
	f.Add("https://h:8443/x?authToken=t#s")
	f.Add("dcv://[::1]/#%zz")
	f.Fuzz(func(t *testing.T, raw string) {
		a, err := viewer.ParseURL(raw)
		if err != nil {
			require.ErrorIs(t, err, viewer.ErrURL)
			return
		}
		require.NotEmpty(t, a.SessionID)
		require.True(t, strings.HasPrefix(a.WebSocket, "wss://") && strings.HasSuffix(a.WebSocket, "/connect"))
	})
}
