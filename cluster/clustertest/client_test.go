//go:build fleet && !race

package clustertest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"
)

// object and list write JSON by hand.
type (
	object map[string]any
	list   []any
)

// What the tests look at in answers.
type (
	session struct {
		ID          string `json:"Id"`
		SessionID   string `json:"SessionId"` // of deletions
		Owner       string
		State       string
		Substate    string
		StateReason string
		Server      server
	}
	server struct {
		ID                   string `json:"Id"`
		Hostname             string
		Availability         string
		UnavailabilityReason string
		VirtualSessionCount  int
		Tags                 []struct{ Key, Value string }
	}
	failure struct{ FailureReason, FailureCode string }
	results struct {
		SuccessfulList   []session
		UnsuccessfulList []failure
	}
)

// client speaks to one broker. Its methods may be called by many goroutines.
type client struct {
	t    *testing.T
	url  string
	http *http.Client
}

// post sends a request and decodes a 200.
func post[Out any](c *client, path string, body any) (Out, error) {
	return send[Out](c, http.MethodPost, path, body)
}

func send[Out any](c *client, method, path string, body any) (out Out, err error) {
	text, err := json.Marshal(body)
	if err != nil {
		return out, err
	}
	request, err := http.NewRequestWithContext(c.t.Context(), method, c.url+path+"?explain=true", bytes.NewReader(text))
	if err != nil {
		return out, err
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := c.http.Do(request)
	if err != nil {
		return out, err
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	if err != nil {
		return out, err
	}
	if response.StatusCode != http.StatusOK {
		return out, fmt.Errorf("%s: status %d: %s", path, response.StatusCode, answer)
	}
	return out, json.Unmarshal(answer, &out)
}

// one sends one item, which must succeed.
func (c *client) one(path string, item object) session {
	c.t.Helper()
	out, err := post[results](c, path, list{item})
	require.NoError(c.t, err)
	require.Len(c.t, out.SuccessfulList, 1, "%s %v: %+v", path, item, out.UnsuccessfulList)
	return out.SuccessfulList[0]
}

// refused sends one item, which must not succeed, and returns why.
func (c *client) refused(path string, item object) failure {
	c.t.Helper()
	out, err := post[results](c, path, list{item})
	require.NoError(c.t, err)
	require.Len(c.t, out.UnsuccessfulList, 1, "%s %v: %+v", path, item, out.SuccessfulList)
	return out.UnsuccessfulList[0]
}

func (c *client) create(owner string, more ...object) session {
	c.t.Helper()
	return c.one("/createSessions", virtual(owner, more...))
}

func (c *client) delete(s session) {
	c.t.Helper()
	c.one("/deleteSessions", object{"SessionId": s.ID, "Owner": s.Owner})
}

func virtual(owner string, more ...object) object {
	item := object{"Name": "desktop of " + owner, "Owner": owner, "Type": "VIRTUAL"}
	for _, m := range more {
		for k, v := range m {
			item[k] = v
		}
	}
	return item
}

// session describes one session; absent is an error.
func (c *client) session(id string) (session, error) {
	out, err := post[struct{ Sessions []session }](c, "/describeSessions", object{"SessionIds": list{id}})
	if err != nil {
		return session{}, err
	}
	if len(out.Sessions) != 1 {
		return session{}, fmt.Errorf("session %s is absent at %s", id, c.url)
	}
	return out.Sessions[0], nil
}

// sessions describes all, page by page.
func (c *client) sessions() (map[string]session, error) {
	all := map[string]session{}
	for token := ""; ; {
		out, err := post[struct {
			Sessions  []session
			NextToken string
		}](c, "/describeSessions", object{"MaxResults": 100, "NextToken": token})
		if err != nil {
			return nil, err
		}
		for _, s := range out.Sessions {
			all[s.ID] = s
		}
		if token = out.NextToken; token == "" {
			return all, nil
		}
	}
}

func (c *client) servers() ([]server, error) {
	out, err := post[struct{ Servers []server }](c, "/describeServers", nil)
	return out.Servers, err
}

func (c *client) awaitState(id, state string) session {
	c.t.Helper()
	var seen session
	await(c.t, "session "+id+" in state "+state, func() (err error) {
		if seen, err = c.session(id); err == nil && seen.State != state {
			err = fmt.Errorf("it is %+v", seen)
		}
		return err
	})
	return seen
}
