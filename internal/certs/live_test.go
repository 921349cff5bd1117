package certs_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"opensessionmanager/internal/certs"
)

type testLog struct {
	mu sync.Mutex
	bytes.Buffer
}

func (l *testLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.Buffer.Write(p)
}

func logTo(testing.TB) *slog.Logger { return slog.New(slog.DiscardHandler) }

func follow(t testing.TB, source certs.Source) *certs.Live {
	t.Helper()
	live, err := certs.Follow(source, logTo(t))
	require.NoError(t, err)
	return live
}

func current(t testing.TB, live *certs.Live) *tls.Certificate {
	c, err := live.GetCertificate(nil)
	require.NoError(t, err)
	return c
}

// C19, F37: renewed at two thirds of its life, without a restart; connections that
// are open stay.
func TestLive_RenewsInTimeWhileConnectionsStay(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	a := m.ensure(t)
	live := follow(t, a.ServerCertificate)
	first := current(t, live)
	open := connect(t, a, live)

	m.wait(59 * day)
	require.NoError(t, live.Refresh())
	require.True(t, first.Leaf.Equal(current(t, live).Leaf), "not yet")
	m.wait(2 * day)
	require.NoError(t, live.Refresh())
	second := current(t, live)
	require.False(t, first.Leaf.Equal(second.Leaf))
	require.True(t, m.now().Add(89*day).Before(live.NotAfter()), "has a whole life again")
	requireTrusted(t, a, second, "broker-1.example.com")

	open.exchange(t)
	require.True(t, first.Leaf.Equal(open.seen()))
	fresh := connect(t, a, live)
	fresh.exchange(t)
	require.True(t, second.Leaf.Equal(fresh.seen()))
}

func TestLive_FollowsTheNamesOfTheMachine(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	a := m.ensure(t)
	live := follow(t, a.ServerCertificate)
	first := current(t, live)
	m.names.Store(&[]string{"broker-1"})
	require.NoError(t, live.Refresh())
	require.True(t, first.Leaf.Equal(current(t, live).Leaf), "a name less is no reason")
	m.names.Store(&[]string{"broker-1", "10.9.9.9"})
	require.NoError(t, live.Refresh())
	requireTrusted(t, a, current(t, live), "10.9.9.9")
}

func TestLive_IsNotRenewedOverAndOverWhenTheAuthorityEnds(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	a := m.ensure(t)
	live := follow(t, a.ServerCertificate)
	m.wait(a.Certificate().NotAfter.Sub(m.now()) - 30*day)
	require.NoError(t, live.Refresh())
	last := current(t, live)
	require.Equal(t, a.Certificate().NotAfter, last.Leaf.NotAfter)
	m.wait(29 * day)
	require.NoError(t, live.Refresh())
	require.True(t, last.Leaf.Equal(current(t, live).Leaf))
}

// F38: a bad file keeps the old certificate, and says so once.
func TestLive_ABadServerFileKeepsTheOldCertificate(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	a := m.ensure(t)
	log := &testLog{}
	live, err := certs.Follow(a.ServerCertificate, slog.New(slog.NewTextHandler(log, nil)))
	require.NoError(t, err)
	first := current(t, live)
	good, err := os.ReadFile(m.path(certs.ServerFile))
	require.NoError(t, err)

	require.NoError(t, os.WriteFile(m.path(certs.ServerFile), good[:len(good)/2], 0o600))
	for range 3 {
		require.ErrorContains(t, live.Refresh(), certs.ServerFile)
		require.True(t, first.Leaf.Equal(current(t, live).Leaf))
	}
	require.Equal(t, 1, strings.Count(log.String(), "cannot be refreshed"))

	m.wait(61 * day)
	require.NoError(t, live.Refresh(), "when it is due the file is replaced")
	require.False(t, first.Leaf.Equal(current(t, live).Leaf))
	require.NotContains(t, log.String(), "PRIVATE")
}

// F38: another authority on disk takes over while the broker runs; a bad one does not.
func TestLive_FollowsTheAuthorityOnDisk(t *testing.T) {
	t.Parallel()
	m, other := newMachine(t), newMachine(t)
	a, b := m.ensure(t), other.ensure(t)
	live := follow(t, a.ServerCertificate)
	before := a.Fingerprint()

	require.NoError(t, os.WriteFile(m.path(certs.CAKeyFile), []byte("half a fi"), 0o600))
	require.ErrorContains(t, live.Refresh(), certs.CAKeyFile)
	require.Equal(t, before, a.Fingerprint())
	m.wait(61 * day)
	first := current(t, live)
	require.Error(t, live.Refresh())
	require.False(t, first.Leaf.Equal(current(t, live).Leaf), "the authority in memory still renews")
	requireTrusted(t, a, current(t, live), "broker-1")

	whole, err := os.ReadFile(other.path(certs.CAKeyFile))
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(m.path(certs.CAKeyFile), whole, 0o600))
	require.NoError(t, live.Refresh())
	require.Equal(t, b.Fingerprint(), a.Fingerprint())
	requireTrusted(t, b, current(t, live), "broker-1")
	published, err := os.ReadFile(m.path(certs.CAFile))
	require.NoError(t, err)
	theirs, err := os.ReadFile(other.path(certs.CAFile))
	require.NoError(t, err)
	require.Equal(t, theirs, published)
}

func TestFollow_NeedsACertificateToBeginWith(t *testing.T) {
	t.Parallel()
	for _, failure := range []error{nil, errors.New("certs: no such file")} {
		_, err := certs.Follow(func(*tls.Certificate) (*tls.Certificate, error) { return nil, failure }, logTo(t))
		require.Error(t, err)
	}
}

func TestLive_RunRefreshesAtEachTickUntilTheEnd(t *testing.T) {
	t.Parallel()
	asked := make(chan struct{})
	some, err := newMachine(t).ensure(t).PeerCertificate(nil)
	require.NoError(t, err)
	first := true
	live := follow(t, func(*tls.Certificate) (*tls.Certificate, error) {
		if !first {
			asked <- struct{}{}
		}
		first = false
		return some, nil
	})
	ctx, cancel := context.WithCancel(t.Context())
	tick, ended := make(chan time.Time), make(chan struct{})
	go func() { live.Run(ctx, tick); close(ended) }()
	for range 2 {
		tick <- time.Time{}
		<-asked
	}
	cancel()
	<-ended
}

// link is a TLS connection to a server that echoes.
type link struct{ *tls.Conn }

func connect(t *testing.T, a *certs.Authority, live *certs.Live) link {
	t.Helper()
	clientSide, serverSide := net.Pipe()
	served := tls.Server(serverSide, &tls.Config{GetCertificate: live.GetCertificate})
	done := make(chan struct{})
	go func() { defer close(done); _, _ = io.Copy(served, served) }()
	l := link{tls.Client(clientSide, &tls.Config{
		RootCAs: a.Pool(), ServerName: "broker-1",
		Time: func() time.Time { return live.NotAfter().Add(-day) },
	})}
	t.Cleanup(func() { _ = clientSide.Close(); _ = serverSide.Close(); <-done })
	l.exchange(t)
	return l
}

func (l link) exchange(t *testing.T) {
	t.Helper()
	_, err := l.Write([]byte("hello"))
	require.NoError(t, err)
	answer := make([]byte, 5)
	_, err = io.ReadFull(l, answer)
	require.NoError(t, err)
	require.Equal(t, "hello", string(answer))
}

func (l link) seen() *x509.Certificate { return l.ConnectionState().PeerCertificates[0] }
