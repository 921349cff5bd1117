package cli

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

func usageLine(cmd *cobra.Command) string {
	if cmd.HasParent() {
		return "Usage: " + cmd.CommandPath() + " [OPTIONS]"
	}
	return "Usage: " + cmd.CommandPath() + " [OPTIONS] COMMAND [ARGS]..."
}

// help prints the page in the form of the vendor's program.
func help(w io.Writer, cmd *cobra.Command) {
	fmt.Fprintf(w, "%s\n\n  %s\n", usageLine(cmd), cmd.Short)
	if cmd.Long != "" {
		fmt.Fprintf(w, "\n  %s\n", strings.ReplaceAll(cmd.Long, "\n", "\n  "))
	}
	if cmd.Example != "" {
		fmt.Fprintf(w, "\nExamples:\n%s\n", cmd.Example)
	}
	fmt.Fprintln(w, "\nOptions:")
	options(w, cmd)
	if cmd.HasParent() {
		fmt.Fprintln(w, "\nThe options of 'dcvsm --help' may be given here as well.")
		return
	}
	fmt.Fprintln(w, "\nCommands:")
	for _, sub := range cmd.Commands() {
		if sub.IsAvailableCommand() {
			fmt.Fprintf(w, "  %-28s %s\n", sub.Name(), sub.Short)
		}
	}
}

func options(w io.Writer, cmd *cobra.Command) {
	show := func(f *pflag.Flag) {
		name, usage := pflag.UnquoteUsage(f)
		switch {
		case strings.Contains(f.Usage, "`"): // the word that stands for the value comes first
			usage = strings.TrimPrefix(usage, name+" ")
		case name == "string":
			name = "TEXT"
		}
		fmt.Fprintf(w, "  %-34s %s\n", strings.TrimSpace("--"+f.Name+" "+name), usage)
	}
	cmd.LocalFlags().VisitAll(func(f *pflag.Flag) {
		if f.Name != "help" && f.Name != "version" {
			show(f)
		}
	})
	if !cmd.HasParent() {
		fmt.Fprintf(w, "  %-34s %s\n", "--version", "Show the version and exit.")
	}
	fmt.Fprintf(w, "  %-34s %s\n", "-h, --help", "Show this message and exit.")
}
