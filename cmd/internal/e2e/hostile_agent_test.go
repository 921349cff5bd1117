package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/fasthttp/websocket"
	"github.com/stretchr/testify/require"

	"opensessionmanager/agent/enroll"
	"opensessionmanager/internal/agentproto"
)

// Whatever somebody with or without an agent's papers sends to the agent port ends in a
// refusal or a closed socket with a reason; other agents and the API do not notice
// (promise 7; F14, F29, F33, F34, F36).
func TestHostileAgents_AreCutOffWithAReason(t *testing.T) {
	t.Parallel()
	long(t, "it waits until a silent agent is cut off")
	b := startBroker(t)
	h := b.startHost("bystander", hostOptions{})
	server := b.api.awaitServer("bystander", "AVAILABLE", "")
	id := b.api.created(virtual("alice"))
	b.api.awaitState(id, "READY")
	token, secret := b.agentToken()

	silent := b.socket(token) // never says hello (F27)

	doorStaysShut(t, b, token)
	framesThatEndTheSocket(t, b, token)
	framesThatAreBorne(t, b, token)
	falseTokensOfUsers(t, b, id)
	stolenIdentity(t, b, token, server)
	require.NotEmpty(t, endOf(t, silent, "silence").Text)

	require.NoError(t, b.healthy())
	b.api.awaitState(id, "READY")
	h.awaitSession(id, true)
	checkLog(t, b, append(secretsIn(t, b), token, secret)...)
}

// agentToken enrols an agent of the test's own.
func (b *broker) agentToken() (token, secret string) {
	b.t.Helper()
	file := filepath.Join(b.dir, "credentials.json")
	source := enroll.New(enroll.Config{Brokers: []string{b.agentAddress()}, StatementPath: b.statementFile, CredentialsPath: file,
		Client:     &http.Client{Transport: &http.Transport{TLSClientConfig: b.trust(), DisableKeepAlives: true}, Timeout: time.Minute},
		ClientName: "mallory", Logger: slog.New(slog.DiscardHandler)})
	token, err := source.Token(b.t.Context())
	require.NoError(b.t, err)
	text, err := os.ReadFile(file)
	require.NoError(b.t, err)
	var kept struct {
		Secret string `json:"client_secret"`
	}
	require.NoError(b.t, json.Unmarshal(text, &kept))
	return token, kept.Secret
}

func (b *broker) dial(token string) (*websocket.Conn, *http.Response, error) {
	dialer := websocket.Dialer{TLSClientConfig: b.trust(), HandshakeTimeout: patience}
	header := http.Header{}
	if token != "" {
		header.Set("Authorization", "Bearer "+token)
	}
	return dialer.DialContext(b.t.Context(), strings.Replace(b.agentURL(agentproto.PathSocket), "https", "wss", 1), header)
}

// socket is a connection with an agent's token.
func (b *broker) socket(token string) *websocket.Conn {
	b.t.Helper()
	ws, _, err := b.dial(token)
	require.NoError(b.t, err)
	b.t.Cleanup(func() { _ = ws.Close() })
	return ws
}

func doorStaysShut(t *testing.T, b *broker, token string) {
	for name, token := range map[string]string{"none": "", "API client's": b.api.token, "garbage": "a.b.c", "cut": token[:len(token)-3],
		"long": strings.Repeat("a", 3000)} {
		_, response, err := b.dial(token)
		require.Error(t, err, name)
		require.NotNil(t, response, "%s: %v", name, err)
		require.Equal(t, http.StatusUnauthorized, response.StatusCode, name)
	}
	for path, bodies := range map[string][]string{
		agentproto.PathSocket: {"", "{}"},
		agentproto.PathRegister: {"", "{}", "[]", `{"software_statement": "AAAA"}`, `{"software_statement": 7}`, `{"client_name": "\u001b[2J"}`,
			strings.Repeat("[", 30_000), `{"software_statement": "` + strings.Repeat("A", 30_000) + `"}`},
		agentproto.PathToken: {"", "grant_type=client_credentials", "grant_type=client_credentials&client_id=a&client_secret=b",
			"grant_type=client_credentials&client_id=%00%0a&client_secret=" + strings.Repeat("b", 30_000)},
		"/agent": {""}, "/agent/../health/x": {""}, "/describeSessions": {"{}"},
	} {
		for _, body := range bodies {
			status, text := b.postToAgentPort(path, "application/json", body)
			require.Truef(t, status >= 400 && status < 500, "%s %.100s: %d %s", path, body, status, text)
			require.Contains(t, text, `"error"`, path)
		}
	}
}

func (b *broker) postToAgentPort(path, contentType, body string) (status int, text string) {
	b.t.Helper()
	response, err := b.api.http.Post(b.agentURL(path), contentType, strings.NewReader(body))
	require.NoError(b.t, err)
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	require.NoError(b.t, err)
	return response.StatusCode, string(answer)
}

// hello is a frame that a broker accepts, with a server of its own.
func hello(serverID, hostname string) string {
	text, _ := json.Marshal(object{"helloRequest": object{"requestId": agentproto.NewRequestID(), "serverId": serverID, "machineId": serverID,
		"bootId": "b", "instanceId": agentproto.NewRequestID(), "protocolVersion": object{"major": 1},
		"facts": object{"hostname": hostname, "ip": "127.0.0.1", "maxVirtualSessions": 5, "maxConcurrentSessionsPerUser": -1,
			"tags": object{"host": serverID, "evil\x1b": hostname}}, "load": object{"dcvHealthy": true}}})
	return string(text)
}

func framesThatEndTheSocket(t *testing.T, b *broker, token string) {
	long := strings.Repeat("x", 2<<20)
	for name, frames := range map[string][]any{
		"binary":            {[]byte{1, 2, 3}},
		"not JSON":          {"hello"},
		"no name":           {"{}"},
		"two names":         {`{"helloRequest":{},"sessionsUpdateRequest":{}}`},
		"a list":            {"[]"},
		"invalid UTF-8":     {"{\"helloRequest\":{\"serverId\":\"\xff\"}}"},
		"deep":              {`{"helloRequest":` + strings.Repeat(`{"facts":`, 50_000)},
		"not hello first":   {`{"sessionsUpdateRequest":{"requestId":"a"}}`},
		"answer first":      {`{"createSessionResponse":{"requestId":"a","result":{"success":true}}}`},
		"large hello":       {`{"helloRequest":{"serverId":"` + long + `"}}`},
		"no id":             {`{"helloRequest":{"protocolVersion":{"major":1}}}`},
		"other version":     {`{"helloRequest":{"protocolVersion":{"major":2},"serverId":"s","machineId":"m"}}`},
		"control in the id": {hello("a\n\x1b[31mb", "h")},
		"long id":           {hello(strings.Repeat("s", 2000), "h")},
		"hello twice":       {hello("twice", "h"), hello("twice", "h")},
		"number for text":   {`{"helloRequest":{"serverId":7}}`},
		"many values":       {hello("values", "h"), `{"sessionsUpdateRequest":{"sessions":[` + strings.Repeat("{},", 1<<16) + `{}]}}`},
	} {
		ws := b.socket(token)
		for _, frame := range frames {
			kind := websocket.TextMessage
			text, isText := frame.(string)
			if !isText {
				kind, text = websocket.BinaryMessage, string(frame.([]byte))
			}
			if err := ws.WriteMessage(kind, []byte(text)); err != nil {
				break // closed while a large one was on its way; the reason is read below
			}
		}
		closed := endOf(t, ws, name)
		require.GreaterOrEqual(t, closed.Code, 1002, name)
		if closed.Code != websocket.CloseMessageTooBig { // which says it all
			require.NotEmpty(t, closed.Text, "%s: closed with %d and no reason", name, closed.Code)
		}
	}
}

// endOf reads until the broker closes the socket.
func endOf(t *testing.T, ws *websocket.Conn, name string) *websocket.CloseError {
	t.Helper()
	require.NoError(t, ws.SetReadDeadline(time.Now().Add(patience)))
	for {
		_, _, err := ws.ReadMessage()
		var closed *websocket.CloseError
		if errors.As(err, &closed) {
			return closed
		}
		require.NoError(t, err, "%s: the socket ended without a close frame", name)
	}
}

// framesThatAreBorne come from an agent that was let in and lies. The API shows what it
// says only as far as it is fit to be shown; its sessions are its own.
func framesThatAreBorne(t *testing.T, b *broker, token string) {
	ws := b.socket(token)
	require.NoError(t, ws.WriteMessage(websocket.TextMessage, []byte(hello("liar", "host\r\n\x1b[31m\u202e<script>"))))
	_, answer, err := ws.ReadMessage()
	require.NoError(t, err)
	require.Contains(t, string(answer), `"success":true`)
	var sessions list
	for i, id := range []string{"../../etc/passwd", "a\nb", "", strings.Repeat("i", 1000), "fine", "fine", "\u0000", "\x1b[2J"} {
		sessions = append(sessions, object{"id": id, "owner": fmt.Sprintf("o\r\n%d", i), "type": "virtual", "numOfConnections": -5, "creationTime": "soon",
			"lastDisconnectionTime": "9999999-99-99", "storageRoot": "\x07"})
	}
	report, err := json.Marshal(object{"sessionsUpdateRequest": object{"requestId": "r", "asOf": "9223372036854775807", "sessions": sessions,
		"load": object{"dcvHealthy": true, "memoryUsedBytes": "-1", "loadOneMinute": 1e38}}})
	require.NoError(t, err)
	for _, frame := range []string{
		string(report), string(report),
		`{"createSessionResponse":{"requestId":"never-asked","result":{"success":true},"sequence":"-1"}}`,
		`{"deleteSessionResponse":{"requestId":"","result":null}}`,
		`{"screenshotResponse":{"requestId":"x","images":[{"data":"AAAA","format":"exe"}]}}`,
		`{"somethingNewer":{"a":[1,2,3]}}`,
		`{"sessionsUpdateRequest":{}}`,
	} {
		require.NoError(t, ws.WriteMessage(websocket.TextMessage, []byte(frame)))
	}
	await(t, "the lying server to be shown", func() error {
		_, err := b.api.sessions() // the answers are held to their description
		if err != nil {
			return err
		}
		all, err := b.api.servers()
		if _, there := all["liar"]; err == nil && !there {
			err = fmt.Errorf("%d servers", len(all))
		}
		return err
	})
	require.NoError(t, ws.Close())
}

// falseTokensOfUsers are what a DCV server may pass on from a hostile user.
func falseTokensOfUsers(t *testing.T, b *broker, id string) {
	data := call[connectionData](b.api, http.MethodGet, "/sessionConnectionData/"+id+"/alice", nil)
	for name, form := range map[string]url.Values{
		"none":          {},
		"other session": {"sessionId": {"console"}, "authenticationToken": {data.ConnectionToken}},
		"access token":  {"sessionId": {id}, "authenticationToken": {b.api.token}},
		"cut":           {"sessionId": {id}, "authenticationToken": {data.ConnectionToken[:100]}},
		"large":         {"sessionId": {id}, "authenticationToken": {strings.Repeat("a", 30_000)}},
		"markup":        {"sessionId": {`"/><auth result="yes">`}, "authenticationToken": {"\x00\r\n<x>"}, "clientAddress": {"\x1b[2J\n"}},
		"twice":         {"sessionId": {id, "console"}, "authenticationToken": {"a", data.ConnectionToken}},
	} {
		status, text := b.postToAgentPort(agentproto.PathValidate, "application/x-www-form-urlencoded", form.Encode())
		require.Less(t, status, 500, name)
		require.NotContains(t, text, `"yes"`, name)
	}
	good := url.Values{"sessionId": {id}, "authenticationToken": {data.ConnectionToken}}
	_, text := b.postToAgentPort(agentproto.PathValidate, "application/x-www-form-urlencoded", good.Encode())
	require.Equal(t, `<auth result="yes"><username>alice</username></auth>`, text)
	require.NotContains(t, b.log.String(), data.ConnectionToken)
}

// stolenIdentity: somebody says to be a server whose agent lives; the one who was there
// stays (F13, F36).
func stolenIdentity(t *testing.T, b *broker, token string, victim server) {
	ws := b.socket(token)
	require.NoError(t, ws.WriteMessage(websocket.TextMessage, []byte(hello(victim.ID, "thief"))))
	require.NoError(t, ws.SetReadDeadline(time.Now().Add(patience)))
	_, answer, err := ws.ReadMessage()
	require.NoError(t, err)
	require.Contains(t, string(answer), "DUPLICATE_IDENTITY")
	require.Equal(t, websocket.ClosePolicyViolation, endOf(t, ws, "thief").Code)
	require.Equal(t, victim.ID, b.api.awaitServer("bystander", "AVAILABLE", "").ID)
}
