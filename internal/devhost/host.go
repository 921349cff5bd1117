package devhost

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"opensessionmanager/internal/devhost/control"
	"opensessionmanager/internal/devhost/screen"
	"opensessionmanager/internal/devhost/verifier"
)

// Bounds of one host.
const (
	MaxSessions = 1000
	MaxClients  = 1000 // connected to all sessions together
	maxSockets  = 2000 // TCP connections to the client port
	maxCommands = 256  // `dcv` commands under way
	maxDrawings = 2    // pictures made at a time; each may take 70 MB
)

// Config says what a host is like. Only Dir is required.
type Config struct {
	// Dir is the host's folder; it is made with mode 0700 if absent.
	Dir string
	// Name is shown to people; default: the last part of Dir.
	Name string
	// Listen is the address for clients; default 127.0.0.1:0.
	Listen string
	// WebURLPath is where the client page is; default "/".
	WebURLPath string
	// VerifierURL, CAFile and NoTLSStrict are those of dcv.conf [security]. Without
	// a URL no client is let in.
	VerifierURL string
	CAFile      string
	NoTLSStrict bool
	// CertFile and KeyFile are PEM; default: a self-signed pair kept in Dir.
	CertFile, KeyFile string
	// Users are the names that may own sessions; empty means any.
	Users []string
	// ConsoleOwner, if set, owns a console session named "console" that exists
	// whenever the host runs.
	ConsoleOwner string
	// KeepSessions writes sessions to Dir, so that they outlive the process.
	KeepSessions bool
	// Command runs the `dcv` command: a program, and arguments before its own;
	// default: this program.
	Command []string
	// Now is the clock; default time.Now.
	Now func() time.Time
	// Log gets what the operator of a real host would find in server.log; default:
	// nothing is logged.
	Log *slog.Logger
}

// Info tells where a running host is found. It is also written to Dir/host.json.
type Info struct {
	Name       string `json:"name"`
	Dir        string `json:"dir"`
	DCV        string `json:"dcv"` // the `dcv` command, for an agent's dcv_root
	Address    string `json:"address"`
	Port       int    `json:"port"`
	WebURLPath string `json:"web_url_path"`
	Socket     string `json:"socket"`
	CertFile   string `json:"cert_file"` // what clients should trust
	PID        int    `json:"pid"`
}

// Host is a running stand-in host. It is safe for concurrent use.
type Host struct {
	cfg         Config
	info        Info
	log         *slog.Logger
	painter     *screen.Painter
	verifier    *verifier.Verifier // nil: nobody gets in
	web         *http.Server
	control     net.Listener
	fingerprint string // of the certificate, SHA-256
	drawing     chan struct{}
	commands    chan struct{}
	life        context.Context
	end         context.CancelFunc
	tasks       sync.WaitGroup

	mu             sync.Mutex
	closed         bool
	up             context.Context // ended while the server is stopped
	down           context.CancelFunc
	cleared        chan struct{} // closed when faults are cleared
	faults         []control.Fault
	sessions       map[string]*session
	settings       map[string]string
	lastConnection int
}

// Start makes the folder and everything in it and begins to answer.
func Start(cfg Config) (*Host, error) {
	h, err := newHost(cfg)
	if err != nil {
		return nil, err
	}
	h.life, h.end = context.WithCancel(context.Background())
	if err := h.open(); err != nil {
		return nil, errors.Join(err, h.Close())
	}
	return h, nil
}

func newHost(cfg Config) (*Host, error) {
	if cfg.Dir == "" {
		return nil, errors.New("devhost: no folder given")
	}
	dir, err := filepath.Abs(cfg.Dir)
	if err != nil {
		return nil, fmt.Errorf("devhost: folder: %w", err)
	}
	cfg.Dir = dir
	if err := cfg.complete(); err != nil {
		return nil, err
	}
	painter, err := screen.NewPainter()
	if err != nil {
		return nil, err
	}
	h := &Host{
		cfg: cfg, log: cfg.Log.With("host", cfg.Name), painter: painter,
		drawing: make(chan struct{}, maxDrawings), commands: make(chan struct{}, maxCommands),
		cleared: make(chan struct{}), sessions: map[string]*session{}, settings: map[string]string{},
	}
	if cfg.VerifierURL != "" {
		h.verifier, err = verifier.New(verifier.Options{URL: cfg.VerifierURL, CAFile: cfg.CAFile, NoTLSStrict: cfg.NoTLSStrict})
	}
	return h, err
}

// complete fills in defaults.
func (c *Config) complete() error {
	if c.Name == "" {
		c.Name = filepath.Base(c.Dir)
	}
	if c.Listen == "" {
		c.Listen = "127.0.0.1:0"
	}
	if !strings.HasPrefix(c.WebURLPath, "/") {
		c.WebURLPath = "/" + c.WebURLPath
	}
	if len(c.Command) == 0 {
		self, err := os.Executable()
		if err != nil {
			return fmt.Errorf("devhost: the dcv command needs this program's path: %w", err)
		}
		c.Command = []string{self}
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return nil
}

func (h *Host) open() error {
	if err := h.makeDir(); err != nil {
		return err
	}
	pair, certFile, err := h.certificate()
	if err != nil {
		return err
	}
	h.fingerprint = fingerprint(pair)
	listener, err := net.Listen("tcp", h.cfg.Listen)
	if err != nil {
		return fmt.Errorf("devhost: client port: %w", err)
	}
	h.serveWeb(listener, &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12})
	address := listener.Addr().(*net.TCPAddr)
	h.info = Info{
		Name: h.cfg.Name, Dir: h.cfg.Dir, DCV: filepath.Join(h.cfg.Dir, "dcv"), Address: address.IP.String(),
		Port: address.Port, WebURLPath: h.cfg.WebURLPath, CertFile: certFile, PID: os.Getpid(),
	}
	if h.info.Socket, err = h.listenControl(); err != nil {
		return err
	}
	if err := h.restore(); err != nil {
		return err
	}
	h.powerUp()
	h.tasks.Go(h.serveControl)
	return h.publish()
}

// Info tells where the host is found.
func (h *Host) Info() Info { return h.info }

// Close ends everything the host started and waits for it. Files stay, except the
// socket and host.json.
func (h *Host) Close() error {
	h.mu.Lock()
	first := !h.closed
	h.closed = true
	h.mu.Unlock()
	if !first {
		h.tasks.Wait()
		return nil
	}
	h.end()
	var errs []error
	if h.control != nil {
		errs = append(errs, h.control.Close(), h.unpublish())
	}
	if h.web != nil {
		errs = append(errs, h.web.Close())
	}
	h.mu.Lock()
	for _, s := range h.sessions {
		s.shut("The host is shutting down.")
	}
	h.mu.Unlock()
	h.tasks.Wait()
	if h.verifier != nil {
		h.verifier.Close()
	}
	return errors.Join(errs...)
}
