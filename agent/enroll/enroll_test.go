package enroll

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"opensessionmanager/internal/agentproto"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// office is a broker's registration desk.
type office struct {
	server *httptest.Server

	mu         sync.Mutex
	statements []string // presented so far
	clients    map[string]string
	tokens     int
	registerAs int // status to answer instead, 0 = work
	tokenAs    int
	wanted     string // statement that is required, "" = none
}

func newOffice(t *testing.T) *office {
	o := &office{clients: map[string]string{}}
	mux := http.NewServeMux()
	mux.HandleFunc("POST "+agentproto.PathRegister, o.register)
	mux.HandleFunc("POST "+agentproto.PathToken, o.token)
	o.server = httptest.NewTLSServer(mux)
	t.Cleanup(o.server.Close)
	return o
}

func (o *office) address() string { return o.server.Listener.Addr().String() }

func (o *office) set(change func()) {
	o.mu.Lock()
	defer o.mu.Unlock()
	change()
}

func (o *office) register(w http.ResponseWriter, r *http.Request) {
	o.mu.Lock()
	defer o.mu.Unlock()
	var in registration
	if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	o.statements = append(o.statements, in.SoftwareStatement)
	if o.registerAs != 0 {
		w.WriteHeader(o.registerAs)
		fmt.Fprint(w, `{"error":"invalid_software_statement","error_description":"not\nactive"}`)
		return
	}
	if in.SoftwareStatement != o.wanted {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	id := fmt.Sprintf("client-%d", len(o.statements))
	o.clients[id] = "secret-of-" + id
	w.WriteHeader(http.StatusCreated)
	fmt.Fprintf(w, `{"client_id":%q,"client_secret":%q,"client_id_issued_at":1}`, id, o.clients[id])
}

func (o *office) token(w http.ResponseWriter, r *http.Request) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.tokenAs != 0 {
		w.WriteHeader(o.tokenAs)
		return
	}
	id, secret, _ := r.BasicAuth()
	body, _ := io.ReadAll(r.Body)
	if o.clients[id] == "" || o.clients[id] != secret || string(body) != "grant_type=client_credentials" {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	o.tokens++
	fmt.Fprintf(w, `{"access_token":"token-%d-of-%s","token_type":"Bearer","expires_in":3600}`, o.tokens, id)
}

// desk is a source and what the test can turn on it.
type desk struct {
	*Source
	now    time.Time
	folder string
	log    *bytes.Buffer
}

func newDesk(t *testing.T, statement string, offices ...*office) *desk {
	d := &desk{now: time.Now(), folder: t.TempDir(), log: &bytes.Buffer{}}
	path := filepath.Join(d.folder, "statement")
	if statement != "" {
		require.NoError(t, os.WriteFile(path, []byte(statement+"\n"), 0o600))
	}
	d.Source = d.open(path, offices...)
	return d
}

func (d *desk) open(statement string, offices ...*office) *Source {
	var brokers []string
	for _, o := range offices {
		brokers = append(brokers, o.address())
	}
	client := offices[0].server.Client()
	client.Transport.(*http.Transport).DisableKeepAlives = true
	return New(Config{
		Brokers: brokers, Client: client, StatementPath: statement, ClientName: "host-1",
		CredentialsPath: filepath.Join(d.folder, "data", "credentials.json"),
		Logger:          slog.New(slog.NewTextHandler(d.log, nil)), Now: func() time.Time { return d.now },
	})
}

func TestToken_RegistersOnceAndKeepsTheCredentials(t *testing.T) {
	t.Parallel()
	o := newOffice(t)
	o.wanted = "the-statement"
	d := newDesk(t, "the-statement", o)
	token, err := d.Token(t.Context())
	require.NoError(t, err)
	require.Equal(t, "token-1-of-client-1", token)
	again, err := d.Token(t.Context())
	require.NoError(t, err)
	require.Equal(t, token, again, "a valid token is used again")

	path := filepath.Join(d.folder, "data", "credentials.json")
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
	token, err = d.open("", o).Token(t.Context()) // the agent restarts
	require.NoError(t, err)
	require.Equal(t, "token-2-of-client-1", token)
	require.Len(t, o.statements, 1)
	require.NotContains(t, d.log.String(), "secret-of")
	require.NotContains(t, d.log.String(), "token-1")
}

func TestToken_IsRenewedBeforeItEnds(t *testing.T) {
	t.Parallel()
	o := newOffice(t)
	d := newDesk(t, "", o)
	first, err := d.Token(t.Context())
	require.NoError(t, err)
	d.now = d.now.Add(49 * time.Minute)
	second, err := d.Token(t.Context())
	require.NoError(t, err)
	require.NotEqual(t, first, second)
}

func TestToken_UnknownClientRegistersAgain(t *testing.T) {
	t.Parallel()
	o := newOffice(t)
	d := newDesk(t, "", o)
	_, err := d.Token(t.Context())
	require.NoError(t, err)
	o.set(func() { clear(o.clients) }) // the broker lost its clients
	d.Reject("token-1-of-client-1")
	token, err := d.Token(t.Context())
	require.NoError(t, err)
	require.Equal(t, "token-2-of-client-2", token)
}

func TestToken_DamagedCredentialsAreReplaced(t *testing.T) {
	t.Parallel()
	for _, kept := range []string{"{", `{"client_id":"a\nb","client_secret":"x"}`, `{}`, "\x00"} {
		o := newOffice(t)
		d := newDesk(t, "", o)
		require.NoError(t, os.Mkdir(filepath.Join(d.folder, "data"), 0o700))
		require.NoError(t, os.WriteFile(filepath.Join(d.folder, "data", "credentials.json"), []byte(kept), 0o600))
		_, err := d.Token(t.Context())
		require.NoError(t, err, kept)
	}
}

func TestToken_RefusalsSayWhatToDo(t *testing.T) {
	t.Parallel()
	o := newOffice(t)
	o.wanted = "the-statement"
	_, err := newDesk(t, "", o).Token(t.Context())
	require.ErrorIs(t, err, ErrRefused)
	require.ErrorContains(t, err, "no software statement at")
	o.set(func() { o.registerAs = http.StatusBadRequest })
	_, err = newDesk(t, "old-statement", o).Token(t.Context())
	require.ErrorIs(t, err, ErrRefused)
	require.ErrorContains(t, err, `invalid_software_statement not\nactive`)
	require.NotContains(t, err.Error(), "old-statement")
}

// A broker with enable-agent-authorization=false has nothing to register at.
func TestToken_NoneIfTheBrokerWantsNone(t *testing.T) {
	t.Parallel()
	o := newOffice(t)
	o.registerAs = http.StatusNotFound
	d := newDesk(t, "", o)
	token, err := d.Token(t.Context())
	require.NoError(t, err)
	require.Empty(t, token)
	o.set(func() { o.registerAs = 0 }) // authorization is switched on
	d.Reject("")
	token, err = d.Token(t.Context())
	require.NoError(t, err)
	require.NotEmpty(t, token)
}

func TestToken_AsksTheNextBroker(t *testing.T) {
	t.Parallel()
	down, up := newOffice(t), newOffice(t)
	down.registerAs, down.tokenAs = http.StatusServiceUnavailable, http.StatusServiceUnavailable
	d := newDesk(t, "", down, up)
	token, err := d.Token(t.Context())
	require.NoError(t, err)
	require.NotEmpty(t, token)
}

func TestToken_FailuresOfTheBrokerAreNotRefusals(t *testing.T) {
	t.Parallel()
	for _, status := range []int{http.StatusServiceUnavailable, http.StatusTooManyRequests} {
		o := newOffice(t)
		o.registerAs = status
		_, err := newDesk(t, "", o).Token(t.Context())
		require.Error(t, err)
		require.NotErrorIs(t, err, ErrRefused)
	}
}

// F13: a copied host becomes a client of its own, or keeps what it has.
func TestReplace_RegistersAnew(t *testing.T) {
	t.Parallel()
	o := newOffice(t)
	d := newDesk(t, "", o)
	_, err := d.Token(t.Context())
	require.NoError(t, err)
	require.NoError(t, d.Replace(t.Context()))
	token, err := d.Token(t.Context())
	require.NoError(t, err)
	require.Contains(t, token, "client-2")
	o.set(func() { o.registerAs = http.StatusForbidden })
	require.Error(t, d.Replace(t.Context()))
	token, err = d.Token(t.Context())
	require.NoError(t, err)
	require.Contains(t, token, "client-2")
}

func TestToken_HostileAnswers(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]string{
		"endless":   strings.Repeat("x", maxAnswer+10),
		"no id":     `{}`,
		"bad id":    `{"client_id":"a b","client_secret":"c"}`,
		"header id": `{"client_id":"a\r\nX: y","client_secret":"c"}`,
		"no json":   "<html>",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, answer) }))
			t.Cleanup(server.Close)
			o := &office{server: server}
			_, err := newDesk(t, "", o).Token(t.Context())
			require.Error(t, err)
		})
	}
}
