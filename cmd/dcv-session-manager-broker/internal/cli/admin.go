package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/spf13/cobra"

	"opensessionmanager/http/admin/adminclient"
	"opensessionmanager/http/oauth/authserver"
	"opensessionmanager/internal/config"
)

// AdminAPI is what the admin commands ask of the running broker. The client of
// http/admin has these methods; a test has its own.
type AdminAPI interface {
	RegisterAPIClient(ctx context.Context, name string) (adminclient.Credentials, error)
	DescribeAPIClients(ctx context.Context) ([]adminclient.Client, error)
	UnregisterAPIClient(ctx context.Context, id string) error
	GenerateSoftwareStatement(ctx context.Context) (string, error)
	DescribeSoftwareStatements(ctx context.Context) ([]adminclient.Statement, error)
	DeactivateSoftwareStatement(ctx context.Context, statement string, withAgents bool) (unregistered int, err error)
	RotateAPIClientSecret(ctx context.Context, id string, overlapSeconds int64) (adminclient.RotatedSecret, error)
	GenerateEnrolmentToken(ctx context.Context, validFor time.Duration, uses int) (adminclient.EnrolmentToken, error)
	DescribeEnrolmentTokens(ctx context.Context) ([]adminclient.Enrolment, error)
	RevokeEnrolmentToken(ctx context.Context, id string, withAgents bool) (unregistered int, err error)
	DescribeAgentClients(ctx context.Context) ([]adminclient.Client, error)
	UnregisterAgentClient(ctx context.Context, id string) error
	RegisterServerDNSMappings(ctx context.Context, path string, content []byte) (count int, err error)
	DescribeServerDNSMappings(ctx context.Context) ([]adminclient.DNSMapping, error)
	RegisterAuthServer(ctx context.Context, server authserver.Server) error
	ListAuthServers(ctx context.Context) ([]adminclient.AuthServer, error)
	UnregisterAuthServer(ctx context.Context, url string) error
	RenewKeys(ctx context.Context) error
	Close()
}

func (a App) adminCommands(f *flags) []*cobra.Command {
	return []*cobra.Command{
		a.registerAPIClient(f), a.describeAPIClients(f), a.unregisterAPIClient(f), a.rotateAPIClientSecret(f),
		a.generateSoftwareStatement(f), a.describeSoftwareStatements(f), a.deactivateSoftwareStatement(f),
		a.generateEnrolmentToken(f), a.describeEnrolmentTokens(f), a.revokeEnrolmentToken(f),
		a.describeAgentClients(f), a.unregisterAgentClient(f),
		a.registerServerDNSMappings(f), a.describeServerDNSMappings(f),
		a.registerAuthServer(f), a.listAuthServers(f), a.unregisterAuthServer(f), a.renewKeys(f),
	}
}

// admin wraps what an admin command does: check the options, find the broker, ask, print.
func (a App) admin(f *flags, do func(ctx context.Context, api AdminAPI, p printer) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, _ []string) error {
		p, err := newPrinter(a.Stdout, f.output)
		if err != nil {
			return err
		}
		cfg, _, err := config.Load(f.config) // its warnings are for who starts the broker
		if err != nil {
			return err
		}
		api, err := a.Connect(cfg)
		if errors.Is(err, fs.ErrPermission) {
			return fmt.Errorf("%w; run this as root or as the broker's user", err)
		}
		if err != nil {
			return err
		}
		defer api.Close()
		return do(cmd.Context(), api, p)
	}
}

func (a App) registerAPIClient(f *flags) *cobra.Command {
	var name string
	cmd := &cobra.Command{
		Use:   "register-api-client --client-name NAME",
		Short: "Register a client of the API and print its credentials",
		Long: "Register a client of the API and print its id and password. The password cannot be shown again.\n" +
			"--name NAME and -cn NAME mean the same as --client-name NAME.",
		Example: "  dcv-session-manager-broker register-api-client --client-name portal\n" +
			"  dcv-session-manager-broker register-api-client -cn portal --output json",
		Args: noArguments,
	}
	cmd.Flags().StringVar(&name, "client-name", "", "name of the client, free to choose (required)")
	cmd.Flags().StringVar(&name, "name", "", "same as --client-name")
	_ = cmd.Flags().MarkHidden("name") // fails only for a flag that does not exist
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if name == "" {
			return missing("client-name")
		}
		return a.admin(f, func(ctx context.Context, api AdminAPI, p printer) error {
			made, err := api.RegisterAPIClient(ctx, name)
			if err != nil {
				return err
			}
			return p.print(
				fmt.Sprintf("client-id: %s\nclient-password: %s\n", made.ClientID, made.ClientPassword),
				map[string]string{"client-id": made.ClientID, "client-password": made.ClientPassword})
		})(cmd, args)
	}
	return cmd
}

func (a App) describeAPIClients(f *flags) *cobra.Command {
	return &cobra.Command{
		Use:     "describe-api-clients",
		Short:   "List the registered clients of the API",
		Example: "  dcv-session-manager-broker describe-api-clients --output json",
		Args:    noArguments,
		RunE: a.admin(f, func(ctx context.Context, api AdminAPI, p printer) error {
			clients, err := api.DescribeAPIClients(ctx)
			if err != nil {
				return err
			}
			return p.print("Api clients\n"+prettyClients(clients), noNull(clients))
		}),
	}
}

func (a App) unregisterAPIClient(f *flags) *cobra.Command {
	var id string
	cmd := &cobra.Command{
		Use:     "unregister-api-client --client-id ID",
		Short:   "Take a client's access away",
		Long:    "Take a client's access away. The client stays in the list, inactive.",
		Example: "  dcv-session-manager-broker unregister-api-client --client-id 1cc5b6b6-9b8e-4c9a-9ac2-4a1b6a8e4c5d",
		Args:    noArguments,
	}
	cmd.Flags().StringVar(&id, "client-id", "", "id that register-api-client printed (required)")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if id == "" {
			return missing("client-id")
		}
		return a.admin(f, func(ctx context.Context, api AdminAPI, p printer) error {
			if err := api.UnregisterAPIClient(ctx, id); err != nil {
				return err
			}
			return p.print(fmt.Sprintf("Client %s unregistered.\n", id), map[string]string{"client-id": id})
		})(cmd, args)
	}
	return cmd
}

func (a App) rotateAPIClientSecret(f *flags) *cobra.Command {
	var id string
	var overlap int64
	cmd := &cobra.Command{
		Use:   "rotate-api-client-secret --client-id ID",
		Short: "Give a client of the API another password",
		Long: "Give a client of the API another password and print it; it cannot be shown again. The one before goes on to\n" +
			"count for the overlap, so that the portal can be told of the new one meanwhile. Access tokens that were issued\n" +
			"stay good until they end. If a password is known to others, write --overlap-seconds 0.",
		Example: "  dcv-session-manager-broker rotate-api-client-secret --client-id 1cc5b6b6-9b8e-4c9a-9ac2-4a1b6a8e4c5d\n" +
			"  dcv-session-manager-broker rotate-api-client-secret --client-id 1cc5b6b6-9b8e-4c9a-9ac2-4a1b6a8e4c5d --overlap-seconds 0",
		Args: noArguments,
	}
	cmd.Flags().StringVar(&id, "client-id", "", "id that register-api-client printed (required)")
	cmd.Flags().Int64Var(&overlap, "overlap-seconds", 3600, "how long the password before goes on to count, at most 30 days")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if id == "" {
			return missing("client-id")
		}
		return a.admin(f, func(ctx context.Context, api AdminAPI, p printer) error {
			made, err := api.RotateAPIClientSecret(ctx, id, overlap)
			if err != nil {
				return err
			}
			until := made.PreviousUntil.UTC().Format(time.RFC3339)
			return p.print(
				fmt.Sprintf("client-id: %s\nclient-password: %s\nprevious-password-until: %s\n", made.ClientID, made.ClientPassword, until),
				map[string]string{"client-id": made.ClientID, "client-password": made.ClientPassword, "previous-password-until": until})
		})(cmd, args)
	}
	return cmd
}

func missing(option string) error {
	return usageError{errors.New("option --" + option + " is required")}
}
