// Package ctl is the command line of dcv-devserver, a file per verb.
package ctl

import (
	"errors"
	"io"

	"github.com/spf13/cobra"

	"opensessionmanager/internal/devhost/viewer"
)

// Root is the whole command line. Results go to stdout, logs to stderr.
func Root(stdout, stderr io.Writer) *cobra.Command {
	root := &cobra.Command{
		Use:   "dcv-devserver",
		Short: "Stand-in DCV hosts for development, tests and demonstrations",
		Long: `dcv-devserver plays hosts with an Amazon DCV server, for people without a licence.

Every host has a folder with an executable "dcv" in it, which keeps the command
contract that agents rely on, and an HTTPS port where users connect with the URL
that the broker gives them, in a browser or with "dcv-devserver connect". Tokens
are checked with the broker, sessions, connections, permissions, screenshots and
init scripts are real; there is no desktop behind them and nothing is streamed.`,
		Example: `  # Two hosts that ask a broker who may connect
  dcv-devserver serve --dir /tmp/hosts --hosts 2 --no-tls-strict \
      --auth-token-verifier https://127.0.0.1:8445/agent/validate-authentication-token

  # What an agent does on the first of them
  /tmp/hosts/host-1/dcv create-session --owner alice --name "My desktop" s-1
  /tmp/hosts/host-1/dcv list-sessions

  # The next session cannot be created
  dcv-devserver fault fail --dir /tmp/hosts --host 1 --times 1 --message "no licences"`,
		SilenceUsage: true, SilenceErrors: true,
		CompletionOptions: cobra.CompletionOptions{HiddenDefaultCmd: true},
	}
	root.SetOut(stdout)
	root.SetErr(stderr)
	root.AddCommand(serve(), fault(), status(), connect())
	return root
}

// ExitCode tells a refused connection (3) and one the host cut (4) from any other
// failure (1).
func ExitCode(err error) int {
	switch {
	case errors.Is(err, viewer.ErrRefused):
		return 3
	case errors.Is(err, viewer.ErrEnded):
		return 4
	}
	return 1
}
