// Package cli is the command line of dcvsm, the client of the broker's API. It
// takes the options and gives the exit codes and output of the vendor's program
// (contract section 9), so that scripts need no change.
//
// Exit codes: 0 done (single items may still have failed: see the answer), 1 the
// configuration file is missing or corrupt, 2 the command line cannot be parsed, 130
// interrupted, 252 unknown command or bad value, 253 a setting is missing, 254 the
// service answered with an error, 255 anything else.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"opensessionmanager/cmd/dcvsm/internal/api"
	"opensessionmanager/cmd/dcvsm/internal/settings"
	"opensessionmanager/internal/version"
)

const (
	exitOK          = 0
	exitUsage       = 2
	exitInterrupted = 130
	exitValue       = settings.ExitValue
	exitService     = 254
	exitOther       = 255
)

// App is the program's surroundings.
type App struct {
	Stdout, Stderr io.Writer
	Env            settings.Environment
	Terminal       bool // Stderr is a terminal: progress may be shown
}

// failure is an error with its exit code. Usage marks those of the command line,
// which are shown with a pointer to the help.
type failure struct {
	code  int
	usage bool
	error
}

func usageError(format string, args ...any) error {
	return failure{exitUsage, true, fmt.Errorf(format, args...)}
}

func valueError(option, format string, args ...any) error {
	return failure{exitValue, true, fmt.Errorf("Invalid value for '--"+option+"': "+format, args...)}
}

// Run executes one command line (without the program's name) and returns the exit code.
func (a App) Run(ctx context.Context, args []string) int {
	root := a.root()
	root.SetArgs(joinBooleans(args))
	root.SetOut(a.Stdout)
	root.SetErr(a.Stderr)
	cmd, err := root.ExecuteContextC(ctx)
	if err == nil {
		return exitOK
	}
	if ctx.Err() != nil {
		fmt.Fprintln(a.Stderr, "Aborted!")
		return exitInterrupted
	}
	code, usage := classify(err)
	if usage {
		fmt.Fprintf(a.Stderr, "%s\nTry '%s --help' for help.\n\n", usageLine(cmd), cmd.CommandPath())
	}
	fmt.Fprintln(a.Stderr, "Error: "+printable(err.Error()))
	return code
}

// classify finds the exit code of an error, and whether the command line is to blame.
func classify(err error) (code int, usage bool) {
	if f := (failure{}); errors.As(err, &f) {
		return f.code, f.usage
	}
	if s := (*settings.Error)(nil); errors.As(err, &s) {
		return s.Code, false
	}
	if s := (*api.ServiceError)(nil); errors.As(err, &s) {
		return exitService, false
	}
	return exitOther, false
}

// joinBooleans lets a switch have a value of its own, as in "--enqueue-request true".
func joinBooleans(args []string) []string {
	out := make([]string, 0, len(args))
	for _, arg := range args {
		if last := len(out) - 1; last >= 0 && isSwitch(out[last]) && (strings.EqualFold(arg, "true") || strings.EqualFold(arg, "false")) {
			out[last] += "=" + strings.ToLower(arg)
			continue
		}
		out = append(out, arg)
	}
	return out
}

func isSwitch(arg string) bool {
	switch strings.ReplaceAll(arg, "_", "-") {
	case "--enqueue-request", "--dcv-gl-enabled", "--force", "--disable-retry-on-failure":
		return true
	}
	return false
}

func (a App) root() *cobra.Command {
	flags := &settings.Flags{}
	root := &cobra.Command{
		Use:           "dcvsm",
		Short:         "Manage sessions and servers of a DCV Session Manager broker.",
		Version:       version.String(),
		SilenceErrors: true,
		SilenceUsage:  true,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return failure{exitValue, true, unknownCommand(cmd, args[0])}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SuggestionsMinimumDistance = 2
	root.CompletionOptions.HiddenDefaultCmd = true
	root.SetVersionTemplate("dcvsm, version {{.Version}}\n")
	root.SetHelpCommand(&cobra.Command{Hidden: true})
	root.SetHelpFunc(func(cmd *cobra.Command, _ []string) { help(a.Stdout, cmd) })
	root.SetFlagErrorFunc(flagError)
	root.SetGlobalNormalizationFunc(normalize)
	globalFlags(root.PersistentFlags(), flags)
	root.AddCommand(
		a.createSession(flags), a.deleteSession(flags), a.describeSessions(flags), a.describeServers(flags),
		a.connectionData(flags), a.screenshots(flags), a.updatePermissions(flags),
		a.openServers(flags), a.closeServers(flags), a.doctor(flags), a.trust(flags),
	)
	return root
}

func globalFlags(set *pflag.FlagSet, f *settings.Flags) {
	set.StringVar(&f.Conf, "conf", "", "`FILE` Configuration file.")
	set.StringVar(&f.BrokerURL, "broker-url", "", "`URL` Address of the broker, as https://host:8443.")
	set.StringVar(&f.AuthServerURL, "auth-server", "", "`URL` Token endpoint of the authorization server. Also --auth-server-url.")
	set.StringVar(&f.OutputFormat, "output-format", "", "`[json|table]` Form of the answer; json by default.")
	set.StringVar(&f.CABundle, "ca-bundle", "", "`FILE` PEM file with the CA certificates to trust.")
	f.Debug = optionalSwitch(set, "debug", "Show what is sent and answered, on the error stream.")
	f.NoVerifySSL = optionalSwitch(set, "no-verify-ssl", "Do not check the broker's certificate. Unsafe.")
}

// optionalSwitch is a switch that knows whether it was given: only then does it
// override the configuration file. The flag package sets the value in place.
func optionalSwitch(set *pflag.FlagSet, name, usage string) *bool {
	value := new(bool)
	set.BoolVar(value, name, false, usage)
	return value
}

// normalize maps the spellings of the vendor's pages to one (contract section 9).
func normalize(set *pflag.FlagSet, name string) pflag.NormalizedName {
	name = strings.ReplaceAll(name, "_", "-")
	switch name {
	case "auth-server-url":
		name = "auth-server"
	case "max-concurrents-clients":
		name = "max-concurrent-clients"
	case "init-file":
		name = "init-file-path"
	}
	return pflag.NormalizedName(name)
}

func flagError(_ *cobra.Command, err error) error {
	if unknown := (*pflag.NotExistError)(nil); errors.As(err, &unknown) {
		return usageError("No such option: --%s", unknown.GetSpecifiedName())
	}
	if bad := (*pflag.InvalidValueError)(nil); errors.As(err, &bad) {
		kind := map[string]string{"int64": "integer", "bool": "boolean", "list": "list of ids"}[bad.GetFlag().Value.Type()]
		return valueError(bad.GetFlag().Name, "%q is not a valid %s.", bad.GetValue(), kind)
	}
	return failure{exitUsage, true, err}
}

func unknownCommand(cmd *cobra.Command, name string) error {
	text := fmt.Sprintf("No such command '%s'.", name)
	if near := cmd.SuggestionsFor(name); len(near) > 0 {
		text += " Did you mean " + strings.Join(near, " or ") + "?"
	}
	return errors.New(text)
}
