package cli

import (
	"bytes"
	"context"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"opensessionmanager/cmd/dcvsm/internal/settings"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// broker is a stand-in with TLS: it issues one token and gives one answer.
type broker struct {
	*httptest.Server
	ca string // path of its certificate

	mu       sync.Mutex
	requests []string // "METHOD uri body"
	tokens   int

	status int
	header http.Header
	answer string
}

const clientPassword = "c2VjcmV0LXNlY3JldA=="

func newBroker(t *testing.T, status int, answer string) *broker {
	t.Helper()
	b := &broker{status: status, answer: answer, header: http.Header{}}
	b.Server = httptest.NewUnstartedServer(b)
	b.Config.ErrorLog = log.New(io.Discard, "", 0) // refused handshakes are part of the tests
	b.StartTLS()
	t.Cleanup(b.Close)
	b.ca = filepath.Join(t.TempDir(), "ca.pem")
	require.NoError(t, os.WriteFile(b.ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: b.Certificate().Raw}), 0o600))
	return b
}

func (b *broker) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	form, _ := url.ParseQuery(string(body) + "&" + r.URL.RawQuery)
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case r.URL.Path == "/oauth2/token":
		b.tokens++
		id, password, _ := r.BasicAuth()
		if id != "portal" || password != clientPassword || form.Get("grant_type") != "client_credentials" {
			w.WriteHeader(http.StatusUnauthorized)
			fmt.Fprint(w, `{"error": "invalid_client"}`)
			return
		}
		fmt.Fprint(w, `{"access_token":"tok-1","token_type":"Bearer","expires_in":3600}`)
	case r.Header.Get("Authorization") != "Bearer tok-1" && r.URL.Path != "/health":
		w.WriteHeader(http.StatusUnauthorized)
		fmt.Fprint(w, `{"error": "No authorization header"}`)
	default:
		b.requests = append(b.requests, strings.TrimSpace(r.Method+" "+r.RequestURI+" "+string(body)))
		for name, values := range b.header {
			w.Header()[name] = values
		}
		w.WriteHeader(b.status)
		fmt.Fprint(w, b.answer)
	}
}

type result struct {
	code     int
	out, err string
}

// run executes a command line against the broker with proper credentials.
func (b *broker) run(t *testing.T, args ...string) result {
	t.Helper()
	return runWith(t.Context(), map[string]string{
		"DCV_SM_AUTH_SERVER_URL": b.URL + "/oauth2/token?grant_type=client_credentials",
		"DCV_SM_CLIENT_ID":       "portal", "DCV_SM_CLIENT_PASSWORD": clientPassword,
	}, append([]string{"--broker-url", b.URL, "--ca-bundle", b.ca}, args...)...)
}

func runWith(ctx context.Context, env map[string]string, args ...string) result {
	var out, errs bytes.Buffer
	app := App{Stdout: &out, Stderr: &errs, Env: settings.Environment{Getenv: func(name string) string { return env[name] }}}
	code := app.Run(ctx, args)
	return result{code, out.String(), errs.String()}
}

// commands lists each command with what it sends, for an answer of testdata/answers
// and the output of testdata/golden.
var commands = []struct {
	name string
	args []string
	sent string
}{
	{"create-session", []string{"create-session", "--name", "work", "--owner", "alice", "--type", "Virtual", "--init-file-path", "i.sh",
		"--autorun-file", "a.sh", "--autorun-file-arguments", "one", "--autorun-file-arguments", "two, three", "--max_concurrent-clients", "4", "--dcv-gl-enabled",
		"--permissions-file", "W3Blcm1pc3Npb25zXQo=", "--requirements", "tag:color = 'blue'", "--storage-root", "%home%", "--enqueue-request", "true"},
		`POST /createSessions?explain=true [{"Name":"work","Owner":"alice","Type":"VIRTUAL","InitFile":"i.sh","MaxConcurrentClients":4,"DcvGlEnabled":true,"PermissionsFile":"W3Blcm1pc3Npb25zXQo=","EnqueueRequest":true,"AutorunFile":"a.sh","AutorunFileArguments":["one","two, three"],"Requirements":"tag:color = 'blue'","StorageRoot":"%home%"}]`},
	{"create-session-refused", []string{"create-session", "--name=work", "--owner=alice", "--type=console", "--max-concurrents-clients=1"},
		`POST /createSessions?explain=true [{"Name":"work","Owner":"alice","Type":"CONSOLE","MaxConcurrentClients":1}]`},
	{"delete-session", []string{"delete-session", "--session-id", "s-1", "--owner", "alice", "--force"},
		`POST /deleteSessions?explain=true [{"SessionId":"s-1","Owner":"alice","Force":true}]`},
	{"describe-sessions", []string{"describe-sessions", "--session-ids", "s-1, s-2", "--owner", "alice", "--max-results", "2", "--next-token", "n"},
		`POST /describeSessions?explain=true {"SessionIds":["s-1","s-2"],"Filters":[{"Key":"owner","Value":"alice"}],"MaxResults":2,"NextToken":"n"}`},
	{"describe-servers", []string{"describe-servers", "--server-ids", "a", "--server-ids", "b"},
		`POST /describeServers?explain=true {"ServerIds":["a","b"]}`},
	{"get-session-connection-data", []string{"get-session-connection-data", "--session-id", "s/1", "--user", `DOMAIN\alice`},
		`GET /sessionConnectionData/s%2F1/DOMAIN%5Calice`},
	{"get-session-screenshots", []string{"get-session-screenshots", "--session-ids", "s-1,s-2", "--max-width", "800", "--max-height", "600"},
		`POST /getSessionScreenshots?explain=true [{"SessionId":"s-1","MaxWidth":800,"MaxHeight":600},{"SessionId":"s-2","MaxWidth":800,"MaxHeight":600}]`},
	{"open-servers", []string{"open-servers", "--server-ids", "a,b"},
		`POST /openServers?explain=true [{"ServerId":"a"},{"ServerId":"b"}]`},
	{"close-servers", []string{"close-servers", "--server-ids", "a", "--force"},
		`POST /closeServers?explain=true [{"ServerId":"a","Force":true}]`},
}

func TestCommands_SendAndPrint(t *testing.T) {
	t.Parallel()
	for _, c := range commands {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			answer, err := os.ReadFile("testdata/answers/" + c.name + ".json")
			require.NoError(t, err)
			for _, format := range []string{"json", "table"} {
				b := newBroker(t, 200, string(answer))
				r := b.run(t, append([]string{"--output-format", format}, c.args...)...)
				require.Zero(t, r.code, r.err)
				require.Equal(t, []string{c.sent}, b.requests)
				golden, err := os.ReadFile("testdata/golden/" + c.name + "." + format)
				require.NoError(t, err)
				require.Equal(t, string(golden), r.out+"--- stderr\n"+r.err)
			}
		})
	}
}

func TestUpdatePermissions_SendsTheFile(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "team.perm")
	require.NoError(t, os.WriteFile(file, []byte("[permissions]\n"), 0o600))
	b := newBroker(t, 200, `{"RequestId":"r","SuccessfulList":[{"SessionId":"s-1"}],"UnsuccessfulList":[]}`)
	r := b.run(t, "update-session-permissions", "--session-id", "s-1", "--owner", "alice", "--permission-file", file)
	require.Zero(t, r.code, r.err)
	require.Equal(t, []string{`PUT /sessionPermissions?explain=true [{"SessionId":"s-1","Owner":"alice","PermissionsFile":"W3Blcm1pc3Npb25zXQo="}]`}, b.requests)
	require.JSONEq(t, `{"request_id":"r","successful_list":[{"session_id":"s-1"}],"unsuccessful_list":[]}`, r.out)
}

func TestCreateSession_PermissionsFileIsAPathIfItExists(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "team.perm")
	require.NoError(t, os.WriteFile(file, []byte("[permissions]\n"), 0o600))
	b := newBroker(t, 200, `{}`)
	r := b.run(t, "create-session", "--name", "n", "--owner", "o", "--type", "virtual", "--permissions-file", file)
	require.Zero(t, r.code, r.err)
	require.Contains(t, b.requests[0], `"PermissionsFile":"W3Blcm1pc3Npb25zXQo="`)
}

func TestScreenshots_SaveTo(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	b := newBroker(t, 200, `{"SuccessfulList":[{"SessionScreenshot":{"SessionId":"../../s 1","Images":[{"Format":"png","Data":"aW1hZ2U=","Primary":true}]}}]}`)
	r := b.run(t, "get-session-screenshots", "--session-ids", "s-1", "--save-to", folder)
	require.Zero(t, r.code, r.err)
	data, err := os.ReadFile(filepath.Join(folder, "______s_1-1.png"))
	require.NoError(t, err)
	require.Equal(t, "image", string(data))
	require.Contains(t, r.out, `"data": null`)
	require.Contains(t, r.err, "Saved ______s_1-1.png (5 bytes)")
}
