package node

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"opensessionmanager/internal/certs"
	"opensessionmanager/persistence"
	"opensessionmanager/persistence/memory"
)

// full is a store that takes only small records while it has no room.
type full struct {
	persistence.Store
	noRoom  atomic.Bool
	refused atomic.Int64 // batches
}

func (f *full) Apply(ctx context.Context, ops []persistence.Op) []persistence.Result {
	for _, op := range ops {
		if f.noRoom.Load() && len(op.Record.Data) > 1000 {
			f.refused.Add(1)
			results := make([]persistence.Result, len(ops))
			for i := range results {
				results[i].Err = persistence.ErrUnavailable
			}
			return results
		}
	}
	return f.Store.Apply(ctx, ops)
}

// F17: on a disk that is almost full small records may still be taken. Both ports say
// the same, and go on saying it, until a large one is taken too.
func TestNode_IsNotWellWhileOnlySmallRecordsAreTaken(t *testing.T) {
	dir := t.TempDir()
	opt := options(t, dir)
	store := &full{Store: memory.New()}
	opt.Store = store
	n := start(t, opt)
	store.noRoom.Store(true)
	save := func(id string, size int) error {
		done := make(chan error, 1)
		record := persistence.Record{Key: persistence.Key{Kind: "probe", ID: id}, Data: make([]byte, size)}
		n.committer.Save(record, func(_ int64, err error) { done <- err })
		return <-done
	}
	require.ErrorIs(t, save("large", 10_000), persistence.ErrUnavailable)
	for i := range 5 {
		for _, addr := range []string{n.ClientAddr(), n.AgentAddr()} {
			a, err := get(t, dir, addr, "/health")
			require.NoError(t, err)
			require.Equal(t, http.StatusServiceUnavailable, a.status, addr)
		}
		_ = save(fmt.Sprint("small-", i), 10) // fails if it meets a probe in a batch
	}
	store.noRoom.Store(false)
	await(t, "the broker to be well", func() error {
		for _, addr := range []string{n.ClientAddr(), n.AgentAddr()} {
			if a, err := get(t, dir, addr, "/health"); err != nil || a.status != http.StatusOK {
				return fmt.Errorf("%s: %v %w", addr, a, err)
			}
		}
		return nil
	})
}

// Without a balancer that asks, the first request after a failure that is long over is
// not the one that finds out.
func TestNode_FindsOutThatItsStoreIsWellAlthoughNobodyAsks(t *testing.T) {
	opt := options(t, t.TempDir())
	store := &full{Store: memory.New()}
	opt.Store = store
	n := start(t, opt)
	store.noRoom.Store(true)
	refused := make(chan error, 1)
	record := persistence.Record{Key: persistence.Key{Kind: "probe", ID: "large"}, Data: make([]byte, 10_000)}
	n.committer.Save(record, func(_ int64, err error) { refused <- err })
	require.ErrorIs(t, <-refused, persistence.ErrUnavailable)
	require.True(t, n.storeFails())
	await(t, "a probe in vain", func() error {
		if store.refused.Load() < 2 {
			return errors.New("not yet")
		}
		return nil
	})
	store.noRoom.Store(false)
	await(t, "the end of the failure", func() error {
		if n.failed.Load() || n.committer.Health() != nil {
			return errors.New("not yet")
		}
		return nil
	})
	require.False(t, n.storeFails())
}

// Balancers ask with HEAD too; and no port waits for a body that nobody wants.
func TestNode_PortsAnswerFromTheHeader(t *testing.T) {
	dir := t.TempDir()
	n := start(t, options(t, dir))
	for _, c := range []struct {
		addr, request string
		status        int
	}{
		{n.ClientAddr(), "HEAD /health HTTP/1.1\r\n", 200},
		{n.AgentAddr(), "HEAD /health HTTP/1.1\r\n", 200},
		{n.ClientAddr(), "POST /createSessions HTTP/1.1\r\nContent-Length: 1000\r\n", 401},
		{n.ClientAddr(), "POST /oauth2/token HTTP/1.1\r\nContent-Length: 100000\r\n", 413},
		{n.AgentAddr(), "POST /agent/oauth2/token HTTP/1.1\r\nContent-Length: 100000\r\n", 413},
		{n.AgentAddr(), "POST /agent/register HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 100000\r\n", 413},
		{n.AgentAddr(), "POST /nothing HTTP/1.1\r\nContent-Length: 1000\r\n", 404},
		{n.AgentAddr(), "GET /agent/ws HTTP/1.1\r\nContent-Length: 1000\r\n", 401},
	} {
		conn := dialTLS(t, dir, c.addr)
		_, err := io.WriteString(conn, c.request+"Host: localhost\r\nConnection: close\r\n\r\n")
		require.NoError(t, err)
		answer := make([]byte, 12)
		_, err = io.ReadFull(conn, answer)
		require.NoError(t, err, c.request)
		require.Equal(t, fmt.Sprint("HTTP/1.1 ", c.status), string(answer), c.request)
		require.NoError(t, conn.Close())
	}
}

func dialTLS(t *testing.T, dir, addr string) *tls.Conn {
	t.Helper()
	pem, err := os.ReadFile(filepath.Join(dir, "security", certs.CAFile))
	require.NoError(t, err)
	pool := x509.NewCertPool()
	require.True(t, pool.AppendCertsFromPEM(pem))
	conn, err := tls.Dial("tcp", addr, &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12})
	require.NoError(t, err)
	return conn
}
