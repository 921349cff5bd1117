package ctl

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"path/filepath"
	"strconv"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"opensessionmanager/internal/devhost"
)

const maxHosts = 500

type serveOptions struct {
	dir      string
	hosts    int
	listen   string
	basePort int
	asJSON   bool
	verbose  bool
	host     devhost.Config
}

func serve() *cobra.Command {
	var o serveOptions
	cmd := &cobra.Command{
		Use:   "serve --dir DIR",
		Short: "Run stand-in hosts until interrupted",
		Long: `Run stand-in hosts until interrupted.

Host 1 lives in DIR/host-1 and so on. When all are ready, a table (or with --json
one line of JSON, an array) tells where they are; DIR/host-N/host.json holds the
same for one host while it runs. Set an agent's dcv_root to the "dcv" of its host.

Sessions end with the process, like virtual sessions when dcvserver dies, unless
--keep-sessions is given. Without --auth-token-verifier no client can connect.`,
		Example: `  dcv-devserver serve --dir /tmp/hosts
  dcv-devserver serve --dir /tmp/hosts --hosts 3 --base-port 18443 --users alice,bob --json
  dcv-devserver serve --dir /tmp/hosts --ca-file broker-ca.pem \
      --auth-token-verifier https://broker:8445/agent/validate-authentication-token`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return o.run(cmd) },
	}
	f := cmd.Flags()
	f.StringVar(&o.dir, "dir", "", "folder of the hosts (required)")
	f.IntVar(&o.hosts, "hosts", 1, "how many")
	f.StringVar(&o.listen, "listen", "127.0.0.1:0", "address for clients; port 0 means any free one")
	f.IntVar(&o.basePort, "base-port", 0, "port of host 1; the others follow")
	f.BoolVar(&o.asJSON, "json", false, "print the hosts as JSON")
	f.BoolVarP(&o.verbose, "verbose", "v", false, "log what happens")
	f.StringVar(&o.host.WebURLPath, "web-url-path", "/", "path of the client page")
	f.StringVar(&o.host.VerifierURL, "auth-token-verifier", "", "URL that says who may connect (dcv.conf [security])")
	f.StringVar(&o.host.CAFile, "ca-file", "", "PEM file to check the verifier's certificate with")
	f.BoolVar(&o.host.NoTLSStrict, "no-tls-strict", false, "accept any certificate of the verifier")
	f.StringVar(&o.host.CertFile, "cert", "", "PEM certificate for clients (default: self-signed)")
	f.StringVar(&o.host.KeyFile, "key", "", "PEM key of --cert")
	f.StringSliceVar(&o.host.Users, "users", nil, "names that may own sessions (default: any)")
	f.StringVar(&o.host.ConsoleOwner, "console-owner", "", "owner of an automatic console session (default: none)")
	f.BoolVar(&o.host.KeepSessions, "keep-sessions", false, "sessions outlive the process")
	cobra.CheckErr(cmd.MarkFlagRequired("dir"))
	cmd.MarkFlagsMutuallyExclusive("ca-file", "no-tls-strict")
	cmd.MarkFlagsRequiredTogether("cert", "key")
	return cmd
}

func (o *serveOptions) run(cmd *cobra.Command) error {
	if o.hosts < 1 || o.hosts > maxHosts {
		return fmt.Errorf("--hosts must be 1 to %d", maxHosts)
	}
	level := slog.LevelWarn
	if o.verbose {
		level = slog.LevelInfo
	}
	o.host.Log = slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), &slog.HandlerOptions{Level: level}))
	var hosts []*devhost.Host
	var err error
	for i := 1; i <= o.hosts && err == nil; i++ {
		var host *devhost.Host
		if host, err = o.start(i); err == nil {
			hosts = append(hosts, host)
		}
	}
	if err == nil {
		if err = o.announce(cmd.OutOrStdout(), hosts); err == nil {
			<-cmd.Context().Done()
		}
	}
	return errors.Join(err, closeAll(hosts))
}

// closeAll closes the hosts together, since each may wait for its init scripts.
func closeAll(hosts []*devhost.Host) error {
	errs := make(chan error, len(hosts))
	for _, host := range hosts {
		go func() { errs <- host.Close() }()
	}
	var all error
	for range hosts {
		all = errors.Join(all, <-errs)
	}
	return all
}

func (o *serveOptions) start(i int) (*devhost.Host, error) {
	address, port, err := net.SplitHostPort(o.listen)
	if err != nil {
		return nil, fmt.Errorf("--listen: %w", err)
	}
	if o.basePort != 0 {
		port = strconv.Itoa(o.basePort + i - 1)
	} else if port != "0" && o.hosts > 1 {
		return nil, errors.New("--listen with a port is for one host; use --base-port for more")
	}
	cfg := o.host
	cfg.Name = "host-" + strconv.Itoa(i)
	cfg.Dir = filepath.Join(o.dir, cfg.Name)
	cfg.Listen = net.JoinHostPort(address, port)
	host, err := devhost.Start(cfg)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", cfg.Name, err)
	}
	return host, nil
}

func (o *serveOptions) announce(w io.Writer, hosts []*devhost.Host) error {
	infos := make([]devhost.Info, len(hosts))
	for i, host := range hosts {
		infos[i] = host.Info()
	}
	if o.asJSON {
		return json.NewEncoder(w).Encode(infos)
	}
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "HOST\tCLIENTS CONNECT TO\tDCV COMMAND (dcv_root)")
	for _, info := range infos {
		address := net.JoinHostPort(info.Address, strconv.Itoa(info.Port))
		fmt.Fprintf(table, "%s\thttps://%s%s\t%s\n", info.Name, address, info.WebURLPath, info.DCV)
	}
	return table.Flush()
}
