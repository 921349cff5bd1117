package cli

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"opensessionmanager/cmd/dcvsm/internal/api"
	"opensessionmanager/cmd/dcvsm/internal/settings"
)

// command begins a command that calls the API. request checks the options and says
// what to do; it runs before anything is read or sent.
func (a App) command(f *settings.Flags, name, short, example string, required []string, request func() (work, error)) *cobra.Command {
	return &cobra.Command{
		Use: name, Short: short, Example: example, Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := requireFlags(cmd, required); err != nil {
				return err
			}
			do, err := request()
			if err != nil {
				return err
			}
			return a.do(cmd, f, do)
		},
	}
}

// work is one call of the API. It returns the answer.
type work func(ctx context.Context, c *api.Client) (answer any, err error)

func noArguments(_ *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usageError("Got unexpected extra argument (%s)", args[0])
	}
	return nil
}

func requireFlags(cmd *cobra.Command, names []string) error {
	for _, name := range names {
		if flag := cmd.Flags().Lookup(name); flag == nil || !flag.Changed || flag.Value.String() == "" {
			return usageError("Missing option '--%s'.", name)
		}
	}
	return nil
}

// do finds the broker, calls it, explains what failed and prints the answer.
func (a App) do(cmd *cobra.Command, f *settings.Flags, call work) error {
	s, client, err := a.connect(cmd, f)
	if err != nil {
		return err
	}
	stop := a.showProgress("Waiting for the broker")
	answer, err := call(cmd.Context(), client)
	stop()
	if err != nil {
		return explainTransport(err)
	}
	a.explainFailures(answer)
	if s.OutputFormat == settings.Table {
		return printTable(a.Stdout, answer)
	}
	return printJSON(a.Stdout, answer)
}

func (a App) settings(cmd *cobra.Command, f *settings.Flags) (*settings.Settings, error) {
	given := *f
	if !cmd.Flags().Changed("debug") {
		given.Debug = nil
	}
	if !cmd.Flags().Changed("no-verify-ssl") {
		given.NoVerifySSL = nil
	}
	s, err := settings.Resolve(given, a.Env)
	if err != nil {
		return nil, err
	}
	for _, warning := range s.Warnings {
		fmt.Fprintln(a.Stderr, "Warning: "+printable(warning))
	}
	if s.NoVerifySSL {
		fmt.Fprintln(a.Stderr, "Warning: the broker's certificate is not checked; whoever answers gets your credentials. 'dcvsm trust' gets its CA certificate for --ca-bundle.")
	}
	return s, nil
}

func (a App) connect(cmd *cobra.Command, f *settings.Flags) (*settings.Settings, *api.Client, error) {
	s, err := a.settings(cmd, f)
	if err != nil {
		return nil, nil, err
	}
	tlsConfig, err := tlsConfig(s)
	if err != nil {
		return nil, nil, err
	}
	client := &api.Client{
		BrokerURL: s.BrokerURL, HTTP: api.NewHTTP(tlsConfig),
		Credentials: api.Credentials{AuthServerURL: s.AuthServerURL, ClientID: s.ClientID, ClientPassword: s.ClientPassword},
	}
	if s.Token != "" {
		client.Token = &s.Token
	}
	if s.Debug {
		client.Trace = func(format string, args ...any) {
			fmt.Fprintln(a.Stderr, "debug: "+printable(fmt.Sprintf(format, args...)))
		}
	}
	return s, client, nil
}

func tlsConfig(s *settings.Settings) (*tls.Config, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: s.NoVerifySSL}
	if s.CABundle == "" {
		return config, nil
	}
	pem, err := os.ReadFile(s.CABundle)
	if err != nil {
		return nil, &settings.Error{Code: settings.ExitEnvironment, Text: "ca-bundle: " + err.Error()}
	}
	config.RootCAs = x509.NewCertPool()
	if !config.RootCAs.AppendCertsFromPEM(pem) {
		return nil, &settings.Error{Code: settings.ExitEnvironment, Text: fmt.Sprintf("ca-bundle: %s holds no PEM certificate", s.CABundle)}
	}
	return config, nil
}

// explainTransport adds the cure to the errors that everybody meets first.
func explainTransport(err error) error {
	if cure := cureOf(err); cure != "" {
		return fmt.Errorf("%w\n%s", err, cure)
	}
	return err
}

func cureOf(err error) string {
	unknown, name, expired := x509.UnknownAuthorityError{}, x509.HostnameError{}, x509.CertificateInvalidError{}
	switch {
	case errors.As(err, &unknown):
		return "The broker's certificate is signed by a CA that is not trusted here: give --ca-bundle FILE; 'dcvsm trust' gets that file."
	case errors.As(err, &name):
		return "The certificate does not have the name in the URL: use one of its names."
	case errors.As(err, &expired) && expired.Reason == x509.Expired:
		return "The broker's certificate is not valid now: check this machine's clock, then the broker."
	case errors.Is(err, context.DeadlineExceeded), os.IsTimeout(err):
		return "No answer in time: check host, port and firewall; 'dcvsm doctor' tries step by step."
	}
	return ""
}

// explainFailures prints why items failed. The exit code stays 0, as in the
// vendor's program: the answer itself arrived.
func (a App) explainFailures(answer any) {
	partial, ok := answer.(interface{ Failures() []api.Failure })
	if !ok {
		return
	}
	for _, f := range partial.Failures() {
		text := "failed"
		if f.Item != "" {
			text = f.Item + " failed"
		}
		text += ": " + f.Reason
		if f.Why != "" {
			text += " - " + f.Why
		}
		fmt.Fprintln(a.Stderr, printable(text))
	}
}
