package node

import (
	"bytes"
	"log/slog"
	"net"
	"strconv"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"opensessionmanager/persistence"
)

// buffer is a log that may be written from several goroutines.
type buffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// C25: the vendor's shipped file names nobody but this broker: it is alone, opens no
// discovery port and has nothing to warn of.
func TestNode_TheShippedDiscoveryAddressIsAFleetOfOne(t *testing.T) {
	opt := options(t, t.TempDir())
	opt.Config.Fleet.Addresses = []string{net.JoinHostPort("127.0.0.1", strconv.Itoa(opt.Config.Fleet.DiscoveryPort))}
	log := &buffer{}
	opt.Logger = slog.New(slog.NewTextHandler(log, nil))
	n := start(t, opt)
	require.Nil(t, n.circle.Load())
	require.Len(t, n.fleet.View().Members, 1)
	require.NotContains(t, log.String(), "level=WARN")
	require.NotContains(t, log.String(), "level=ERROR")
}

// C25: broker-to-broker-discovery-addresses and -port. A broker that others may join, and
// that nobody has joined yet, needs nobody to start, keeps its records over a restart, and
// says that they are in no database.
func TestNode_TheFirstOfAListStartsAlone(t *testing.T) {
	dir := t.TempDir()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	nobody := l.Addr().String()
	require.NoError(t, l.Close())
	var key persistence.Record
	for i := range 2 {
		opt := options(t, dir)
		opt.Config.Fleet.BindHost, opt.Config.Fleet.Port, opt.Config.Fleet.DiscoveryPort = "127.0.0.1", 0, 0
		opt.Config.Fleet.Addresses = []string{nobody, "127.0.0.1:1"}
		log := &buffer{}
		opt.Logger = slog.New(slog.NewTextHandler(log, nil))
		n, err := Start(t.Context(), opt)
		require.NoError(t, err, log)
		require.NotNil(t, n.circle.Load())
		require.NoError(t, n.fleet.Contact())
		require.Contains(t, log.String(), "best effort")
		found, err := n.store.Load(t.Context(), persistence.Key{Kind: "key", ID: "root"})
		require.NoError(t, err)
		if i == 1 {
			require.Equal(t, key, found)
		}
		key = found
		stop(t, n)
	}
}
