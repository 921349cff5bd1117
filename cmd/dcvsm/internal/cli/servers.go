package cli

import (
	"context"

	"github.com/spf13/cobra"

	"opensessionmanager/cmd/dcvsm/internal/api"
	"opensessionmanager/cmd/dcvsm/internal/settings"
)

func (a App) describeServers(f *settings.Flags) *cobra.Command {
	var (
		in   api.DescribeServersRequest
		page pageFlags
	)
	cmd := a.command(f, "describe-servers", "Describe DCV servers.",
		"  dcvsm describe-servers --max-results 100", nil,
		func() (work, error) {
			var err error
			in.MaxResults, in.NextToken, err = page.values()
			return func(ctx context.Context, c *api.Client) (any, error) { return c.DescribeServers(ctx, in) }, err
		})
	idsFlag(cmd.Flags(), &in.ServerIDs, "server-ids", "`ID,ID` Only these servers.")
	page.add(cmd.Flags())
	return cmd
}

func (a App) openServers(f *settings.Flags) *cobra.Command {
	var ids []string
	cmd := a.command(f, "open-servers", "Let servers take new sessions.",
		"  dcvsm open-servers --server-ids c2VydmVyLTE=,c2VydmVyLTI=", []string{"server-ids"},
		func() (work, error) {
			var in []api.OpenServerRequest
			for i := range ids {
				in = append(in, api.OpenServerRequest{ServerID: &ids[i]})
			}
			return func(ctx context.Context, c *api.Client) (any, error) { return c.OpenServers(ctx, in) }, nil
		})
	idsFlag(cmd.Flags(), &ids, "server-ids", "`ID,ID` The servers. [required]")
	return cmd
}

func (a App) closeServers(f *settings.Flags) *cobra.Command {
	var (
		ids   []string
		force bool
	)
	cmd := a.command(f, "close-servers", "Keep new sessions away from servers.",
		"  dcvsm close-servers --server-ids c2VydmVyLTE= --force", []string{"server-ids"},
		func() (work, error) {
			var in []api.CloseServerRequest
			for i := range ids {
				in = append(in, api.CloseServerRequest{ServerID: &ids[i], Force: &force})
			}
			return func(ctx context.Context, c *api.Client) (any, error) { return c.CloseServers(ctx, in) }, nil
		})
	idsFlag(cmd.Flags(), &ids, "server-ids", "`ID,ID` The servers. [required]")
	cmd.Flags().BoolVar(&force, "force", false, "Close even if sessions run there; they keep running.")
	return cmd
}
