package e2e

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// No secret is in any log, with everything logged that can be, and the audit trail tells
// who did what: of clients, of agents, of administrators and of people who connect.
func TestSecrets_AreInNoLogAndTheAuditTrailTellsTheStory(t *testing.T) {
	t.Parallel()
	b := startBroker(t, "log-directory = log")
	h := b.startHost("a", hostOptions{maxVirtual: 3})
	b.api.awaitServer("a", "AVAILABLE", "")
	created := b.api.create(virtual("alice", object{"PermissionsFile": base64.StdEncoding.EncodeToString([]byte("[permissions]\n%owner% allow builtin\n"))}))
	id := created.SuccessfulList[0].ID
	b.api.awaitState(id, "READY")
	data := call[connectionData](b.api, http.MethodGet, "/sessionConnectionData/"+id+"/alice", nil)
	require.Zero(t, connect(t, h, data).code)

	wrong := *b.api
	wrong.password = "not-the-password-of-anybody"
	status, _ := wrong.tokenStatus()
	require.Equal(t, http.StatusUnauthorized, status)
	forged := *b.api
	forged.token = b.api.token[:len(b.api.token)-12] + "AAAAAAAAAAAA"
	forged.refused(http.MethodPost, "/describeSessions", nil, http.StatusUnauthorized)
	b.api.delete(id, "alice", false)
	b.api.awaitState(id, "DELETED")
	require.NotZero(t, connect(t, h, data).code)
	another := b.newClient("another")
	b.admin("unregister-api-client", "--client-id", another.id)
	another.refused(http.MethodPost, "/describeSessions", nil, http.StatusUnauthorized)
	statement := b.newStatement()
	b.admin("deactivate-software-statement", "--software-statement", statement)

	secrets := map[string]string{
		"client password": b.api.password, "access token": b.api.token, "password of another": another.password, "token of another": another.token,
		"wrong password": wrong.password, "forged token": forged.token, "statement": statement, "connection token": data.ConnectionToken,
		"basic": base64.StdEncoding.EncodeToString([]byte(b.api.id + ":" + b.api.password)),
	}
	used, err := os.ReadFile(b.statementFile)
	require.NoError(t, err)
	secrets["statement of the agent"] = string(used)
	credential, err := os.ReadFile(filepath.Join(b.dir, "work", "admin-credential"))
	require.NoError(t, err)
	secrets["admin credential"] = strings.TrimSpace(string(credential))
	for name, secret := range keptByAgent(t, filepath.Join(h.dir, "data")) {
		secrets[name] = secret
	}
	addKeys(t, filepath.Join(b.dir, "work", "security"), secrets)
	h.agent.stop()
	require.Zero(t, b.proc.stop())

	events := readTrail(t, filepath.Join(b.dir, "log", "audit.log"))
	for _, want := range []map[string]string{
		{"msg": "register-api-client", "outcome": "done", "subject": "portal " + b.api.id},
		{"msg": "generate-software-statement", "outcome": "done"},
		{"msg": "register-agent", "outcome": "done"},
		{"msg": "attach-agent", "outcome": "done"},
		{"msg": "createSessions", "outcome": "done", "client": b.api.id, "client_name": "portal", "session": id, "owner": "alice"},
		{"msg": "GetSessionConnectionData", "outcome": "done", "session": id, "user": "alice"},
		{"msg": "connect", "outcome": "done", "session": id, "user": "alice"},
		{"msg": "authorize", "outcome": "refused", "code": "invalid_client", "client": b.api.id},
		{"msg": "authorize", "outcome": "refused", "code": "UNAUTHORIZED", "path": "/describeSessions"},
		{"msg": "deleteSessions", "outcome": "done", "session": id},
		{"msg": "connect", "outcome": "refused", "session": id},
		{"msg": "unregister-api-client", "outcome": "done", "subject": another.id},
		{"msg": "deactivate-software-statement", "outcome": "done"},
	} {
		require.True(t, slices.ContainsFunc(events, func(e map[string]any) bool {
			for key, value := range want {
				if e[key] != value {
					return false
				}
			}
			return e["remote"] != "" && e["request_id"] != ""
		}), "no line with %v", want)
	}
	requireNowhere(t, b, secrets)
}

// tokenStatus asks for a token and tells how that ended.
func (c *client) tokenStatus() (int, []byte) {
	c.t.Helper()
	request, err := http.NewRequestWithContext(c.t.Context(), http.MethodPost, c.url+"/oauth2/token?grant_type=client_credentials", nil)
	require.NoError(c.t, err)
	request.SetBasicAuth(c.id, c.password)
	a, err := c.exchange(request, "/oauth2/token")
	require.NoError(c.t, err)
	return a.status, a.body
}

func readTrail(t *testing.T, path string) (events []map[string]any) {
	t.Helper()
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	for line := range bytes.Lines(data) {
		var event map[string]any
		require.NoError(t, json.Unmarshal(line, &event), "%s", line)
		events = append(events, event)
	}
	return events
}

// keptByAgent are the secrets in the agent's own files: every longer text in them that
// is a value of something called a secret.
func keptByAgent(t *testing.T, folder string) map[string]string {
	t.Helper()
	found := map[string]string{}
	value := regexp.MustCompile(`"[a-zA-Z_]*(?i:secret)[a-zA-Z_]*"\s*:\s*"([^"]{16,})"`)
	require.NoError(t, filepath.WalkDir(folder, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		for i, m := range value.FindAllSubmatch(data, -1) {
			found[fmt.Sprint(path, i)] = string(m[1])
		}
		return err
	}))
	require.NotEmpty(t, found, "the agent keeps a secret")
	return found
}

// addKeys adds a line out of the middle of each private key.
func addKeys(t *testing.T, folder string, secrets map[string]string) {
	t.Helper()
	before := len(secrets)
	files, err := filepath.Glob(filepath.Join(folder, "*"))
	require.NoError(t, err)
	for _, file := range files {
		data, err := os.ReadFile(file)
		require.NoError(t, err)
		if _, key, private := bytes.Cut(data, []byte("PRIVATE KEY-----\n")); private {
			line, _, _ := bytes.Cut(key, []byte("\n"))
			secrets[file] = string(line)
		}
	}
	require.Greater(t, len(secrets), before)
}

// requireNowhere looks into every log of a run, and into what the programs printed.
func requireNowhere(t *testing.T, b *broker, secrets map[string]string) {
	t.Helper()
	logs := map[string]string{"output of the broker": b.log.String()}
	require.NoError(t, filepath.WalkDir(b.dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && strings.Contains(filepath.Base(path), ".log") {
			data, readErr := os.ReadFile(path)
			logs[path], err = string(data), readErr
		}
		return err
	}))
	names := []string{}
	for name, text := range logs {
		names = append(names, filepath.Base(name))
		for what, secret := range secrets {
			require.Greater(t, len(secret), 10, what)
			require.NotContains(t, text, secret, "%s is in %s", what, name)
		}
	}
	for _, name := range []string{"broker.log", "audit.log", "agent.log"} {
		require.Contains(t, names, name)
	}
}
