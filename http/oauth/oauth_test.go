package oauth_test

import (
	"context"
	"encoding/base64"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/valyala/fasthttp"
	"go.uber.org/goleak"

	"opensessionmanager/http/oauth"
	"opensessionmanager/persistence"
	"opensessionmanager/persistence/memory"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world is one broker's authorization server with a clock to turn.
type world struct {
	*oauth.Server
	store persistence.Store
	clock *clock
	alive map[string]bool
}

type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) forward(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

func newWorld(t testing.TB, changes ...func(*oauth.Config)) *world {
	t.Helper()
	return join(t, memory.New(), changes...)
}

// join starts a broker on a store that others may use too.
func join(t testing.TB, store persistence.Store, changes ...func(*oauth.Config)) *world {
	t.Helper()
	w := &world{store: store, clock: &clock{now: time.Unix(1_800_000_000, 0)}, alive: map[string]bool{"s-1": true, "s-2": true}}
	keys, err := oauth.LoadKeys(context.Background(), store)
	require.NoError(t, err)
	cfg := oauth.Config{
		Store: store, Keys: keys, Logger: slog.New(slog.DiscardHandler), Now: w.clock.Now,
		EnableServer: true, EnableAuthorization: true, EnableAgentAuthorization: true,
		ConnectionTokenLifetime: time.Hour,
		SessionAlive:            func(id string) bool { return w.alive[id] },
	}
	for _, change := range changes {
		change(&cfg)
	}
	w.Server, err = oauth.New(context.Background(), cfg)
	require.NoError(t, err)
	t.Cleanup(w.Close)
	return w
}

// token registers a client and gets it a token.
func (w *world) token(t testing.TB, name string) (clientID, token string) {
	t.Helper()
	id, password, err := w.Clients().Register(context.Background(), name)
	require.NoError(t, err)
	return id, accessToken(t, ask(w.TokenHandler(), "/oauth2/token?grant_type=client_credentials", basic(id, password), ""))
}

// ask calls a handler with a POST.
func ask(handler fasthttp.RequestHandler, uri, authorization, body string) *fasthttp.Response {
	var rc fasthttp.RequestCtx
	rc.Request.Header.SetMethod(fasthttp.MethodPost)
	rc.Request.SetRequestURI(uri)
	rc.Request.Header.SetContentType("application/x-www-form-urlencoded")
	if authorization != "" {
		rc.Request.Header.Set("Authorization", authorization)
	}
	rc.Request.SetBodyString(body)
	handler(&rc)
	var answer fasthttp.Response
	rc.Response.CopyTo(&answer)
	return &answer
}

func basic(id, secret string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(id+":"+secret))
}

// broken is a store that does not answer while down.
type broken struct {
	persistence.Store
	down bool
}

var errDown = errors.New("down")

func (b *broken) Load(ctx context.Context, key persistence.Key) (persistence.Record, error) {
	if b.down {
		return persistence.Record{}, errors.Join(persistence.ErrUnavailable, errDown)
	}
	return b.Store.Load(ctx, key)
}
