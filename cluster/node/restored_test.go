package node

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"opensessionmanager/actors"
	"opensessionmanager/cluster/reconcile"
	"opensessionmanager/internal/config"
	"opensessionmanager/messages"
	"opensessionmanager/persistence"
	"opensessionmanager/persistence/consul/consultest"
)

// F20, F52: an operator restores a snapshot of Consul under a running broker. What was
// made since is written back at once, not by the look that is due in ten minutes.
func TestConsul_ASnapshotThatIsRestoredIsNoticed(t *testing.T) {
	t.Parallel()
	server := consultest.Start(t, consultest.Options{})
	client, err := api.NewClient(&api.Config{Address: server.Address()})
	require.NoError(t, err)
	opt := withConsul(t, config.Consul{Addresses: []string{server.Address()}})
	opt.Audit = func(c *reconcile.Config) { c.Delay, c.Again = 10*time.Millisecond, 10*time.Millisecond }
	n := start(t, opt)
	snapshot, _, err := client.Snapshot().Save(nil)
	require.NoError(t, err)
	defer func() { _ = snapshot.Close() }()

	key := persistence.Key{Kind: actors.RecordServer, ID: "a"}
	data, err := proto.Marshal(&messages.ServerRecord{Id: "a", MachineId: "m", Facts: &messages.ServerFacts{Hostname: "a"}})
	require.NoError(t, err)
	_, err = n.store.Save(t.Context(), persistence.Record{Key: key, Data: data})
	require.NoError(t, err)
	n.auditor.Look("the test")
	await(t, "the server to be shown", func() error {
		if _, shown := n.deps.Roster.Snapshot().Server("a"); !shown {
			return errors.New("it is not")
		}
		return nil
	})
	require.NoError(t, n.auth.RenewKeys(t.Context()))
	await(t, "the broker to note how new the store is", func() error {
		_, err := os.Stat(filepath.Join(n.workingPath(), "authorization-epoch"))
		return err
	})

	require.NoError(t, client.Snapshot().Restore(nil, snapshot))
	await(t, "the server to be stored again", func() error {
		_, err := n.store.Load(t.Context(), key)
		return err
	})
}
