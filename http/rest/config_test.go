package rest

import (
	"context"
	"fmt"
	"reflect"
	"testing"

	"github.com/stretchr/testify/require"

	"opensessionmanager/http/oauth"
	"opensessionmanager/messages"
)

// What package oauth has is what the API needs.
var (
	_ Authorizer  = (*oauth.Server)(nil)
	_ Connections = (*oauth.Server)(nil)
)

func TestOptions_TagsSayTheDefaults(t *testing.T) {
	t.Parallel()
	defaults := reflect.ValueOf(DefaultOptions())
	for i := range defaults.NumField() {
		field := defaults.Type().Field(i)
		require.False(t, defaults.Field(i).IsZero(), field.Name)
		if want, tagged := field.Tag.Lookup("default"); tagged {
			require.Equal(t, want, fmt.Sprint(defaults.Field(i)), field.Name)
		}
	}
	require.Equal(t, DefaultOptions(), Options{}.withDefaults())
	require.Equal(t, 7, Options{MaxItems: 7}.withDefaults().MaxItems)
}

func TestNew_AMissingPartIsAMistakeOfTheProgram(t *testing.T) {
	t.Parallel()
	require.Panics(t, func() { New(Config{}) })
}

// watchedFleet shows the context its calls get.
type watchedFleet struct {
	*fakeFleet
	seen chan context.Context
}

func (f watchedFleet) DeleteSessions(ctx context.Context, commands []*messages.DeleteSession) []*messages.SessionResult {
	f.seen <- ctx
	return f.fakeFleet.DeleteSessions(ctx, commands)
}

// F41: a request waits for the fleet for a bounded time, and ends with the broker.
func TestServer_RequestsAreBoundedInTime(t *testing.T) {
	t.Parallel()
	base, stop := context.WithCancel(context.Background())
	fleet := watchedFleet{newFakeFleet(), make(chan context.Context, 2)}
	a := newAPI(t, func(c *Config) { c.Base, c.Fleet = base, fleet })
	a.post("/deleteSessions", `[{"SessionId":"s","Owner":"o"}]`)
	ctx := <-fleet.seen
	_, bounded := ctx.Deadline()
	require.True(t, bounded)

	stop()
	a.post("/deleteSessions", `[{"SessionId":"s","Owner":"o"}]`)
	require.ErrorIs(t, (<-fleet.seen).Err(), context.Canceled)
}
