package cli

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"opensessionmanager/http/admin/adminclient"
)

// The commands about enrolment tokens, which the vendor does not have. Each goes by the
// other spelling of the word, too.

func otherSpelling(name string) []string {
	return []string{strings.Replace(name, "enrolment", "enrollment", 1)}
}

func (a App) generateEnrolmentToken(f *flags) *cobra.Command {
	var validFor time.Duration
	var uses int
	cmd := &cobra.Command{
		Use:     "generate-enrolment-token",
		Aliases: otherSpelling("generate-enrolment-token"),
		Short:   "Make a one-time text with which a new host enrols",
		Long: "Make an enrolment token and print it; it cannot be shown again. On the host,\n" +
			"'dcv-session-manager-agent enrol --token TOKEN --broker HOST' makes the agent a client of the brokers and gives it\n" +
			"their CA certificate, whose fingerprint is in the token. It works at every broker of the fleet. Whoever has the\n" +
			"token first can enrol with it: send it as you would send a password.",
		Example: "  dcv-session-manager-broker generate-enrolment-token\n" +
			"  dcv-session-manager-broker generate-enrolment-token --valid-for 24h --uses 50   # for an image or a group of machines\n" +
			"  dcv-session-manager-broker generate-enrolment-token --output json",
		Args: noArguments,
		RunE: a.admin(f, func(ctx context.Context, api AdminAPI, p printer) error {
			made, err := api.GenerateEnrolmentToken(ctx, validFor, uses)
			if err != nil {
				return err
			}
			return p.print("enrolment-token: "+made.Text+"\n", map[string]any{
				"enrolment-token": made.Text, "id": made.ID, "expires": timeText(made.Expires), "uses": made.UsesLeft})
		}),
	}
	cmd.Flags().DurationVar(&validFor, "valid-for", time.Hour, "how long it can be used, 1m to 720h")
	cmd.Flags().IntVar(&uses, "uses", 1, "how many hosts can enrol with it, at most 1000")
	return cmd
}

// enrolmentToken is a token as it is printed.
type enrolmentToken struct {
	ID       string `json:"id"`
	Created  string `json:"created"`
	Expires  string `json:"expires"`
	UsesLeft int    `json:"uses-left"`
	Active   bool   `json:"active"`
}

func timeText(t time.Time) string { return t.UTC().Format(time.RFC3339) }

func (a App) describeEnrolmentTokens(f *flags) *cobra.Command {
	return &cobra.Command{
		Use:     "describe-enrolment-tokens",
		Aliases: otherSpelling("describe-enrolment-tokens"),
		Short:   "List the enrolment tokens, without their text",
		Long:    "List the enrolment tokens, without their text. Those that are over are listed for a day.",
		Example: "  dcv-session-manager-broker describe-enrolment-tokens --output json",
		Args:    noArguments,
		RunE: a.admin(f, func(ctx context.Context, api AdminAPI, p printer) error {
			all, err := api.DescribeEnrolmentTokens(ctx)
			if err != nil {
				return err
			}
			list := make([]enrolmentToken, len(all))
			for i, e := range all {
				list[i] = enrolmentToken{e.ID, timeText(e.Created), timeText(e.Expires), e.UsesLeft, e.Active}
			}
			return p.print("Enrolment Tokens\n"+prettyEnrolments(all), list)
		}),
	}
}

func prettyEnrolments(all []adminclient.Enrolment) string {
	items := make([]string, len(all))
	for i, e := range all {
		items[i] = prettyObject("id", quoted(e.ID), "created", quoted(timeText(e.Created)), "expires", quoted(timeText(e.Expires)),
			"uses-left", fmt.Sprint(e.UsesLeft), "active", fmt.Sprint(e.Active))
	}
	return prettyList(items)
}

func (a App) revokeEnrolmentToken(f *flags) *cobra.Command {
	var id string
	var withAgents bool
	cmd := &cobra.Command{
		Use:     "revoke-enrolment-token --id ID",
		Aliases: otherSpelling("revoke-enrolment-token"),
		Short:   "End an enrolment token",
		Long: "End an enrolment token. Agents that enrolled with it before stay, unless --with-agents takes their access away too:\n" +
			"then they are disconnected within seconds.",
		Example: "  dcv-session-manager-broker revoke-enrolment-token --id 3b0d7b1d-78c7-4e79-b2e1-b976d1a2b3c4\n" +
			"  dcv-session-manager-broker revoke-enrolment-token --id 3b0d7b1d-78c7-4e79-b2e1-b976d1a2b3c4 --with-agents",
		Args: noArguments,
	}
	cmd.Flags().StringVar(&id, "id", "", "id that describe-enrolment-tokens shows (required)")
	cmd.Flags().BoolVar(&withAgents, "with-agents", false, "take access away from the agents that enrolled with it, too")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if id == "" {
			return missing("id")
		}
		return a.admin(f, func(ctx context.Context, api AdminAPI, p printer) error {
			unregistered, err := api.RevokeEnrolmentToken(ctx, id, withAgents)
			if err != nil {
				return err
			}
			said, value := fmt.Sprintf("Enrolment token %s revoked\n", id), map[string]any{"id": id}
			if withAgents {
				said, value["unregistered-agent-clients"] = said+fmt.Sprintf("%d agent clients unregistered\n", unregistered), unregistered
			}
			return p.print(said, value)
		})(cmd, args)
	}
	return cmd
}
