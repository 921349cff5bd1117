package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"opensessionmanager/agent/service"
	"opensessionmanager/agent/settings"
	"opensessionmanager/internal/version"
)

// Exit codes, as the vendor's command line tools have them.
const (
	exitOK    = 0
	exitError = 1
	exitUsage = 2
)

const examples = `  # make this host a client of the brokers
  dcv-session-manager-agent enrol --token dcvsm-enrol-1.AbC... --broker broker.example.com

  # run with the usual file
  dcv-session-manager-agent

  # look for mistakes in a file; prints each with its line and cure
  dcv-session-manager-agent --check-config --config ./agent.conf

  # run a second agent beside the first, with files of its own
  dcv-session-manager-agent --config /srv/test/agent.conf`

// usageError is a mistake on the command line itself.
type usageError struct{ error }

// execute runs the program and returns its exit code.
func execute(ctx context.Context, arguments []string, stdout, stderr io.Writer) int {
	command := newCommand(stderr)
	command.SetArgs(arguments)
	command.SetOut(stdout)
	command.SetErr(stderr)
	err := command.ExecuteContext(ctx)
	var usage usageError
	var own exitCode
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &usage):
		fmt.Fprintf(stderr, "%s\nSee dcv-session-manager-agent --help.\n", err)
		return exitUsage
	}
	fmt.Fprintln(stderr, err)
	if errors.As(err, &own) {
		return own.code
	}
	return exitError
}

func newCommand(stderr io.Writer) *cobra.Command {
	var path string
	var check bool
	command := &cobra.Command{
		Use:           "dcv-session-manager-agent",
		Short:         "The Session Manager agent of a DCV host",
		Long:          "The agent keeps a connection to a Session Manager broker, reports this host and\nits DCV sessions, and creates and closes sessions when the broker asks.",
		Example:       examples,
		Version:       version.String(),
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          noArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			if check {
				return checkConfig(path, c.OutOrStdout())
			}
			return asService(func(ctx context.Context) error { return run(ctx, path, stderr) })(c.Context())
		},
	}
	command.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	command.Flags().StringVar(&path, "config", settings.DefaultPath(), "configuration `file`")
	command.Flags().BoolVar(&check, "check-config", false, "check the configuration file and exit")
	command.AddCommand(enrolCommand())
	return command
}

func noArguments(_ *cobra.Command, arguments []string) error {
	if len(arguments) > 0 {
		return usageError{fmt.Errorf("unexpected argument %q", arguments[0])}
	}
	return nil
}

func checkConfig(path string, out io.Writer) error {
	_, warnings, err := settings.Load(path)
	if err != nil {
		return err
	}
	for _, w := range warnings {
		fmt.Fprintln(out, "warning:", w.Problem)
	}
	fmt.Fprintln(out, path+": OK")
	return nil
}

func run(ctx context.Context, path string, stderr io.Writer) error {
	s, warnings, err := settings.Load(path)
	if err != nil {
		return err
	}
	a, err := service.New(ctx, s, warnings, version.Version, terminal(stderr))
	if err != nil {
		return err
	}
	return errors.Join(a.Run(ctx), a.Close())
}

// terminal returns w if somebody sits in front of it, else nil.
func terminal(w io.Writer) io.Writer {
	file, ok := w.(*os.File)
	if !ok {
		return nil
	}
	info, err := file.Stat()
	if err != nil || info.Mode()&os.ModeCharDevice == 0 {
		return nil
	}
	return w
}
