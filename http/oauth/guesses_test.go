package oauth_test

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"opensessionmanager/http/audit"
	"opensessionmanager/http/oauth"
)

// Wrong secrets at speed are answered without a look at the secret; others are not
// held back, and who was has only to wait.
func TestToken_WrongSecretsAtSpeedAreNotLookedAt(t *testing.T) {
	t.Parallel()
	var trail bytes.Buffer
	w := newWorld(t, func(c *oauth.Config) {
		c.Audit = audit.New(slog.New(slog.NewJSONHandler(&trail, nil)), slog.New(slog.DiscardHandler))
	})
	id, password, err := w.Clients().Register(t.Context(), "portal")
	require.NoError(t, err)
	other, otherPassword, err := w.Clients().Register(t.Context(), "neighbour")
	require.NoError(t, err)
	try := func(id, secret string) (status int, retryAfter string) {
		answer := ask(w.TokenHandler(), "/oauth2/token?grant_type=client_credentials", basic(id, secret), "")
		return answer.StatusCode(), string(answer.Header.Peek("Retry-After"))
	}
	wrong := 0
	status, retryAfter := 401, ""
	for status == 401 {
		status, retryAfter = try(id, uuid.NewString())
		wrong++
		require.Less(t, wrong, 100)
	}
	require.Equal(t, 429, status)
	require.Equal(t, 11, wrong)
	seconds, err := strconv.Atoi(retryAfter)
	require.NoError(t, err)
	require.Positive(t, seconds)
	status, _ = try(id, password)
	require.Equal(t, 429, status, "the right one is not looked at either: nobody learns that it is right")
	status, _ = try(other, otherPassword)
	require.Equal(t, 200, status, "a neighbour behind the same address")
	w.clock.forward(time.Duration(seconds) * time.Second)
	status, _ = try(id, password)
	require.Equal(t, 200, status)

	codes := map[string]int{}
	for line := range strings.Lines(trail.String()) {
		var event map[string]string
		require.NoError(t, json.Unmarshal([]byte(line), &event))
		require.Equal(t, id, event["client"])
		codes[event["code"]]++
	}
	require.Equal(t, map[string]int{"invalid_client": 10, "TOO_MANY_REQUESTS": 2}, codes, "one line each")
}

// A password that somebody puts where the id belongs is written down nowhere.
func TestToken_ASecretInPlaceOfTheIDIsNotLogged(t *testing.T) {
	t.Parallel()
	var lines bytes.Buffer
	w := newWorld(t, func(c *oauth.Config) {
		c.Logger = slog.New(slog.NewJSONHandler(&lines, nil))
		c.Audit = audit.New(c.Logger, c.Logger)
	})
	id, password, err := w.Clients().Register(t.Context(), "portal")
	require.NoError(t, err)
	for range 20 { // until it is answered 429
		ask(w.TokenHandler(), "/oauth2/token?grant_type=client_credentials", basic(password, id), "")
		ask(w.AgentTokenHandler(), "/agent/oauth2/token", "", "grant_type=client_credentials&client_id="+password+"&client_secret="+id)
	}
	require.Contains(t, lines.String(), "TOO_MANY_REQUESTS")
	require.NotContains(t, lines.String(), password[:12])
}
