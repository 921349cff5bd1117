package adminclient

import (
	"context"
	"fmt"
)

// DNSMappingsFile is the request of register-server-dns-mappings: the file as it is.
type DNSMappingsFile struct {
	Path    string `json:"path"` // for the audit trail
	Content string `json:"content"`
}

// Subject is what the audit trail says the command was about.
func (f DNSMappingsFile) Subject() string { return f.Path }

// Count is how many things a command changed.
type Count struct {
	Count int `json:"count"`
}

// DNSMapping says under which names a DCV server is reached.
type DNSMapping struct {
	ServerIDType string   `json:"serverIdType"`
	ServerID     string   `json:"serverId"`
	DNSNames     DNSNames `json:"dnsNames"`
}

// DNSNames are a server's; one may be empty.
type DNSNames struct {
	Internal string `json:"internalDnsName,omitempty"`
	External string `json:"externalDnsName,omitempty"`
}

// DNSMappings is the answer of describe-server-dns-mappings.
type DNSMappings struct {
	Mappings []DNSMapping `json:"mappings"`
}

// RegisterServerDNSMappings loads a file of mappings, which the broker reads and checks;
// count is how many it has.
func (a *Admin) RegisterServerDNSMappings(ctx context.Context, path string, content []byte) (count int, err error) {
	done, err := call[Count](ctx, a, "register-server-dns-mappings", DNSMappingsFile{path, string(content)})
	if err != nil {
		return 0, fmt.Errorf("%s: %w", path, err)
	}
	return done.Count, nil
}

// DescribeServerDNSMappings lists the mappings.
func (a *Admin) DescribeServerDNSMappings(ctx context.Context) ([]DNSMapping, error) {
	list, err := call[DNSMappings](ctx, a, "describe-server-dns-mappings", Empty{})
	return list.Mappings, err
}
