//go:build fleet

package consul_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"opensessionmanager/cluster/membership"
	"opensessionmanager/cluster/membership/consul"
	"opensessionmanager/persistence/consul/consultest"
)

// asMember makes this test program a member of a fleet: Consul's address.
const (
	asMember  = "TEST_MEMBER_CONSUL"
	asPrefix  = "TEST_MEMBER_PREFIX"
	asID      = "TEST_MEMBER_ID"
	answering = "I am here\n"
)

// runMember is the other process: a broker that answers probes, tells of its
// membership on standard output, and ends with its standard input.
func runMember() int {
	id := os.Getenv(asID)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 1
	}
	go answerProbes(listener)
	k, err := consul.New(consul.Config{Addresses: []string{os.Getenv(asMember)}, Prefix: os.Getenv(asPrefix)})
	if err != nil {
		return 2
	}
	if err := k.Join(context.Background(), membership.Member{ID: id, Address: listener.Addr().String()}, alive); err != nil {
		fmt.Println(err)
		return 3
	}
	fmt.Println("joined")
	go func() {
		<-k.Removed()
		fmt.Println("removed:", k.Contact())
	}()
	_, _ = io.Copy(io.Discard, os.Stdin)
	return 0
}

func answerProbes(l net.Listener) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		_, _ = io.WriteString(conn, answering)
		_ = conn.Close()
	}
}

// probeByTCP asks a member at its address; one without such an address lives.
func probeByTCP(ctx context.Context, m membership.Member) error {
	if m.Address == member(m.ID).Address {
		return nil
	}
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", m.Address)
	if err != nil {
		return err
	}
	defer conn.Close()
	if deadline, ok := ctx.Deadline(); ok {
		_ = conn.SetDeadline(deadline)
	}
	_, err = bufio.NewReader(conn).ReadString('\n')
	return err
}

// another is a member in a process of its own.
type another struct {
	*exec.Cmd
	lines chan string
}

func startProcess(t *testing.T, cfg consul.Config, id string) *another {
	t.Helper()
	program, err := os.Executable()
	require.NoError(t, err)
	cmd := exec.Command(program)
	cmd.Env = append(os.Environ(), asMember+"="+cfg.Addresses[0], asPrefix+"="+cfg.Prefix, asID+"="+id)
	input, err := cmd.StdinPipe()
	require.NoError(t, err)
	output, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	a := &another{cmd, make(chan string, 16)}
	go func() {
		defer close(a.lines)
		for s := bufio.NewScanner(output); s.Scan(); {
			a.lines <- s.Text()
		}
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = input.Close()
		for range a.lines { // until it has ended
		}
		_ = cmd.Wait()
	})
	a.expect(t, "joined")
	return a
}

func (a *another) expect(t *testing.T, want string) {
	t.Helper()
	select {
	case line := <-a.lines:
		require.Equal(t, want, line)
	case <-time.After(patience):
		t.Fatalf("the other process has not said %q", want)
	}
}

// startProbing is a member of this process that probes by TCP.
func startProbing(t *testing.T, cfg consul.Config, id string) *membership.Keeper {
	t.Helper()
	k := open(t, cfg)
	require.NoError(t, k.Join(t.Context(), member(id), probeByTCP))
	return k
}

// A process that is killed is missed by Consul after the TTL; its connections tell earlier.
func TestConsul_AProcessIsKilled(t *testing.T) {
	t.Parallel()
	server := consultest.Start(t, consultest.Options{})
	cfg := config(t, server.Address())
	b := startProcess(t, cfg, "b")
	c := startProcess(t, cfg, "c")
	a := startProbing(t, cfg, "a")
	await(t, "a fleet of three", func() bool { return len(a.Current().Members) == 3 })
	began := time.Now()
	require.NoError(t, b.Process.Kill())
	a.Suspect("b") // as the transport would
	await(t, "b is out", func() bool { return !a.Current().Has("b") })
	t.Logf("out %v after the suspicion", time.Since(began))
	began = time.Now()
	require.NoError(t, c.Process.Kill())
	await(t, "c is out", func() bool { return !a.Current().Has("c") })
	t.Logf("out %v after the kill", time.Since(began))
}
