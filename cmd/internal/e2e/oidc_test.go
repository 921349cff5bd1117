package e2e

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// openID is a real OpenID provider, a program of its own.
type openID struct {
	t      *testing.T
	issuer string
	cmd    *exec.Cmd
	say    io.Writer
	heard  *bufio.Scanner
}

const openIDScope = "dcv-session-manager/sm_scope"

// startOpenID runs tools/oidc, which `make tools` installs.
func startOpenID(t *testing.T, algorithm string) *openID {
	t.Helper()
	long(t, "it needs an OpenID provider")
	folder := filepath.Join("..", "..", "..", "tools", "oidc")
	require.DirExists(t, filepath.Join(folder, "node_modules"), "the provider is not installed, run make tools")
	o := &openID{t: t, cmd: exec.Command("node", "provider.mjs", algorithm)}
	o.cmd.Dir = folder
	o.cmd.SysProcAttr = ownGroup()
	say, err := o.cmd.StdinPipe()
	require.NoError(t, err)
	heard, err := o.cmd.StdoutPipe()
	require.NoError(t, err)
	o.say, o.heard = say, bufio.NewScanner(heard)
	require.NoError(t, o.cmd.Start())
	t.Cleanup(o.stop)
	port, ok := strings.CutPrefix(o.hear(), "port ")
	require.True(t, ok)
	o.issuer = "http://127.0.0.1:" + port
	return o
}

// hear passes over what the library has to say.
func (o *openID) hear() string {
	o.t.Helper()
	for o.heard.Scan() {
		if line := o.heard.Text(); !strings.HasPrefix(line, "oidc-provider ") {
			return line
		}
	}
	o.t.Fatal("the provider ended")
	return ""
}

// tell gives a command and waits until it is done.
func (o *openID) tell(command string) {
	o.t.Helper()
	_, err := fmt.Fprintln(o.say, command)
	require.NoError(o.t, err)
	require.Equal(o.t, "done", o.hear())
}

// stop is kill -9.
func (o *openID) stop() {
	if o.cmd.ProcessState == nil {
		killGroup(o.cmd.Process)
		_ = o.cmd.Wait() // it was killed
	}
}

func (o *openID) jwks() string { return o.issuer + "/.well-known/jwks.json" }

// token gets an access token by the client-credentials grant.
func (o *openID) token() string {
	o.t.Helper()
	form := url.Values{"grant_type": {"client_credentials"}, "scope": {openIDScope}}
	request, err := http.NewRequestWithContext(o.t.Context(), http.MethodPost, o.issuer+"/token", strings.NewReader(form.Encode()))
	require.NoError(o.t, err)
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	request.SetBasicAuth("portal", "not-a-secret")
	transport := &http.Transport{DisableKeepAlives: true}
	response, err := (&http.Client{Transport: transport}).Do(request)
	require.NoError(o.t, err)
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	require.NoError(o.t, err)
	require.Equal(o.t, http.StatusOK, response.StatusCode, "%s", body)
	var answer struct {
		AccessToken string `json:"access_token"`
	}
	require.NoError(o.t, json.Unmarshal(body, &answer))
	return answer.AccessToken
}

// as is a client with a token of somebody else's making.
func (b *broker) as(token string) *client {
	c := b.stranger()
	c.token = token
	return c
}

// served says whether a request of the API is let in.
func (c *client) served() error {
	a, err := c.try(http.MethodPost, "/describeSessions", nil)
	if err != nil {
		return err
	}
	if a.status != http.StatusOK {
		return fmt.Errorf("status %d: %s", a.status, a.body)
	}
	return nil
}

// A real provider, as an installer sets it up: registered before the broker's first
// start, which issues no tokens itself (contract section 2, expectation F22).
func TestAuthServer_ARealOpenIDProvider(t *testing.T) {
	t.Parallel()
	for _, algorithm := range []string{"RS256", "ES256"} {
		t.Run(algorithm, func(t *testing.T) {
			t.Parallel()
			provider := startOpenID(t, algorithm)
			b := newBroker(t, "enable-authorization-server = false", "log-directory = log")
			require.Equal(t, "Jwk url registered.\n", b.admin("register-auth-server", "--url", provider.jwks(), "--algorithm", algorithm,
				"--issuer", provider.issuer, "--audience", "urn:dcv", "--scope", openIDScope))
			b.start()
			require.Equal(t, "Urls: [ \""+provider.jwks()+"\" ]\n", b.admin("list-auth-servers"))
			notes, err := filepath.Glob(filepath.Join(b.dir, "work", "pending-*"))
			require.NoError(t, err)
			require.Empty(t, notes)

			first, second := provider.token(), provider.token()
			await(t, "the provider's keys", b.as(first).served)
			tampered := b.as(first[:len(first)-6] + "AAAAAA")
			require.Contains(t, tampered.refused(http.MethodPost, "/describeSessions", nil, http.StatusUnauthorized), "Invalid access token")
			b.hasNoTokensOfItsOwn()
			call[results](b.as(first), http.MethodPost, "/deleteSessions", list{object{"SessionId": "nothing", "Owner": "ann"}})

			provider.tell("rotate")
			rotated := provider.token()
			began := time.Now()
			await(t, "the new key", b.as(rotated).served)
			t.Logf("a new key is known %v after its first token", time.Since(began).Round(time.Millisecond))
			require.NoError(t, b.as(first).served(), "the old one counts as long as it is published")

			provider.stop()
			require.NoError(t, b.as(second).served(), "never seen before, and the provider is away")
			require.Equal(t, "Jwk url"+provider.jwks()+" unregistered\n", b.admin("unregister-auth-server", "--url", provider.jwks()))
			for _, token := range []string{first, second, rotated} {
				b.as(token).refused(http.MethodPost, "/describeSessions", nil, http.StatusUnauthorized)
			}
			require.Equal(t, "Urls: [ ]\n", b.admin("list-auth-servers"))
			trail, err := os.ReadFile(filepath.Join(b.dir, "log", "audit.log"))
			require.NoError(t, err)
			require.Contains(t, string(trail), `"client":"portal","client_name":"portal","issuer":"`+provider.issuer+`"`, "who it was, and who says so")
			for _, token := range []string{first, second, rotated} {
				require.NotContains(t, b.log.String()+string(trail), token)
			}
		})
	}
}

// hasNoTokensOfItsOwn: enable-authorization-server = false (C25).
func (b *broker) hasNoTokensOfItsOwn() {
	b.t.Helper()
	found := credentials.FindStringSubmatch(b.admin("register-api-client", "--client-name", "portal"))
	require.Len(b.t, found, 3)
	request, err := http.NewRequestWithContext(b.t.Context(), http.MethodPost, b.url()+"/oauth2/token?grant_type=client_credentials", nil)
	require.NoError(b.t, err)
	request.SetBasicAuth(found[1], found[2])
	for _, path := range []string{"", "/.well-known/jwks.json"} {
		if path != "" {
			request, err = http.NewRequestWithContext(b.t.Context(), http.MethodGet, b.url()+path, nil)
			require.NoError(b.t, err)
		}
		response, err := b.anybody.http.Do(request)
		require.NoError(b.t, err)
		require.Equal(b.t, http.StatusNotFound, response.StatusCode)
		require.NoError(b.t, response.Body.Close())
	}
}

// publishedKeys are the ids of the broker's public keys.
func (b *broker) publishedKeys() ([]string, error) {
	response, err := b.anybody.http.Get(b.url() + "/.well-known/jwks.json")
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	var set struct{ Keys []struct{ Kid, D string } }
	if err := json.NewDecoder(response.Body).Decode(&set); err != nil || response.StatusCode != http.StatusOK {
		return nil, errors.Join(err, fmt.Errorf("status %d", response.StatusCode))
	}
	var ids []string
	for _, key := range set.Keys {
		if key.D != "" {
			return nil, errors.New("a private key is published")
		}
		ids = append(ids, key.Kid)
	}
	return ids, nil
}

// kill -9 in the middle of renewals leaves keys that work: tokens from before are
// good, and so are new ones.
func TestRenewKeys_TheBrokerIsKilledMeanwhile(t *testing.T) {
	t.Parallel()
	long(t, "it starts a broker several times")
	b := startBroker(t)
	tokens := []string{b.api.token}
	for round := range 4 {
		renewals := make(chan struct{})
		go func() {
			defer close(renewals)
			for range 6 { // some fail, because there is no broker
				_ = exec.Command(program(t, brokerProgram), "--config", b.file, "renew-auth-server-api-key").Run()
			}
		}()
		wait(t, time.Duration(50+40*round)*time.Millisecond)
		b.proc.kill()
		<-renewals
		b.start()
		require.Equal(t, "Keys renewed.\n", b.admin("renew-auth-server-api-key"))
		tokens = append(tokens, b.api.newToken())
		for _, token := range tokens {
			require.NoError(t, b.as(token).served())
		}
	}
	ids, err := b.publishedKeys()
	require.NoError(t, err)
	require.GreaterOrEqual(t, len(ids), 5, "all are published whose tokens may be around")
	left, err := os.ReadDir(filepath.Join(b.dir, "work"))
	require.NoError(t, err)
	for _, entry := range left {
		require.False(t, strings.HasPrefix(entry.Name(), ".epoch-"), "nothing half written is left by renewals")
	}
}
