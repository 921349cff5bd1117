package consul

import (
	"fmt"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"opensessionmanager/persistence"
	"opensessionmanager/persistence/consul/consultest"
)

// shared is one server for all tests that do it no harm; each has a prefix of its
// own. It is started by the first one that needs it, and stopped by TestMain.
var shared = sync.OnceValues(func() (*consultest.Server, error) {
	folder, err := os.MkdirTemp("", "consul-test-")
	if err != nil {
		return nil, err
	}
	atEnd = append(atEnd, func() { _ = os.RemoveAll(folder) })
	server, err := consultest.Launch(folder, consultest.Options{})
	if err == nil {
		atEnd = append(atEnd, server.Kill)
	}
	return server, err
})

var atEnd []func()

func TestMain(m *testing.M) {
	code := m.Run()
	for _, end := range slices.Backward(atEnd) {
		end()
	}
	if err := goleak.Find(); code == 0 && err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

var prefixes atomic.Int64

// open yields an empty store on the shared server.
func open(t testing.TB) persistence.Store {
	t.Helper()
	return openAt(t, sharedConfig(t))
}

// sharedConfig is the shared server with a prefix that nobody else has.
func sharedConfig(t testing.TB) Config {
	t.Helper()
	consultest.Require(t)
	server, err := shared()
	require.NoError(t, err)
	return Config{Addresses: []string{server.Address()}, Prefix: fmt.Sprintf("test/%d/", prefixes.Add(1))}
}

func openAt(t testing.TB, cfg Config) *Store {
	t.Helper()
	s, err := Open(cfg)
	require.NoError(t, err)
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func record(id string, version int64, data string) persistence.Record {
	return persistence.Record{Key: persistence.Key{Kind: "thing", ID: id}, Version: version, Data: []byte(data)}
}

func put(id string, version int64, data string) persistence.Op {
	return persistence.Op{Record: record(id, version, data)}
}

func remove(id string, version int64) persistence.Op {
	return persistence.Op{Record: record(id, version, ""), Delete: true}
}

func save(t testing.TB, s persistence.Store, r persistence.Record) int64 {
	t.Helper()
	version, err := s.Save(t.Context(), r)
	require.NoError(t, err)
	return version
}

func requireRecord(t testing.TB, s persistence.Store, want persistence.Record) {
	t.Helper()
	got, err := s.Load(t.Context(), want.Key)
	require.NoError(t, err)
	require.Equal(t, want, got)
}
