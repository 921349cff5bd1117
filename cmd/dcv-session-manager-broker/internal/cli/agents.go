package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"
)

// The commands about agents: the statements with which they register, and the
// clients that they become.

func (a App) generateSoftwareStatement(f *flags) *cobra.Command {
	return &cobra.Command{
		Use:     "generate-software-statement",
		Short:   "Make the text with which agents register",
		Long:    "Make a software statement. Write the text into the file that software_statement_path names on each agent's host.",
		Example: "  dcv-session-manager-broker generate-software-statement",
		Args:    noArguments,
		RunE: a.admin(f, func(ctx context.Context, api AdminAPI, p printer) error {
			statement, err := api.GenerateSoftwareStatement(ctx)
			if err != nil {
				return err
			}
			return p.print("software-statement: "+statement+"\n", map[string]string{"software-statement": statement})
		}),
	}
}

func (a App) describeSoftwareStatements(f *flags) *cobra.Command {
	return &cobra.Command{
		Use:     "describe-software-statements",
		Short:   "List the software statements",
		Example: "  dcv-session-manager-broker describe-software-statements",
		Args:    noArguments,
		RunE: a.admin(f, func(ctx context.Context, api AdminAPI, p printer) error {
			all, err := api.DescribeSoftwareStatements(ctx)
			if err != nil {
				return err
			}
			list := make([]statement, len(all))
			for i, s := range all {
				list[i] = statement{s.SoftwareStatement, s.IssuedAt.UTC().Format("2006.01.02 15:04:05 +0000"), fmt.Sprint(s.Active)}
			}
			return p.print("Software Statements\n"+prettyStatements(list), list)
		}),
	}
}

func (a App) deactivateSoftwareStatement(f *flags) *cobra.Command {
	var text string
	var withAgents bool
	cmd := &cobra.Command{
		Use:   "deactivate-software-statement --software-statement STATEMENT",
		Short: "End registrations with a software statement",
		Long: "End registrations with a software statement. Agents that registered with it before stay, unless --with-agents\n" +
			"takes their access away too: then they are disconnected within seconds.",
		Example: "  dcv-session-manager-broker deactivate-software-statement --software-statement \"$(cat statement)\"\n" +
			"  dcv-session-manager-broker deactivate-software-statement --software-statement \"$(cat stolen)\" --with-agents",
		Args: noArguments,
	}
	cmd.Flags().StringVar(&text, "software-statement", "", "text that generate-software-statement printed (required)")
	cmd.Flags().BoolVar(&withAgents, "with-agents", false, "take access away from the agents that registered with it, too")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if text == "" {
			return missing("software-statement")
		}
		return a.admin(f, func(ctx context.Context, api AdminAPI, p printer) error {
			unregistered, err := api.DeactivateSoftwareStatement(ctx, text, withAgents)
			if err != nil {
				return err
			}
			said, value := fmt.Sprintf("Software statement %s deactivated\n", text), map[string]any{"software-statement": text}
			if withAgents {
				said, value["unregistered-agent-clients"] = said+fmt.Sprintf("%d agent clients unregistered\n", unregistered), unregistered
			}
			return p.print(said, value)
		})(cmd, args)
	}
	return cmd
}

func (a App) describeAgentClients(f *flags) *cobra.Command {
	return &cobra.Command{
		Use:     "describe-agent-clients",
		Short:   "List the registered agents",
		Example: "  dcv-session-manager-broker describe-agent-clients --output json",
		Args:    noArguments,
		RunE: a.admin(f, func(ctx context.Context, api AdminAPI, p printer) error {
			clients, err := api.DescribeAgentClients(ctx)
			if err != nil {
				return err
			}
			return p.print("Session manager agent clients\n"+prettyClients(clients), noNull(clients))
		}),
	}
}

func (a App) unregisterAgentClient(f *flags) *cobra.Command {
	var id string
	cmd := &cobra.Command{
		Use:   "unregister-agent-client --client-id ID",
		Short: "Take an agent's access away",
		Long: "Take an agent's access away. It is disconnected within seconds and stays in the list, inactive. It does not register\n" +
			"anew by itself; whoever has a software statement can register another, so deactivate that too if a host was stolen.",
		Example: "  dcv-session-manager-broker unregister-agent-client --client-id 3b0d7b1d-78c7-4e79-b2e1-b976d1a2b3c4",
		Args:    noArguments,
	}
	cmd.Flags().StringVar(&id, "client-id", "", "id that describe-agent-clients shows (required)")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if id == "" {
			return missing("client-id")
		}
		return a.admin(f, func(ctx context.Context, api AdminAPI, p printer) error {
			if err := api.UnregisterAgentClient(ctx, id); err != nil {
				return err
			}
			return p.print(fmt.Sprintf("agent client %s unregistered\n", id), map[string]string{"client-id": id})
		})(cmd, args)
	}
	return cmd
}
