package certs_test

import (
	"crypto/tls"
	"crypto/x509"
	"net"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"opensessionmanager/internal/certs"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// machine is a host of which tests decide the names and the time.
type machine struct {
	dir   string
	names atomic.Pointer[[]string]
	ahead atomic.Int64 // of the real clock
}

func newMachine(t testing.TB) *machine {
	m := &machine{dir: filepath.Join(t.TempDir(), "security")}
	m.names.Store(&[]string{"broker-1", "broker-1.example.com", "10.0.0.7"})
	return m
}

func (m *machine) now() time.Time          { return time.Now().Add(time.Duration(m.ahead.Load())) }
func (m *machine) wait(d time.Duration)    { m.ahead.Add(int64(d)) }
func (m *machine) path(name string) string { return filepath.Join(m.dir, name) }

func (m *machine) config(hosts ...string) certs.Config {
	return certs.Config{Dir: m.dir, Hosts: hosts, Now: m.now, Names: func() []string { return *m.names.Load() }}
}

func (m *machine) ensure(t testing.TB, hosts ...string) *certs.Authority {
	t.Helper()
	a, err := certs.Ensure(m.config(hosts...))
	require.NoError(t, err)
	return a
}

const day = 24 * time.Hour

func server(t testing.TB, a *certs.Authority) *tls.Certificate {
	t.Helper()
	c, err := a.ServerCertificate(nil)
	require.NoError(t, err)
	return c
}

func requireTrusted(t testing.TB, a *certs.Authority, c *tls.Certificate, name string) {
	t.Helper()
	_, err := c.Leaf.Verify(x509.VerifyOptions{Roots: a.Pool(), DNSName: name, CurrentTime: c.Leaf.NotBefore.Add(2 * time.Hour)})
	require.NoError(t, err, name)
}

func modeOf(t testing.TB, path string) os.FileMode {
	info, err := os.Stat(path)
	require.NoError(t, err)
	return info.Mode().Perm()
}

// C16: verification works out of the box, with one public file.
func TestEnsure_TheFirstStartMakesWhatClientsTrust(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	a := m.ensure(t)
	require.Equal(t, os.FileMode(0o644), modeOf(t, m.path(certs.CAFile)))
	require.Equal(t, os.FileMode(0o600), modeOf(t, m.path(certs.CAKeyFile)))
	require.Equal(t, os.FileMode(0o600), modeOf(t, m.path(certs.ServerFile)))

	public, err := os.ReadFile(m.path(certs.CAFile))
	require.NoError(t, err)
	require.NotContains(t, string(public), "PRIVATE KEY")
	pool := x509.NewCertPool()
	require.True(t, pool.AppendCertsFromPEM(public))
	live, err := certs.Follow(a.ServerCertificate, logTo(t))
	require.NoError(t, err)
	listener, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{GetCertificate: live.GetCertificate})
	require.NoError(t, err)
	defer listener.Close()
	go answerOne(listener)
	conn, err := tls.Dial("tcp", listener.Addr().String(), &tls.Config{RootCAs: pool})
	require.NoError(t, err)
	require.NoError(t, conn.Close())
}

func answerOne(listener net.Listener) {
	if conn, err := listener.Accept(); err == nil {
		_ = conn.(*tls.Conn).Handshake()
		_ = conn.Close()
	}
}

// C18: the certificate has the short name, the full one, every address, what the
// operator adds, and localhost.
func TestEnsure_TheServerCertificateHasAllNames(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	a := m.ensure(t, "Alias.Example.com.", "*.fleet.example.com", "2001:DB8::1")
	for _, name := range []string{
		"broker-1", "broker-1.example.com", "10.0.0.7", "localhost", "127.0.0.1", "::1",
		"alias.example.com", "any.fleet.example.com", "2001:db8::1",
	} {
		requireTrusted(t, a, server(t, a), name)
	}
	_, err := server(t, a).Leaf.Verify(x509.VerifyOptions{Roots: a.Pool(), DNSName: "elsewhere"})
	require.Error(t, err)
}

func TestMachineNames_HasTheHostNameAndAnAddress(t *testing.T) {
	t.Parallel()
	host, err := os.Hostname()
	require.NoError(t, err)
	names := certs.MachineNames()
	require.Contains(t, names, host)
	require.Contains(t, names, "127.0.0.1")
}

func TestEnsure_RefusesHostsThatNoServerHas(t *testing.T) {
	t.Parallel()
	for _, host := range []string{"", "a b", "a..b", "-a", "https://broker", "broker:8443", "a/b", "*", "a.*.b", "broker.fleet", "\xff", "a\nb"} {
		_, err := certs.Ensure(newMachine(t).config(host))
		require.Error(t, err, "%q", host)
	}
}

func TestEnsure_ALaterStartChangesNothing(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	first := m.ensure(t)
	before := server(t, first)
	m.wait(day)
	second := m.ensure(t)
	require.Equal(t, first.Fingerprint(), second.Fingerprint())
	require.Len(t, first.Fingerprint(), 64)
	require.True(t, before.Leaf.Equal(server(t, second).Leaf))
}

func TestEnsure_ManyAtOnceEndWithOneAuthorityAndMatchingPairs(t *testing.T) {
	t.Parallel()
	for range 10 {
		m := newMachine(t)
		all := make([]*certs.Authority, 8)
		var starting sync.WaitGroup
		for i := range all {
			starting.Go(func() { all[i], _ = certs.Ensure(m.config()) })
		}
		starting.Wait()
		for _, a := range all {
			require.NotNil(t, a)
			require.Equal(t, all[0].Fingerprint(), a.Fingerprint())
			requireTrusted(t, all[0], server(t, a), "broker-1")
		}
		left, err := filepath.Glob(m.path(".new-*"))
		require.NoError(t, err)
		require.Empty(t, left)
	}
}

func TestEnsure_GoesOnAfterACrashHalfWay(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	a := m.ensure(t)
	require.NoError(t, os.Remove(m.path(certs.CAFile)))
	require.NoError(t, os.Remove(m.path(certs.ServerFile)))
	again := m.ensure(t)
	require.Equal(t, a.Fingerprint(), again.Fingerprint())
	requireTrusted(t, a, server(t, again), "broker-1")
}

func TestEnsure_DoesNotReplaceAnAuthorityWhoseKeyIsMissing(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.ensure(t)
	before, err := os.ReadFile(m.path(certs.CAFile))
	require.NoError(t, err)
	require.NoError(t, os.Remove(m.path(certs.CAKeyFile)))
	_, err = certs.Ensure(m.config())
	require.ErrorIs(t, err, certs.ErrNoKey)
	after, err := os.ReadFile(m.path(certs.CAFile))
	require.NoError(t, err)
	require.Equal(t, before, after)
}

func TestEnsure_AnExpiredAuthorityIsAnError(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.ensure(t)
	m.wait(11 * 365 * day)
	_, err := certs.Ensure(m.config())
	require.ErrorIs(t, err, certs.ErrExpired)
}

// Brokers of one fleet share the authority by a copy of its key file, and an
// operator may bring key and certificate in two files.
func TestEnsure_TakesAnAuthorityThatWasBrought(t *testing.T) {
	t.Parallel()
	from, to, split := newMachine(t), newMachine(t), newMachine(t)
	a := from.ensure(t)
	both, err := os.ReadFile(from.path(certs.CAKeyFile))
	require.NoError(t, err)
	public, err := os.ReadFile(from.path(certs.CAFile))
	require.NoError(t, err)
	require.NoError(t, os.Mkdir(to.dir, 0o755))
	require.NoError(t, os.Mkdir(split.dir, 0o755))
	require.NoError(t, os.WriteFile(to.path(certs.CAKeyFile), both, 0o644))
	require.NoError(t, os.WriteFile(split.path(certs.CAKeyFile), both[:len(both)-len(public)], 0o600))
	require.NoError(t, os.WriteFile(split.path(certs.CAFile), public, 0o644))
	for _, m := range []*machine{to, split} {
		copied := m.ensure(t)
		require.Equal(t, a.Fingerprint(), copied.Fingerprint())
		requireTrusted(t, a, server(t, copied), "broker-1")
		require.Equal(t, os.FileMode(0o600), modeOf(t, m.path(certs.CAKeyFile)))
	}
}

func TestEnsure_RefusesAnAuthorityThatIsNone(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.ensure(t)
	for name, content := range map[string]func() []byte{
		"garbage": func() []byte { return []byte("garbage") },
		"empty":   func() []byte { return nil },
		"a server certificate": func() []byte {
			data, err := os.ReadFile(m.path(certs.ServerFile))
			require.NoError(t, err)
			return data
		},
	} {
		require.NoError(t, os.WriteFile(m.path(certs.CAKeyFile), content(), 0o600))
		_, err := certs.Ensure(m.config())
		require.ErrorContains(t, err, certs.CAKeyFile, name)
	}
}

func TestIssue_MakesCertificatesOfOtherKinds(t *testing.T) {
	t.Parallel()
	a := newMachine(t).ensure(t)
	c, err := a.Issue([]string{"gateway-1", "10.1.2.3"}, x509.ExtKeyUsageClientAuth)
	require.NoError(t, err)
	_, err = c.Leaf.Verify(x509.VerifyOptions{Roots: a.Pool(), DNSName: "10.1.2.3", KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	require.NoError(t, err)
	key, chain, err := certs.EncodePEM(c)
	require.NoError(t, err)
	again, err := tls.X509KeyPair(chain, key)
	require.NoError(t, err)
	require.Equal(t, c.Certificate, again.Certificate)
}
