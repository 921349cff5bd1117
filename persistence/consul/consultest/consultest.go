// Package consultest runs real Consul servers for tests, and does to them what
// befalls them in the field: stop, kill -9, pause, loss of all data.
//
// The program is bin/consul of this project, which `make tools` builds.
package consultest

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"testing"
)

// ErrNotBuilt: bin/consul does not exist.
var ErrNotBuilt = errors.New("consultest: bin/consul is not built, run make tools (5 minutes, once)")

// Options of Start and Launch.
type Options struct {
	// Token switches ACLs on, with "deny" as the default; this token, a UUID, may do all.
	Token string
	// CAFile, CertFile and KeyFile switch the API from HTTP to HTTPS.
	CAFile, CertFile, KeyFile string
	// VerifyClients makes HTTPS ask for a certificate of CAFile's authority. The server's
	// own is shown by what waits for it, so it must do for clients, too.
	VerifyClients bool
	// Host is where the API listens; default 127.0.0.1. Wrapper is a command that is to
	// execute the program, as `ip netns exec NAME` does in a network namespace.
	Host    string
	Wrapper []string
}

// Start runs one server until the test is over and returns when it has a leader.
// Without bin/consul it skips the test if -short is given, and fails it otherwise.
func Start(t testing.TB, o Options) *Server {
	t.Helper()
	Require(t)
	s, err := Launch(t.TempDir(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Kill)
	return s
}

// Launch is Start for TestMain: the caller kills the server and removes the folder,
// in which the server's data and its log, consul.log, are.
func Launch(folder string, o Options) (*Server, error) {
	servers, err := launch(folder, 1, o)
	if err != nil {
		return nil, err
	}
	return servers[0], nil
}

// StartCluster runs n servers of one cluster until the test is over and returns when
// all of them know a leader.
func StartCluster(t testing.TB, n int, o Options) []*Server {
	t.Helper()
	Require(t)
	servers, err := launch(t.TempDir(), n, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, s := range servers {
			s.Kill()
		}
	})
	return servers
}

// Require skips the test if bin/consul is missing and -short is given: then only what
// needs nothing but Go shall run. Start does it as well; it is for users of Launch.
func Require(t testing.TB) {
	t.Helper()
	if _, err := program(); testing.Short() && errors.Is(err, ErrNotBuilt) {
		t.Skip(err)
	}
}

// tries is how often launch takes new ports: another process may be faster than
// Consul in binding what was free.
const tries = 3

func launch(folder string, n int, o Options) (servers []*Server, err error) {
	path, err := program()
	if err != nil {
		return nil, err
	}
	for range tries {
		if servers, err = launchOnce(path, folder, n, o); err == nil {
			return servers, nil
		}
		for _, s := range servers {
			s.Kill()
		}
		if !errors.Is(err, errEnded) {
			break
		}
	}
	return nil, err
}

func launchOnce(path, folder string, n int, o Options) (servers []*Server, err error) {
	ports, err := freePorts(3 * n)
	if err != nil {
		return nil, err
	}
	for i := range n {
		home, err := os.MkdirTemp(folder, fmt.Sprintf("s%d-", i+1))
		if err != nil {
			return servers, fmt.Errorf("consultest: %w", err)
		}
		s := &Server{program: path, home: home, options: o, number: i + 1, size: n, join: ports[2],
			api: ports[3*i], rpc: ports[3*i+1], gossip: ports[3*i+2]}
		servers = append(servers, s)
		if err := s.run(); err != nil {
			return servers, err
		}
	}
	for _, s := range servers {
		if err := s.await(); err != nil {
			return servers, err
		}
	}
	return servers, nil
}

// freePorts holds all while it takes them, so that they differ.
func freePorts(n int) ([]int, error) {
	ports := make([]int, n)
	for i := range ports {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, fmt.Errorf("consultest: no free port: %w", err)
		}
		defer l.Close()
		ports[i] = l.Addr().(*net.TCPAddr).Port
	}
	return ports, nil
}

// program finds bin/consul at the root of the module that the test belongs to.
func program() (string, error) {
	folder, err := os.Getwd()
	if err != nil {
		return "", fmt.Errorf("consultest: %w", err)
	}
	for {
		if _, err := os.Stat(filepath.Join(folder, "go.mod")); err == nil {
			break
		}
		parent := filepath.Dir(folder)
		if parent == folder {
			return "", errors.New("consultest: not inside a module")
		}
		folder = parent
	}
	path := filepath.Join(folder, "bin", "consul")
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return "", ErrNotBuilt
	} else if err != nil {
		return "", fmt.Errorf("consultest: %w", err)
	}
	return path, nil
}
