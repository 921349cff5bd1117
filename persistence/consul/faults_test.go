package consul

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"
	"github.com/stretchr/testify/require"

	"opensessionmanager/persistence"
	"opensessionmanager/persistence/consul/consultest"
)

// eventually waits for what must come, within what is long for any machine.
func eventually(t *testing.T, what string, try func() error) {
	t.Helper()
	require.Eventually(t, func() bool {
		err := try()
		if err != nil {
			t.Logf("%s: %v", what, err)
		}
		return err == nil
	}, time.Minute, 20*time.Millisecond, what)
}

// F19: Consul is there but does not answer.
func TestConsulPaused_WritesAreUncertainAndReadsUnavailable(t *testing.T) {
	t.Parallel()
	server := consultest.Start(t, consultest.Options{})
	version := save(t, openAt(t, Config{Addresses: []string{server.Address()}}), record("a", 0, "before"))
	s := openAt(t, Config{Addresses: []string{server.Address()}, Timeout: time.Second})
	eventually(t, "load", func() error { // in less than the timeout
		_, err := s.Load(t.Context(), record("a", 0, "").Key)
		return err
	})

	server.Pause()
	_, err := s.Save(t.Context(), record("a", version, "during"))
	require.ErrorIs(t, err, persistence.ErrUncertain)
	_, err = s.Load(t.Context(), record("a", 0, "").Key)
	require.ErrorIs(t, err, persistence.ErrUnavailable)
	_, err = s.Scan(t.Context(), "thing", "", 10)
	require.ErrorIs(t, err, persistence.ErrUnavailable)

	ops := make([]persistence.Op, 200)
	for i := range ops {
		ops[i] = put(fmt.Sprint(i), 0, "x")
	}
	for i, r := range s.Apply(t.Context(), ops) {
		if i < maxTxnOps-1 {
			require.ErrorIs(t, r.Err, persistence.ErrUncertain, "op %d was sent", i)
			continue
		}
		require.ErrorIs(t, r.Err, persistence.ErrUnavailable, "op %d was not sent", i)
		require.NotErrorIs(t, r.Err, persistence.ErrUncertain, "op %d was not sent", i)
	}

	server.Resume()
	var now persistence.Record
	eventually(t, "load after resume", func() (err error) {
		now, err = s.Load(t.Context(), record("a", 0, "").Key)
		return err
	})
	eventually(t, "save after resume", func() (err error) { // the one from before may still arrive
		now, err = s.Load(t.Context(), now.Key)
		if err == nil {
			_, err = s.Save(t.Context(), record("a", now.Version, "after"))
		}
		return err
	})
}

// F19: Consul is gone and comes back, with its data.
func TestConsulKilled_NothingIsWrittenAndAllIsThereAfterARestart(t *testing.T) {
	t.Parallel()
	server := consultest.Start(t, consultest.Options{})
	s := openAt(t, Config{Addresses: []string{server.Address()}})
	version := save(t, s, record("a", 0, "before"))

	for _, down := range []func(){server.Kill, server.Stop} {
		down()
		eventually(t, "refused connections", func() error { // the first may still find an old connection
			_, err := s.Save(t.Context(), record("b", 0, "during"))
			if errors.Is(err, persistence.ErrUnavailable) {
				return nil
			}
			return fmt.Errorf("answered %w", err)
		})
		_, err := s.Load(t.Context(), record("a", 0, "").Key)
		require.ErrorIs(t, err, persistence.ErrUnavailable)
		server.Restart()
		eventually(t, "load after the restart", func() error {
			_, err := s.Load(t.Context(), record("a", 0, "").Key)
			return err
		})
		requireRecord(t, s, record("a", version, "before"))
		version = save(t, s, record("a", version, "before"))
	}
	_, err := s.Load(t.Context(), record("b", 0, "").Key)
	require.ErrorIs(t, err, persistence.ErrNotFound)
}

// F20: an operator deletes Consul's data under a running broker. What the broker
// remembers must not be mistaken for the state of what is written anew, although
// Consul counts from the start again; and somebody must hear of it.
func TestConsulWiped_OldVersionsAreRefusedAndItIsLogged(t *testing.T) {
	t.Parallel()
	server := consultest.Start(t, consultest.Options{})
	var log bytes.Buffer
	s := openAt(t, Config{Addresses: []string{server.Address()}, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	newcomer := openAt(t, Config{Addresses: []string{server.Address()}})
	setGeneration(t, s, 1000) // as if the store were older than a minute
	old := map[string]int64{}
	for i := range 30 {
		id := fmt.Sprint(i)
		old[id] = save(t, s, record(id, 0, "before"))
	}
	require.Empty(t, log.String())

	server.Wipe()
	for id, version := range old { // another broker writes each anew, with the same indexes as before
		fresh := save(t, newcomer, record(id, 0, "by another"))
		_, err := s.Save(t.Context(), record(id, version, "lost"))
		require.ErrorIs(t, err, persistence.ErrConflict)
		require.ErrorIs(t, s.Delete(t.Context(), record(id, 0, "").Key, version), persistence.ErrConflict)
		got, err := s.Load(t.Context(), record(id, 0, "").Key)
		require.NoError(t, err)
		require.Equal(t, "by another", string(got.Data))
		require.Greater(t, got.Version, version, "versions rise over a wipe; the newcomer gave %d", fresh)
		_, err = s.Save(t.Context(), got)
		require.NoError(t, err)
	}
	require.Contains(t, log.String(), "level=ERROR")
	require.Contains(t, log.String(), "deleted or replaced")
}

// After a wipe the generation's key and a record can get the very indexes that they had
// before. The name of the mark still tells the generations apart.
func TestConsulWiped_TheSameIndexesDoNotMakeAnOldVersionCurrent(t *testing.T) {
	t.Parallel()
	server := consultest.Start(t, consultest.Options{})
	s := openAt(t, Config{Addresses: []string{server.Address()}})
	newcomer := openAt(t, Config{Addresses: []string{server.Address()}})
	setGeneration(t, s, 1000)
	save(t, s, record("a", 0, "before"))

	server.Wipe()
	fresh := save(t, newcomer, record("a", 0, "by another"))
	s.current.index = newcomer.current.index // as if it had come up again
	index, _ := newcomer.current.indexOf(fresh)
	stale, err := s.current.version(index)
	require.NoError(t, err)
	for _, r := range s.Apply(t.Context(), []persistence.Op{put("a", stale, "lost"), remove("a", stale)}) {
		require.ErrorIs(t, r.Err, persistence.ErrConflict)
	}
	requireRecord(t, newcomer, record("a", fresh, "by another"))
}

// A snapshot of a life before is restored: the generation goes back, and with it versions
// would.
func TestConsulRestored_VersionsStillRise(t *testing.T) {
	t.Parallel()
	s := openAt(t, sharedConfig(t))
	setGeneration(t, s, 2000)
	version := save(t, s, record("a", 0, "x"))
	setGeneration(t, s, 1000)
	_, err := s.Save(t.Context(), record("a", version, "y"))
	require.ErrorIs(t, err, persistence.ErrConflict)
	got, err := s.Load(t.Context(), record("a", 0, "").Key)
	require.NoError(t, err)
	require.Greater(t, got.Version, version)
	require.Greater(t, save(t, s, got), got.Version)
}

// A real snapshot brings back the same generation: only what was written since is
// refused, and versions rise nevertheless, since Consul's own index does.
func TestConsulSnapshotRestored_WhatWasWrittenSinceIsRefused(t *testing.T) {
	t.Parallel()
	server := consultest.Start(t, consultest.Options{})
	s := openAt(t, Config{Addresses: []string{server.Address()}})
	before := save(t, s, record("a", 0, "before"))
	snapshot, _, err := s.agents.Client(0).Snapshot().Save(nil)
	require.NoError(t, err)
	defer func() { _ = snapshot.Close() }()
	since := save(t, s, record("a", before, "since"))
	made := save(t, s, record("b", 0, "since"))
	require.NoError(t, s.agents.Client(0).Snapshot().Restore(nil, snapshot))

	for id, version := range map[string]int64{"a": since, "b": made} {
		_, err = s.Save(t.Context(), record(id, version, "stale"))
		require.ErrorIs(t, err, persistence.ErrConflict)
	}
	requireRecord(t, s, record("a", before, "before"))
	require.Greater(t, save(t, s, record("a", before, "after")), made)
	require.Greater(t, save(t, s, record("b", 0, "after")), made)
}

// Somebody deletes one key too many.
func TestGenerationDeleted_RecordsStayAndVersionsRise(t *testing.T) {
	t.Parallel()
	s := openAt(t, sharedConfig(t))
	setGeneration(t, s, 1000)
	version := save(t, s, record("a", 0, "x"))
	_, err := s.agents.Client(0).KV().Delete(s.generationKey(), nil)
	require.NoError(t, err)
	got, err := s.Load(t.Context(), record("a", 0, "").Key)
	require.NoError(t, err)
	require.Greater(t, got.Version, version)
	require.Greater(t, save(t, s, got), got.Version)
}

// A store without the mark, deleted or never made, begins a new generation.
func TestMarkDeleted_AllIsReadAndWrittenAgain(t *testing.T) {
	t.Parallel()
	s := openAt(t, sharedConfig(t))
	other := openAt(t, Config{Addresses: sharedConfig(t).Addresses, Prefix: s.prefix})
	setGeneration(t, s, 1000)
	version := save(t, s, record("a", 0, "x"))
	requireRecord(t, other, record("a", version, "x"))
	_, err := s.agents.Client(0).KV().DeleteTree(s.marksPrefix(), nil)
	require.NoError(t, err)
	_, err = s.Save(t.Context(), record("a", version, "y"))
	require.ErrorIs(t, err, persistence.ErrConflict)
	for _, store := range []*Store{s, other} {
		got, err := store.Load(t.Context(), record("a", 0, "").Key)
		require.NoError(t, err)
		require.Greater(t, got.Version, version)
		require.Greater(t, save(t, store, got), got.Version)
	}
}

func setGeneration(t *testing.T, s *Store, number int) {
	t.Helper()
	done, _, _, err := s.agents.Client(0).Txn().Txn(api.TxnOps{
		{KV: &api.KVTxnOp{Verb: api.KVSet, Key: s.generationKey(), Value: []byte(fmt.Sprint(number))}},
		{KV: &api.KVTxnOp{Verb: api.KVDeleteTree, Key: s.marksPrefix()}},
		{KV: &api.KVTxnOp{Verb: api.KVSet, Key: s.markKey(int64(number))}},
	}, nil)
	require.NoError(t, err)
	require.True(t, done)
}

// F19: the leader of three dies; what was acknowledged is there.
func TestLeaderLost_WritesGoOnWithAnotherAndNothingAcknowledgedIsLost(t *testing.T) {
	t.Parallel()
	servers := consultest.StartCluster(t, 3, consultest.Options{})
	var addresses []string
	for _, server := range servers {
		addresses = append(addresses, server.Address())
	}
	s := openAt(t, Config{Addresses: addresses})
	acknowledged := map[string]int64{}
	write := func(id string) error {
		version, err := s.Save(t.Context(), record(id, 0, "data"))
		if err == nil {
			acknowledged[id] = version
		}
		return err
	}
	for i := range 20 {
		require.NoError(t, write(fmt.Sprint("before-", i)))
	}
	leader := leaderOf(t, s, servers)
	leader.Kill()
	n := 0
	eventually(t, "a write by a new leader", func() error {
		n++
		return write(fmt.Sprint("after-", n))
	})
	for i := range 20 {
		require.NoError(t, write(fmt.Sprint("later-", i)))
	}
	for id, version := range acknowledged {
		requireRecord(t, s, record(id, version, "data"))
	}
	leader.Restart()
	requireOneOfThreeIsNoCluster(t, servers, addresses)
}

// requireOneOfThreeIsNoCluster: without a quorum nothing is written or read.
func requireOneOfThreeIsNoCluster(t *testing.T, servers []*consultest.Server, addresses []string) {
	servers[0].Kill()
	servers[1].Kill()
	s := openAt(t, Config{Addresses: addresses[2:]})
	eventually(t, "refused writes", func() error { // uncertain while the last one does not know that it is alone
		_, err := s.Save(t.Context(), record("alone", 0, "x"))
		if !errors.Is(err, persistence.ErrUnavailable) {
			return fmt.Errorf("answered %w", err)
		}
		return nil
	})
	_, err := s.Load(t.Context(), record("before-0", 0, "").Key)
	require.ErrorIs(t, err, persistence.ErrUnavailable, "must not be answered from what may be old")
}

func leaderOf(t *testing.T, s *Store, servers []*consultest.Server) *consultest.Server {
	t.Helper()
	var leader *consultest.Server
	eventually(t, "a leader", func() error {
		rpc, err := s.agents.Client(0).Status().Leader()
		if err != nil {
			return err
		}
		for _, server := range servers {
			if server.RPCAddress() == rpc {
				leader = server
				return nil
			}
		}
		return fmt.Errorf("leader %q is none of ours", rpc)
	})
	return leader
}

// One agent of several is away: the others are asked.
func TestAgents_TheNextIsAskedIfOneIsAway(t *testing.T) {
	t.Parallel()
	cfg := sharedConfig(t)
	cfg.Addresses = append([]string{"127.0.0.1:1"}, cfg.Addresses...)
	s := openAt(t, cfg)
	version := save(t, s, record("a", 0, "x"))
	requireRecord(t, s, record("a", version, "x"))
	require.EqualValues(t, 1, s.agents.First(), "the one that answered is asked first")
}

// One agent of several accepts connections and says nothing: whoever has less time than
// a request may take leaves it to the next call as well.
func TestAgents_TheNextIsAskedAfterOneThatHangs(t *testing.T) {
	t.Parallel()
	cfg := sharedConfig(t)
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = silent.Close() })
	version := save(t, openAt(t, cfg), record("a", 0, "x"))
	cfg.Addresses, cfg.Timeout = append([]string{silent.Addr().String()}, cfg.Addresses...), time.Hour
	s := openAt(t, cfg)
	brief, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err = s.Load(brief, record("a", 0, "").Key)
	require.ErrorIs(t, err, persistence.ErrUnavailable)
	requireRecord(t, s, record("a", version, "x"))
	require.EqualValues(t, 1, s.agents.First())

	ended, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, s.agents.read(ended, func(*api.Client, *api.QueryOptions) error { return ended.Err() }), persistence.ErrUnavailable)
	require.EqualValues(t, 1, s.agents.First(), "a caller that went away says nothing about it")
}
