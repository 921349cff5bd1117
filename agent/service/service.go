// Package service is the agent as it runs on a real DCV host: it makes every part
// from agent.conf and puts them together.
package service

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"opensessionmanager/agent"
	"opensessionmanager/agent/driver/dcv"
	"opensessionmanager/agent/enroll"
	"opensessionmanager/agent/fingerprint"
	"opensessionmanager/agent/identity"
	"opensessionmanager/agent/settings"
	"opensessionmanager/internal/config"
	"opensessionmanager/internal/enrolment"
	"opensessionmanager/internal/logging"
)

// Files in the data folder.
const (
	credentialsFile = "credentials.json"
	workFolder      = "run"
)

// Service is a configured agent. Close its log after Run.
type Service struct {
	settings settings.Settings
	version  string
	agent    *agent.Agent // nil until the host has enrolled
	log      *slog.Logger
	logs     []*logging.Log
}

// New makes the agent. Log lines go to the configured file, and also to terminal
// unless that is nil. It makes the data folder and the host's identity in it. A host that has
// yet to enrol does so when it runs.
func New(ctx context.Context, s settings.Settings, warnings []config.Warning, version string, terminal io.Writer) (*Service, error) {
	service := &Service{settings: s, version: version}
	if err := service.openLogs(s.Log, terminal); err != nil {
		return nil, err
	}
	service.log.Info("The agent starts", "version", version, "config", s.File)
	for _, w := range warnings {
		service.log.Log(ctx, w.Level, "Configuration: "+w.Problem.String())
	}
	if pending(s.Agent) {
		return service, nil
	}
	if err := service.build(ctx); err != nil {
		return nil, errors.Join(err, service.Close())
	}
	return service, nil
}

func (s *Service) build(ctx context.Context) error {
	cfg, err := parts(ctx, s.settings.Agent, s.log)
	if err == nil {
		cfg.Version = s.version
		s.agent, err = agent.New(cfg)
	}
	if err != nil {
		s.log.Error("The agent cannot start", "error", err)
	}
	return err
}

// Run runs the agent until ctx ends.
func (s *Service) Run(ctx context.Context) error {
	if s.agent == nil {
		if enrolFirst(ctx, s.settings.Agent, s.log) != nil {
			return nil // it was stopped
		}
		if err := s.build(ctx); err != nil {
			return err
		}
	}
	err := s.agent.Run(ctx)
	s.log.Info("The agent stops; sessions go on", "error", err)
	return err
}

// Close writes the last log lines.
func (s *Service) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	var failures []error
	for _, log := range s.logs {
		failures = append(failures, log.Close(ctx))
	}
	return errors.Join(failures...)
}

func (s *Service) openLogs(l settings.Log, terminal io.Writer) error {
	level, _ := logging.ParseLevel(l.Level) // checked when the file was read
	const megabyte = 1 << 20
	outputs := []logging.Options{{
		Directory: l.Directory,
		FileName:  "agent.log",
		Rotation:  l.Rotation,
		MaxSizeMB: (l.MaxFileSize + megabyte - 1) / megabyte, // the log's own unit; at least 1
		KeepFiles: max(1, l.Rotate),                          // 0 would mean to keep all
	}}
	if terminal != nil {
		outputs = append(outputs, logging.Options{Output: terminal})
	}
	var handlers []slog.Handler
	for _, o := range outputs {
		o.Level, o.Layout = level, logging.AgentLayout
		log, err := logging.Open(o)
		if err != nil {
			return errors.Join(err, s.Close())
		}
		s.logs = append(s.logs, log)
		handlers = append(handlers, log.Logger().Handler())
	}
	s.log = slog.New(slog.NewMultiHandler(handlers...))
	return nil
}

// parts makes what the agent is made of.
func parts(ctx context.Context, a settings.Agent, log *slog.Logger) (agent.Config, error) {
	trust, err := trust(a)
	if err != nil {
		return agent.Config{}, err
	}
	who, err := identity.Open(a.DataFolder, fingerprint.BootID(ctx))
	if err != nil {
		return agent.Config{}, err
	}
	server, err := dcv.New(dcv.Config{
		Command:       a.DcvRoot,
		ServerConfig:  a.DcvConf,
		InitFolder:    a.InitFolder,
		AutorunFolder: a.AutorunFolder,
		WorkFolder:    filepath.Join(a.DataFolder, workFolder),
		Logger:        log,
	})
	if err != nil {
		return agent.Config{}, err
	}
	return agent.Config{
		Brokers:   a.Brokers(),
		Transport: agent.NewTransport(trust, nil),
		Tokens:    tokens(a, trust, log),
		Driver:    server,
		Host: fingerprint.New(fingerprint.Config{
			PreferredInterface: a.PreferredNetworkInterface,
			Tags:               fingerprint.ReadTags(a.TagsFolder, log),
			HideUsers:          runtime.GOOS == "windows" && !a.EnableQueryLoggedInUsers,
			Metadata:           fingerprint.EC2(""),
			Logger:             log,
		}),
		Identity: who,
		Limits:   limits(a, runtime.GOOS),
		Timing:   agent.Timing{Report: a.Interval()},
		Logger:   log,
	}, nil
}

// limits follows contract section 4: virtual sessions exist on Linux only, one
// console session is possible everywhere.
func limits(a settings.Agent, system string) agent.Limits {
	l := agent.Limits{
		MaxVirtual: int32(a.MaxVirtualSessions),
		MaxPerUser: int32(a.MaxSessionsPerUser),
		MaxConsole: 1,
	}
	if system != "linux" {
		l.MaxVirtual = 0
	}
	return l
}

// trust says whom to believe to be the broker.
func trust(a settings.Agent) (*tls.Config, error) {
	t := &tls.Config{MinVersion: tls.VersionTLS12}
	if !a.TLSStrict {
		t.InsecureSkipVerify = true // asked for, and warned of at every start
		return t, nil
	}
	file := a.TrustedCA()
	if file == "" {
		return t, nil
	}
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("service: ca_file: %w", err)
	}
	t.RootCAs = x509.NewCertPool()
	if !t.RootCAs.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("service: ca_file %s holds no PEM certificate", file)
	}
	return t, nil
}

func tokens(a settings.Agent, trust *tls.Config, log *slog.Logger) *enroll.Source {
	name, err := os.Hostname()
	if err != nil {
		name = "unnamed host" // brokers want some name
	}
	var token func() (enrolment.Token, error)
	if a.EnrolmentTokenPath != "" {
		token = func() (enrolment.Token, error) { return settings.ReadEnrolmentToken(a.EnrolmentTokenPath) }
	}
	return enroll.New(enroll.Config{
		EnrolmentToken: token,
		Brokers:        a.Brokers(),
		Client: &http.Client{
			Timeout:   10 * time.Second,
			Transport: &http.Transport{TLSClientConfig: trust.Clone(), DisableKeepAlives: true},
			// Credentials go to the configured brokers and nowhere else.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		StatementPath:   a.SoftwareStatementPath,
		CredentialsPath: CredentialsFile(a),
		ClientName:      name,
		Logger:          log,
	})
}
