// Package cli is the command line of the broker: without a command it runs the
// service in the foreground; with one it administers the running broker of this
// machine. Outputs are those of contract section 8, because scripts cut them up.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"

	"github.com/spf13/cobra"

	"opensessionmanager/internal/config"
	"opensessionmanager/internal/version"
)

// Exit codes of every command (contract section 17).
const (
	exitOK    = 0
	exitError = 1 // told on the error stream
	exitUsage = 2 // the command line is wrong
)

// App is the program without what main knows: the service and the way to it.
type App struct {
	// Serve runs the broker until ctx ends or it fails. The warnings are logged already.
	Serve func(ctx context.Context, cfg *config.Config, logger *slog.Logger) error
	// Connect finds the running broker whose configuration this is.
	Connect func(cfg *config.Config) (AdminAPI, error)

	Stdout, Stderr io.Writer
}

// usageError is the caller's mistake: exit code 2.
type usageError struct{ error }

// Run executes one command line (without the program's name) and returns the exit code.
func (a App) Run(ctx context.Context, args []string) int {
	root := a.root()
	root.SetArgs(vendorSpelling(args))
	root.SetOut(a.Stdout)
	root.SetErr(a.Stderr)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitOK
	}
	fmt.Fprintln(a.Stderr, "error:", err)
	if usage := (usageError{}); errors.As(err, &usage) {
		fmt.Fprintf(a.Stderr, "Try '%s --help'.\n", root.Name())
		return exitUsage
	}
	return exitError
}

// vendorSpelling lets "-cn NAME" be written, as the Access Console's wizard does, and
// "--client -id ID", as the vendor's guide prints it (contract section 8); the flag
// library knows neither.
func vendorSpelling(args []string) []string {
	out := make([]string, 0, len(args))
	for i, arg := range args {
		if arg == "--" {
			return append(out, args[i:]...)
		}
		if arg == "-id" && i > 0 && args[i-1] == "--client" {
			out[len(out)-1] = "--client-id"
			continue
		}
		if arg == "-cn" || strings.HasPrefix(arg, "-cn=") {
			arg = "--client-name" + strings.TrimPrefix(arg, "-cn")
		}
		out = append(out, arg)
	}
	return out
}

// flags are those that every command has.
type flags struct {
	config string
	output string
	check  bool
}

func (a App) root() *cobra.Command {
	var f flags
	root := &cobra.Command{
		Use:   "dcv-session-manager-broker",
		Short: "Run or administer a session broker",
		Long: "Without a command: run the broker in the foreground until it is interrupted.\n" +
			"With a command: administer the broker that runs on this machine with the same configuration file.",
		Example: "  dcv-session-manager-broker --check-config\n" +
			"  dcv-session-manager-broker --config ./broker.properties\n" +
			"  dcv-session-manager-broker register-api-client --client-name portal",
		Version:       version.String(),
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          noCommand,
		RunE:          func(cmd *cobra.Command, _ []string) error { return a.runRoot(cmd.Context(), f) },
	}
	root.SetVersionTemplate("{{.Version}}\n")
	root.SuggestionsMinimumDistance = 2
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	root.PersistentFlags().StringVar(&f.config, "config", "", "configuration file (default "+config.DefaultPath+" if it exists)")
	root.PersistentFlags().StringVar(&f.output, "output", "text", "form of the answer of an admin command: text or json")
	root.Flags().BoolVar(&f.check, "check-config", false, "read the configuration, say what is wrong with it, and exit")
	root.AddCommand(a.adminCommands(&f)...)
	root.AddCommand(a.configCommand())
	return root
}

// noCommand refuses a misspelt command instead of starting a broker.
func noCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	text := fmt.Sprintf("unknown command %q", args[0])
	if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
		text += "; did you mean " + strings.Join(near, " or ") + "?"
	}
	return usageError{errors.New(text)}
}

func noArguments(_ *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usageError{fmt.Errorf("unexpected argument %q", args[0])}
	}
	return nil
}
