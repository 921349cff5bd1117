package consultest

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/hashicorp/consul/api"
)

// Server is one Consul server. Its methods are for one goroutine at a time; those
// that cannot do what they say panic, which a test cannot go on from anyway.
type Server struct {
	program, home    string
	options          Options
	number, size     int
	join             int // gossip port of the first server of the cluster
	api, rpc, gossip int

	mu      sync.Mutex
	process *os.Process
	ended   chan struct{} // closed when the process is gone
}

// errEnded: the process ended by itself.
var errEnded = errors.New("consultest: consul ended")

// Address is host:port of the HTTP or HTTPS API.
func (s *Server) Address() string { return s.host() + ":" + strconv.Itoa(s.api) }

func (s *Server) host() string { return cmp.Or(s.options.Host, "127.0.0.1") }

// RPCAddress is host:port under which the other servers know this one, and which
// Consul names as its leader's.
func (s *Server) RPCAddress() string { return "127.0.0.1:" + strconv.Itoa(s.rpc) }

// Log is what the server said so far.
func (s *Server) Log() string {
	data, err := os.ReadFile(s.logFile())
	if err != nil {
		return err.Error()
	}
	return string(data)
}

func (s *Server) logFile() string { return filepath.Join(s.home, "consul.log") }

// Stop asks the server to end and waits for it. The data stays, as after Kill.
func (s *Server) Stop() { s.end(syscall.SIGTERM) }

// Kill is kill -9. Killing what does not run does nothing.
func (s *Server) Kill() { s.end(syscall.SIGKILL) }

// Pause is SIGSTOP: connections are accepted by the kernel, and nobody answers.
// It returns when that is so.
func (s *Server) Pause() {
	s.signal(pause)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.process == nil {
		return
	}
	if err := awaitStop(s.process.Pid); err != nil {
		panic(err)
	}
}

// Resume ends Pause.
func (s *Server) Resume() { s.signal(resume) }

// Restart runs the server again, after Stop or Kill, with its data and ports, and
// returns when it knows a leader.
func (s *Server) Restart() {
	if err := s.run(); err != nil {
		panic(err)
	}
	if err := s.await(); err != nil {
		panic(err)
	}
}

// Wipe is Kill, the loss of all data, and Restart.
func (s *Server) Wipe() {
	s.Kill()
	if err := os.RemoveAll(s.dataFolder()); err != nil {
		panic(err)
	}
	s.Restart()
}

func (s *Server) dataFolder() string { return filepath.Join(s.home, "data") }

func (s *Server) end(sig syscall.Signal) {
	s.signal(resume) // a paused process does not hear SIGTERM
	s.signal(sig)
	s.mu.Lock()
	ended := s.ended
	s.mu.Unlock()
	if ended != nil {
		<-ended
	}
}

func (s *Server) signal(sig syscall.Signal) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.process == nil {
		return
	}
	if err := s.process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		panic(fmt.Errorf("consultest: signal: %w", err))
	}
}

// run starts the process. The thread that made it does nothing but wait for it; see dieWithUs.
func (s *Server) run() error {
	log, err := os.OpenFile(s.logFile(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("consultest: %w", err)
	}
	if err := s.configure(); err != nil {
		return err
	}
	argv := append(slices.Clone(s.options.Wrapper), s.program)
	argv = append(argv, s.arguments()...)
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Stdout, cmd.Stderr = log, log
	dieWithUs(cmd)
	started := make(chan error, 1)
	ended := make(chan struct{})
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread() // else the thread ends here, and with it whatever process it started before
		defer close(ended)
		defer log.Close()
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait() // Consul's exit code says nothing
		}
	}()
	if err := <-started; err != nil {
		return fmt.Errorf("consultest: start: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.process, s.ended = cmd.Process, ended
	return nil
}

func (s *Server) arguments() []string {
	return []string{
		"agent", "-server", "-bootstrap-expect=" + strconv.Itoa(s.size), "-node=s" + strconv.Itoa(s.number),
		"-data-dir=" + s.dataFolder(), "-config-file=" + s.configFile(), "-bind=127.0.0.1", "-client=" + s.host(),
		"-server-port=" + strconv.Itoa(s.rpc), "-serf-lan-port=" + strconv.Itoa(s.gossip), "-serf-wan-port=-1",
		"-dns-port=-1", "-grpc-port=-1", "-grpc-tls-port=-1",
		"-retry-join=127.0.0.1:" + strconv.Itoa(s.join), "-retry-interval=1s", "-log-level=warn",
	}
}

func (s *Server) configFile() string { return filepath.Join(s.home, "consul.json") }

// configure writes what the command line cannot say. The token is in a file that
// only this user reads.
func (s *Server) configure() error {
	ports := map[string]any{"http": s.api, "https": -1}
	config := map[string]any{
		"disable_update_check": true,
		"ports":                ports,
		"performance":          map[string]any{"raft_multiplier": 1},
		"leave_on_terminate":   false,
		"limits":               map[string]any{"http_max_conns_per_client": 1000}, // all tests come from one address
	}
	if s.options.CertFile != "" {
		ports["http"], ports["https"] = -1, s.api
		config["tls"] = map[string]any{"https": map[string]any{
			"ca_file": s.options.CAFile, "cert_file": s.options.CertFile, "key_file": s.options.KeyFile,
			"verify_incoming": s.options.VerifyClients,
		}}
	}
	if s.options.Token != "" {
		config["acl"] = map[string]any{
			"enabled": true, "default_policy": "deny",
			"tokens": map[string]any{"initial_management": s.options.Token},
		}
	}
	data, err := json.Marshal(config)
	if err != nil {
		return fmt.Errorf("consultest: %w", err)
	}
	if err := os.WriteFile(s.configFile(), data, 0o600); err != nil {
		return fmt.Errorf("consultest: %w", err)
	}
	return nil
}

// readyWithin is generous: a busy machine elects slowly.
const readyWithin = 60 * time.Second

// await returns when the server answers and serves consistent reads, and with ACLs
// when it knows the token.
func (s *Server) await() error {
	ctx, cancel := context.WithTimeout(context.Background(), readyWithin)
	defer cancel()
	client, err := s.client()
	if err != nil {
		return err
	}
	defer client.CloseIdleConnections()
	again := time.NewTicker(50 * time.Millisecond)
	defer again.Stop()
	for {
		why := s.ready(ctx, client)
		if why == nil {
			return nil
		}
		select {
		case <-s.ended:
			return fmt.Errorf("%w: %s", errEnded, tail(s.Log()))
		case <-ctx.Done():
			return fmt.Errorf("consultest: not ready within %v: %w: %s", readyWithin, why, tail(s.Log()))
		case <-again.C:
		}
	}
}

func (s *Server) client() (*http.Client, error) {
	own := api.TLSConfig{CAFile: s.options.CAFile}
	if s.options.VerifyClients {
		own.CertFile, own.KeyFile = s.options.CertFile, s.options.KeyFile
	}
	verify, err := api.SetupTLSConfig(&own)
	if err != nil {
		return nil, fmt.Errorf("consultest: %w", err)
	}
	return &http.Client{Transport: &http.Transport{TLSClientConfig: verify}, Timeout: time.Second}, nil
}

func (s *Server) ready(ctx context.Context, client *http.Client) error {
	scheme := "http://"
	if s.options.CertFile != "" {
		scheme = "https://"
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, scheme+s.Address()+"/v1/kv/?keys&consistent", nil)
	if err != nil {
		return err
	}
	req.Header.Set("X-Consul-Token", s.options.Token)
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	text, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<10))
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%d: %s", resp.StatusCode, text)
	}
	return nil
}

// tail keeps an error short; the cause is usually at the end.
func tail(log string) string {
	const most = 2000
	log = strings.TrimSpace(log)
	return log[max(0, len(log)-most):]
}
