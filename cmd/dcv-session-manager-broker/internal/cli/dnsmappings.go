package cli

import (
	"context"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"opensessionmanager/http/admin/adminclient"
)

// maxMappings bounds the file of DNS mappings in bytes; the broker takes no more.
const maxMappings = 4 << 20

func (a App) registerServerDNSMappings(f *flags) *cobra.Command {
	var path string
	cmd := &cobra.Command{
		Use:     "register-server-dns-mappings --file-path FILE",
		Aliases: []string{"register-server-dns-mapping"},
		Short:   "Load the DNS names under which gateways reach DCV servers",
		Long: "Load the DNS names under which Connection Gateways reach DCV servers. The file is a JSON list:\n\n" +
			`  [ {"ServerIdType": "Ip", "ServerId": "10.0.0.7", "DnsNames": {"InternalDnsName": "host7.internal"}} ]` + "\n\n" +
			"ServerIdType is Ip, Id or Host.Aws.Ec2InstanceId. A mapping takes the place of one of the same server; one\n" +
			"whose DnsNames is {} removes it. Others stay.",
		Example: "  dcv-session-manager-broker register-server-dns-mappings --file-path /tmp/mappings.json",
		Args:    noArguments,
	}
	cmd.Flags().StringVar(&path, "file-path", "", "file to load (required)")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if path == "" {
			return missing("file-path")
		}
		content, err := readFile(path, maxMappings)
		if err != nil {
			return err
		}
		return a.admin(f, func(ctx context.Context, api AdminAPI, p printer) error {
			n, err := api.RegisterServerDNSMappings(ctx, path, content)
			if err != nil {
				return err
			}
			return p.print(
				fmt.Sprintf("Successfully loaded %d server id - dns name mappings from file %s\n", n, path),
				map[string]any{"count": n, "file-path": path})
		})(cmd, args)
	}
	return cmd
}

// readFile reads a file that must not be larger than a bound: it may be a device.
func readFile(path string, most int64) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }()
	content, err := io.ReadAll(io.LimitReader(file, most+1))
	if err == nil && int64(len(content)) > most {
		err = fmt.Errorf("%s is larger than %d bytes", path, most)
	}
	return content, err
}

func (a App) describeServerDNSMappings(f *flags) *cobra.Command {
	return &cobra.Command{
		Use:     "describe-server-dns-mappings",
		Aliases: []string{"describe-server-dns-mapping"},
		Short:   "List the DNS names of DCV servers",
		Example: "  dcv-session-manager-broker describe-server-dns-mappings",
		Args:    noArguments,
		RunE: a.admin(f, func(ctx context.Context, api AdminAPI, p printer) error {
			all, err := api.DescribeServerDNSMappings(ctx)
			if err != nil {
				return err
			}
			if all == nil {
				all = []adminclient.DNSMapping{}
			}
			return p.print(prettyMappings(all), all)
		}),
	}
}

func prettyMappings(mappings []adminclient.DNSMapping) string {
	items := make([]string, len(mappings))
	for i, m := range mappings {
		var names []string
		for _, n := range []struct{ key, name string }{{"internalDnsName", m.DNSNames.Internal}, {"externalDnsName", m.DNSNames.External}} {
			if n.name != "" {
				names = append(names, n.key, quoted(n.name))
			}
		}
		items[i] = prettyObject("serverIdType", quoted(m.ServerIDType), "serverId", quoted(m.ServerID), "dnsNames", indented(prettyObject(names...)))
	}
	return prettyList(items)
}
