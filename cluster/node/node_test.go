package node

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"

	"opensessionmanager/actors"
	"opensessionmanager/internal/certs"
	"opensessionmanager/internal/config"
	"opensessionmanager/messages"
	"opensessionmanager/persistence"
	"opensessionmanager/persistence/faulty"
	"opensessionmanager/persistence/memory"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, // the library's clock and pool cleaner end late or never
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.updateServerDate.func1"),
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.(*workerPool).Start.func2"))
}

// options are those of a broker in a folder of its own, on free ports.
func options(t *testing.T, dir string) Options {
	t.Helper()
	cfg := config.Default()
	cfg.Storage.WorkingPath = config.Path(dir)
	cfg.Client.Port, cfg.Agent.Port, cfg.Admin.Port = 0, 0, 0
	cfg.Client.BindHost, cfg.Agent.BindHost = "127.0.0.1", "127.0.0.1"
	return Options{Config: cfg, Logger: slog.New(slog.DiscardHandler)}
}

func start(t *testing.T, opt Options) *Node {
	t.Helper()
	n, err := Start(t.Context(), opt)
	require.NoError(t, err)
	t.Cleanup(func() { stop(t, n) })
	return n
}

func stop(t *testing.T, n *Node) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	require.NoError(t, n.Stop(ctx))
}

type answer struct {
	status     int
	body       string
	retryAfter string
}

// get asks a port as a load balancer does, with the broker's own authority.
func get(t *testing.T, dir, addr, path string) (answer, error) {
	t.Helper()
	pem, err := os.ReadFile(filepath.Join(dir, "security", certs.CAFile))
	if err != nil {
		return answer{}, err
	}
	pool := x509.NewCertPool()
	require.True(t, pool.AppendCertsFromPEM(pem))
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}}}
	response, err := client.Get("https://" + addr + path)
	if err != nil {
		return answer{}, err
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	return answer{response.StatusCode, string(body), response.Header.Get("Retry-After")}, err
}

func await(t *testing.T, what string, try func() error) {
	t.Helper()
	var last error
	require.Eventually(t, func() bool { last = try(); return last == nil }, 30*time.Second, 10*time.Millisecond, "%s: %v", what, &last)
}

func TestNode_StartsServesAndLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	n := start(t, options(t, dir))
	for _, addr := range []string{n.ClientAddr(), n.AgentAddr()} {
		a, err := get(t, dir, addr, "/health")
		require.NoError(t, err)
		require.Equal(t, http.StatusOK, a.status, a.body)
	}
	require.FileExists(t, n.CAFile())
	a, err := get(t, dir, n.AgentAddr(), "/nothing")
	require.NoError(t, err)
	require.Equal(t, http.StatusNotFound, a.status)
}

// A broker that cannot start says why, and nothing of it goes on.
func TestNode_PortThatIsTakenIsNamed(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer func() { _ = taken.Close() }()
	opt := options(t, t.TempDir())
	opt.Config.Agent.Port = taken.Addr().(*net.TCPAddr).Port
	_, err = Start(t.Context(), opt)
	require.ErrorContains(t, err, "agent port")
	require.ErrorContains(t, err, fmt.Sprint(opt.Config.Agent.Port))
}

func TestNode_WithoutItsStoreDoesNotStart(t *testing.T) {
	for name, method := range map[string]faulty.Method{"keys": faulty.Load, "records": faulty.Scan} {
		opt := options(t, t.TempDir())
		opt.Store = faulty.New(memory.New(), faulty.Config{Decide: func(c faulty.Call) faulty.Fault {
			if c.Method == method {
				return faulty.Unavailable
			}
			return faulty.None
		}})
		_, err := Start(t.Context(), opt)
		require.ErrorIs(t, err, persistence.ErrUnavailable, name)
	}
}

// While the records are read a balancer is told 503, and clients when to come again.
func TestNode_IsNotReadyWhileItStarts(t *testing.T) {
	dir := t.TempDir()
	opt := options(t, dir)
	free, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	opt.Config.Client.Port = free.Addr().(*net.TCPAddr).Port
	addr := free.Addr().String()
	require.NoError(t, free.Close())
	reading, goOn := make(chan struct{}), make(chan struct{})
	opt.Store = faulty.New(memory.New(), faulty.Config{Delay: func(_ context.Context, calls []faulty.Call) error {
		if c := calls[0]; c.Method == faulty.Scan && c.Key.Kind == actors.RecordServer {
			close(reading)
			<-goOn
		}
		return nil
	}})
	started := make(chan *Node, 1)
	go func() {
		n, err := Start(context.Background(), opt)
		if err != nil {
			t.Error(err)
		}
		started <- n
	}()
	<-reading
	health, err := get(t, dir, addr, "/health")
	require.NoError(t, err)
	require.Equal(t, http.StatusServiceUnavailable, health.status)
	require.Contains(t, health.body, "starting")
	other, err := get(t, dir, addr, "/describeSessions")
	require.NoError(t, err)
	require.Equal(t, http.StatusServiceUnavailable, other.status)
	require.Equal(t, "1", other.retryAfter)
	close(goOn)
	n := <-started
	require.NotNil(t, n)
	defer stop(t, n)
	health, err = get(t, dir, addr, "/health")
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, health.status)
}

// F17: with a store that takes nothing the broker is not well, and finds out by itself
// when that is over: a balancer sends nobody else.
func TestNode_IsNotWellWhileItsStoreFailsAndRecoversAlone(t *testing.T) {
	dir := t.TempDir()
	opt := options(t, dir)
	var failing atomic.Bool
	opt.Store = faulty.New(memory.New(), faulty.Config{Decide: func(c faulty.Call) faulty.Fault {
		if failing.Load() && c.Method == faulty.Save {
			return faulty.Unavailable
		}
		return faulty.None
	}})
	n := start(t, opt)
	failing.Store(true)
	refused := make(chan error, 1)
	n.committer.Save(persistence.Record{Key: persistence.Key{Kind: "probe", ID: "test"}}, func(_ int64, err error) { refused <- err })
	require.ErrorIs(t, <-refused, persistence.ErrUnavailable)
	health := func(want int) error {
		for _, addr := range []string{n.ClientAddr(), n.AgentAddr()} {
			if a, err := get(t, dir, addr, "/health"); err != nil || a.status != want {
				return fmt.Errorf("%s: %v %w", addr, a, err)
			}
		}
		return nil
	}
	await(t, "the broker to be unwell", func() error { return health(http.StatusServiceUnavailable) })
	failing.Store(false)
	await(t, "the broker to be well", func() error { return health(http.StatusOK) })
}

// What was kept in the folder is there again: identity, sessions, servers. A session
// whose server was forgotten is not READY.
func TestNode_StartsAgainFromItsFolder(t *testing.T) {
	dir := t.TempDir()
	n, err := Start(t.Context(), options(t, dir))
	require.NoError(t, err)
	ca, err := os.ReadFile(n.CAFile())
	require.NoError(t, err)
	for _, r := range []struct {
		kind, id string
		record   proto.Message
	}{
		{actors.RecordServer, "a", &messages.ServerRecord{Id: "a", MachineId: "m", Closed: true, Facts: &messages.ServerFacts{Hostname: "a"}}},
		{actors.RecordSession, "s-1", &messages.SessionRecord{Id: "s-1", DcvId: "s-1", State: "ready", ServerId: "a", Spec: &messages.SessionSpec{Owner: "ann"}}},
		{actors.RecordSession, "s-2", &messages.SessionRecord{Id: "s-2", DcvId: "s-2", State: "ready", ServerId: "gone", Spec: &messages.SessionSpec{Owner: "ann"}}},
		{actors.RecordSession, "s-3", &messages.SessionRecord{Id: "s-3", DcvId: "s-3", State: "deleted", DeadlineUnixMs: 1, Spec: &messages.SessionSpec{Owner: "ann"}}},
	} {
		data, err := proto.Marshal(r.record)
		require.NoError(t, err)
		_, err = n.store.Save(t.Context(), persistence.Record{Key: persistence.Key{Kind: r.kind, ID: r.id}, Data: data})
		require.NoError(t, err)
	}
	stop(t, n)

	again := start(t, options(t, dir))
	same, err := os.ReadFile(again.CAFile())
	require.NoError(t, err)
	require.Equal(t, ca, same)
	snapshot, refusal := again.gateway.Snapshot()
	require.Nil(t, refusal)
	server, ok := snapshot.Server("a")
	require.True(t, ok)
	require.True(t, server.View.GetClosed())
	for id, want := range map[string]messages.SessionState{"s-1": messages.SessionState_SESSION_STATE_READY, "s-2": messages.SessionState_SESSION_STATE_UNKNOWN} {
		entry, ok := snapshot.Session(id)
		require.True(t, ok, id)
		require.Equal(t, want, entry.View.GetState(), id)
		require.True(t, again.sessionAlive(id), "its tokens count")
	}
	require.False(t, again.sessionAlive("never"))
	await(t, "the session whose time is over to be forgotten", func() error {
		snapshot, _ := again.gateway.Snapshot()
		if _, there := snapshot.Session("s-3"); there {
			return errors.New("still there")
		}
		return nil
	})
}

func TestNode_RunEndsWithItsContext(t *testing.T) {
	opt := options(t, t.TempDir())
	opt.Config.Storage.StateStore = "memory"
	ctx, cancel := context.WithCancel(t.Context())
	require.NoError(t, Run(ctx, opt.Config, slog.New(onMessage{slog.DiscardHandler, "broker ready", cancel})))
	require.Error(t, ctx.Err())
}

// onMessage calls then when a line with this text is logged.
type onMessage struct {
	slog.Handler
	text string
	then func()
}

func (h onMessage) Enabled(context.Context, slog.Level) bool { return true }

func (h onMessage) Handle(_ context.Context, r slog.Record) error {
	if r.Message == h.text {
		h.then()
	}
	return nil
}

func (h onMessage) WithAttrs([]slog.Attr) slog.Handler { return h }
func (h onMessage) WithGroup(string) slog.Handler      { return h }

// Whoever can write to the working path can swap the database and the keys.
func TestStart_RefusesAWorkingPathThatOthersMayChange(t *testing.T) {
	t.Parallel()
	folder := filepath.Join(t.TempDir(), "open")
	require.NoError(t, os.Mkdir(folder, 0o700))
	require.NoError(t, os.Chmod(folder, 0o777))
	cfg := config.Default()
	cfg.Storage.WorkingPath = config.Path(folder)
	_, err := Start(t.Context(), Options{Config: cfg, Logger: slog.New(slog.DiscardHandler)})
	require.ErrorContains(t, err, "chmod 700")
}
