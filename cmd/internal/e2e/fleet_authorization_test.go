//go:build fleet

package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// soon bounds what the broker promises within a second; the rest is for a busy machine.
const soon = 5 * time.Second

// everywhere waits until all brokers let a token in, or none does, and says how long
// the slowest took.
func (f *fleet) everywhere(what, token string, let bool) {
	f.t.Helper()
	began := time.Now()
	for _, b := range f.brokers {
		await(f.t, what+" at "+b.url(), func() error {
			err := b.as(token).served()
			switch {
			case let:
				return err
			case err == nil:
				return errors.New("it is let in")
			case !strings.Contains(err.Error(), "status 401"):
				return err
			}
			return nil
		})
	}
	took := time.Since(began)
	f.t.Logf("%s: everywhere after %v", what, took.Round(time.Millisecond))
	require.Less(f.t, took, soon, what)
}

// Whatever an administrator changes at one broker counts at all of three within a
// second: authorization servers, API clients and keys. A token that was signed with a
// new key is good everywhere at once.
func TestFleet_AuthorizationChangesReachAllBrokers(t *testing.T) {
	t.Parallel()
	f := startFleet(t, 3, 1)
	provider := startOpenID(t, "ES256")
	external := provider.token()
	f.everywhere("no server yet", external, false)
	f.brokers[0].admin("register-auth-server", "--url", provider.jwks(), "--issuer", provider.issuer, "--audience", "urn:dcv")
	f.everywhere("the authorization server", external, true)
	f.brokers[1].admin("unregister-auth-server", "--url", provider.jwks())
	f.everywhere("the withdrawn authorization server", external, false)

	f.sharedClient()
	f.renewedKeys()
}

// sharedClient: a client that is unregistered loses access at all brokers.
func (f *fleet) sharedClient() {
	f.t.Helper()
	c := f.brokers[2].newClient("shared")
	f.everywhere("the client", c.token, true) // and in the cache of each
	f.brokers[0].admin("unregister-api-client", "--client-id", c.id)
	f.everywhere("the unregistered client", c.token, false)
	for _, b := range f.brokers {
		request, err := http.NewRequestWithContext(f.t.Context(), http.MethodPost, b.url()+"/oauth2/token?grant_type=client_credentials", nil)
		require.NoError(f.t, err)
		request.SetBasicAuth(c.id, c.password)
		response, err := b.anybody.http.Do(request)
		require.NoError(f.t, err)
		require.Equal(f.t, http.StatusUnauthorized, response.StatusCode, "nor does it get tokens")
		require.NoError(f.t, response.Body.Close())
	}
}

// renewedKeys: no request fails while keys are renewed, connection tokens included
// (F34), and a broker that comes later knows the old keys, too.
func (f *fleet) renewedKeys() {
	t := f.t
	t.Helper()
	id := f.newSession("ann")
	before, connection := f.api.token, f.connectionToken(id, "ann")
	for _, b := range f.brokers {
		require.Equal(t, "Keys renewed.\n", b.admin("renew-auth-server-api-key"))
		c := f.at(b)
		fresh := c.newToken()
		for _, other := range f.brokers { // at once: nobody waits here
			require.NoError(t, other.as(fresh).served(), "at %s", other.url())
			require.NoError(t, other.as(before).served(), "at %s", other.url())
		}
	}
	renewed := f.connectionToken(id, "ann")
	f.add()
	for _, b := range f.brokers {
		require.NoError(t, b.as(before).served())
		for _, token := range []string{connection, renewed} {
			await(t, "the session to be known", func() error { return b.validates(id, token, "ann") })
			require.Error(t, b.validates("another", token, "ann"))
		}
	}
	await(t, "one key set everywhere", func() error {
		want, err := f.brokers[0].publishedKeys()
		if err != nil || len(want) != 4 {
			return fmt.Errorf("%v %w", want, err)
		}
		for _, b := range f.brokers[1:] {
			if got, err := b.publishedKeys(); err != nil || fmt.Sprint(got) != fmt.Sprint(want) {
				return fmt.Errorf("%v, not %v: %w", got, want, err)
			}
		}
		return nil
	})
	out := call[results](f.at(f.brokers[1]), http.MethodPost, "/deleteSessions", list{object{"SessionId": id, "Owner": "ann"}})
	require.Len(t, out.SuccessfulList, 1)
	for _, b := range f.brokers {
		require.ErrorContains(t, b.validates(id, connection, "ann"), "does not exist")
	}
}

// newSession creates a session and waits until it is ready.
func (f *fleet) newSession(owner string) string {
	f.t.Helper()
	c := f.at(f.brokers[0])
	out := call[results](c, http.MethodPost, "/createSessions", list{virtual(owner)})
	require.Len(f.t, out.SuccessfulList, 1)
	id := out.SuccessfulList[0].ID
	await(f.t, "a ready session", func() error {
		s, err := c.session(id)
		if err == nil && s.State != "READY" {
			err = errors.New(s.State)
		}
		return err
	})
	return id
}

func (f *fleet) connectionToken(id, user string) string {
	f.t.Helper()
	out := call[connectionData](f.at(f.brokers[0]), http.MethodGet, "/sessionConnectionData/"+id+"/"+user, nil)
	require.NotEmpty(f.t, out.ConnectionToken)
	return out.ConnectionToken
}

// validates asks as a DCV server does (contract section 11).
func (b *broker) validates(session, token, user string) error {
	form := url.Values{"sessionId": {session}, "authenticationToken": {token}, "clientAddress": {"192.0.2.1"}}
	response, err := b.anybody.http.PostForm(b.agentURL("/agent/validate-authentication-token"), form)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return err
	}
	if text := string(body); text != `<auth result="yes"><username>`+user+`</username></auth>` {
		return errors.New(text)
	}
	return nil
}

// F52: an operator puts an older export of Consul's keys back. What was revoked since
// is there again, but no token of before is let in anywhere; clients get new ones.
func TestFleet_ARestoredStoreBringsBackNoToken(t *testing.T) {
	t.Parallel()
	f := startFleet(t, 3, 1)
	gone, stays := f.brokers[0].newClient("gone"), f.brokers[1].newClient("stays")
	f.brokers[0].admin("renew-auth-server-api-key")
	backup := f.exportAuthorization()
	f.brokers[0].admin("unregister-api-client", "--client-id", gone.id)
	f.everywhere("the unregistered client", gone.token, false)
	f.everywhere("the other client", stays.token, true)
	f.importAuthorization(backup)
	f.everywhere("the token of the unregistered client", gone.token, false)
	f.everywhere("the token of the other client", stays.token, false)
	await(t, "new tokens", func() error { return f.brokers[2].as(stays.newToken()).served() })
	f.everywhere("a new token", stays.newToken(), true)
	require.Contains(t, f.logs(), "the store is older than it was")
}

// entry is a key of Consul.
type entry struct {
	Key   string
	Value []byte
}

// exportAuthorization is `consul kv export` of what authorization needs.
func (f *fleet) exportAuthorization() []entry {
	f.t.Helper()
	response, err := http.Get("http://" + f.consul.Address() + "/v1/kv/dcv-session-manager/?recurse")
	require.NoError(f.t, err)
	defer response.Body.Close()
	var all []entry
	require.NoError(f.t, json.NewDecoder(response.Body).Decode(&all))
	all = slices.DeleteFunc(all, func(e entry) bool {
		return !strings.Contains(e.Key, "/key/") && !strings.Contains(e.Key, "/api-client/") && !strings.Contains(e.Key, "/authorization/")
	})
	require.GreaterOrEqual(f.t, len(all), 7, "three keys, three clients, the epoch")
	return all
}

// importAuthorization is `consul kv import`.
func (f *fleet) importAuthorization(all []entry) {
	f.t.Helper()
	for _, e := range all {
		target := url.URL{Scheme: "http", Host: f.consul.Address(), Path: "/v1/kv/" + e.Key}
		request, err := http.NewRequestWithContext(f.t.Context(), http.MethodPut, target.String(), bytes.NewReader(e.Value))
		require.NoError(f.t, err)
		response, err := http.DefaultClient.Do(request)
		require.NoError(f.t, err)
		require.Equal(f.t, http.StatusOK, response.StatusCode)
		require.NoError(f.t, response.Body.Close())
	}
}
