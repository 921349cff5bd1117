//go:build fleet

package consul_test

import (
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"opensessionmanager/persistence/consul/consultest"
)

// F4: a broker that was paused for longer than the TTL finds itself removed when it
// resumes, though its service is healthy again in Consul at once.
func TestConsul_AProcessIsPausedForLongerThanTheTTL(t *testing.T) {
	t.Parallel()
	server := consultest.Start(t, consultest.Options{})
	cfg := config(t, server.Address())
	b := startProcess(t, cfg, "b")
	a := startProbing(t, cfg, "a")
	await(t, "both are in", func() bool { return a.Current().Has("b") })
	require.NoError(t, b.Process.Signal(syscall.SIGSTOP))
	await(t, "the paused one is out", func() bool { return !a.Current().Has("b") })
	require.NoError(t, b.Process.Signal(syscall.SIGCONT))
	b.expect(t, "removed: membership: this broker was removed from the fleet")
	epoch := a.Current().Epoch
	startProcess(t, cfg, "b2")
	await(t, "it is in again under a new ID", func() bool { return a.Current().Has("b2") })
	require.False(t, a.Current().Has("b"))
	require.Equal(t, epoch+1, a.Current().Epoch, "it was never taken back under the old one")
}
