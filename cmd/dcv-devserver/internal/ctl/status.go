package ctl

import (
	"encoding/json"
	"fmt"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"opensessionmanager/internal/devhost/control"
)

func status() *cobra.Command {
	var t target
	cmd := &cobra.Command{
		Use: "status --dir DIR", Short: "Tell how the hosts are and what is wrong with them", Args: cobra.NoArgs,
		Example: "  dcv-devserver status --dir /tmp/hosts --json",
	}
	t.flags(cmd, "all")
	asJSON := cmd.Flags().BoolP("json", "j", false, "print JSON")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		answers, err := t.ask(cmd.Context(), control.Request{Command: control.Status})
		if err != nil {
			return err
		}
		if *asJSON {
			all := make([]*control.HostStatus, len(answers))
			for i, a := range answers {
				all[i] = a.Status
			}
			return json.NewEncoder(cmd.OutOrStdout()).Encode(all)
		}
		table := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
		fmt.Fprintln(table, "HOST\tPORT\tSERVER\tSESSIONS\tCLIENTS\tFAULTS")
		for _, a := range answers {
			if a.Status != nil {
				fmt.Fprintln(table, statusLine(*a.Status))
			}
		}
		return table.Flush()
	}
	return cmd
}

func statusLine(s control.HostStatus) string {
	server := "running"
	if !s.Running {
		server = "stopped"
	}
	faults := make([]string, 0, len(s.Faults))
	for _, f := range s.Faults {
		words := []string{string(f.Kind)}
		if f.Command != "" {
			words = append(words, f.Command)
		}
		if f.Times > 0 {
			words = append(words, fmt.Sprintf("(%d left)", f.Times))
		}
		faults = append(faults, strings.Join(words, " "))
	}
	if len(faults) == 0 {
		faults = []string{"none"}
	}
	return fmt.Sprintf("%s\t%d\t%s\t%d\t%d\t%s", s.Name, s.Port, server, s.Sessions, s.Connections, strings.Join(faults, ", "))
}
