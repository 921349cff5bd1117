package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"opensessionmanager/agent/enroll"
	"opensessionmanager/agent/service"
	"opensessionmanager/agent/settings"
	"opensessionmanager/internal/enrolment"
)

// Exit codes of enrol beside the usual ones.
const (
	exitUnreachable = 3 // no broker answered, or not well; worth another try
	exitRefused     = 4 // the token is used, expired, revoked or unknown
	exitUntrusted   = 5 // somebody else answers than who made the token
)

// enrolPatience bounds the whole command.
const enrolPatience = 2 * time.Minute

const enrolLong = `Make this host a client of the brokers by a one-time token, which an administrator of a broker makes with
'dcv-session-manager-broker generate-enrolment-token'. No file has to be copied: the token names the brokers'
certificate authority, and nothing is sent to anybody who cannot show that one.

The credentials and the authority's certificate are kept in the agent's data folder. Run it as the user that the
agent runs as. After a failure it can be run again with the same token, which is not used up by that.

Exit codes: 0 enrolled; 1 another error; 2 wrong command line; 3 no broker answered, try again; 4 the token was
refused; 5 the broker's certificate is not of the authority that the token names.`

const enrolExamples = `  # on the broker
  dcv-session-manager-broker generate-enrolment-token

  # on the host
  dcv-session-manager-agent enrol --token dcvsm-enrol-1.AbC... --broker broker.example.com

  # agent.conf is written already; the token is not shown in the list of processes
  dcv-session-manager-agent enrol --token - < token-file`

// exitCode is an error with an exit code of its own.
type exitCode struct {
	error
	code int
}

func (e exitCode) Unwrap() error { return e.error }

func enrolCommand() *cobra.Command {
	var text, broker, path string
	command := &cobra.Command{
		Use:     "enrol --token TOKEN [--broker HOST[:PORT]]",
		Aliases: []string{"enroll"},
		Short:   "Make this host a client of the brokers by a one-time token",
		Long:    enrolLong,
		Example: enrolExamples,
		Args:    noArguments,
	}
	command.Flags().StringVar(&text, "token", "", "the `TOKEN`, or - to read it from standard input (required)")
	command.Flags().StringVar(&broker, "broker", "", "`HOST[:PORT]` of the broker's agent port (default: that of the configuration file)")
	command.Flags().StringVar(&path, "config", settings.DefaultPath(), "configuration `file`; need not exist with --broker")
	command.RunE = func(c *cobra.Command, _ []string) error {
		token, err := readToken(text, c.InOrStdin())
		if err != nil {
			return usageError{err}
		}
		s, err := enrolSettings(path, broker, c.Flags().Changed("config"))
		if err != nil {
			return err
		}
		return enrolHost(c.Context(), s, token, c.OutOrStdout())
	}
	return command
}

func readToken(text string, stdin io.Reader) (enrolment.Token, error) {
	switch text {
	case "":
		return enrolment.Token{}, errors.New("option --token is required")
	case "-":
		line, err := bufio.NewReader(io.LimitReader(stdin, enrolment.MaxText)).ReadString('\n')
		if err != nil && !errors.Is(err, io.EOF) {
			return enrolment.Token{}, fmt.Errorf("read the token: %w", err)
		}
		text, _ = strings.CutPrefix(line, "enrolment-token: ")
	}
	token, err := enrolment.Parse(text)
	if err != nil {
		return token, errors.New(strings.TrimPrefix(err.Error(), "enrolment: "))
	}
	return token, nil
}

// enrolSettings reads the configuration file, which may be missing if the broker is named.
func enrolSettings(path, broker string, named bool) (settings.Settings, error) {
	var changes []func(*settings.Settings)
	if broker != "" {
		host, port, err := splitBroker(broker)
		if err != nil {
			return settings.Settings{}, usageError{err}
		}
		changes = append(changes, func(s *settings.Settings) {
			s.Agent.BrokerHost, s.Agent.AlternativeBrokers = host, nil
			if port != 0 {
				s.Agent.BrokerPort = port
			}
		})
	}
	if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) && !named {
		if broker == "" {
			return settings.Settings{}, usageError{fmt.Errorf("option --broker is required, since there is no %s", path)}
		}
		s, _, err := settings.Without(changes...)
		return s, err
	}
	s, _, err := settings.Load(path, changes...)
	return s, err
}

func splitBroker(broker string) (host string, port int, err error) {
	host, number, err := net.SplitHostPort(broker)
	if err != nil { // no port; an IPv6 address may stand in brackets
		return strings.Trim(broker, "[]"), 0, nil
	}
	port, err = strconv.Atoi(number)
	if err != nil || port < 1 || port > 65535 {
		return "", 0, fmt.Errorf("--broker %q: the port must be 1 to 65535", broker)
	}
	return host, port, nil
}

func enrolHost(ctx context.Context, s settings.Settings, token enrolment.Token, out io.Writer) error {
	ctx, cancel := context.WithTimeout(ctx, enrolPatience)
	defer cancel()
	done, err := service.Enrol(ctx, s.Agent, token, slog.New(slog.DiscardHandler))
	if err != nil {
		return judged(err)
	}
	if done.Already {
		fmt.Fprintf(out, "This host has enrolled with this token already: agent client %s\n", done.ClientID)
		return nil
	}
	fmt.Fprintf(out, "This host is enrolled: agent client %s\n", done.ClientID)
	fmt.Fprintf(out, "Credentials: %s\n", service.CredentialsFile(s.Agent))
	if done.Fetched {
		fmt.Fprintf(out, "The brokers' certificate authority: %s\n", done.CAFile)
	}
	fmt.Fprintf(out, "\nagent.conf needs no ca_file and no software_statement_path. It needs:\n  version = '0.1'\n  [agent]\n  broker_host = '%s'\n", s.Agent.BrokerHost)
	if s.Agent.BrokerPort != settings.DefaultBrokerPort {
		fmt.Fprintf(out, "  broker_port = %d\n", s.Agent.BrokerPort)
	}
	if !done.Fetched {
		fmt.Fprintf(out, "  ca_file = '%s'\n", s.Agent.CAFile)
	}
	fmt.Fprintf(out, "The DCV server's dcv.conf may name the same authority:\n  [security]\n  ca-file=\"%s\"\n", done.CAFile)
	fmt.Fprintln(out, "\nNow start the agent, or restart it if it runs.")
	return nil
}

// judged gives an error its exit code and says what to do.
func judged(err error) error {
	switch {
	case errors.Is(err, enroll.ErrImpostor), errors.Is(err, service.ErrUntrusted):
		return exitCode{err, exitUntrusted}
	case errors.Is(err, enroll.ErrRefused):
		return exitCode{err, exitRefused}
	case errors.Is(err, os.ErrPermission):
		return fmt.Errorf("%w; run this as root or as the agent's user", err)
	}
	return exitCode{fmt.Errorf("no broker enrolled this host: is broker_host right, is the agent port open? The token is not used up, try again.\n%w", err), exitUnreachable}
}
