package admin_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"opensessionmanager/http/admin/adminclient"
)

func TestAdmin_DNSMappingsFromTheFileToTheList(t *testing.T) {
	t.Parallel()
	a := start(t).open(t)
	list, err := a.DescribeServerDNSMappings(t.Context())
	require.NoError(t, err)
	require.Empty(t, list)
	n, err := a.RegisterServerDNSMappings(t.Context(), "m.json", []byte(`[{"ServerIdType":"ip","ServerId":"10.0.0.7","DnsNames":{"InternalDnsName":"host7"}}]`))
	require.NoError(t, err)
	require.Equal(t, 1, n)
	list, err = a.DescribeServerDNSMappings(t.Context())
	require.NoError(t, err)
	require.Equal(t, []adminclient.DNSMapping{{ServerIDType: "Ip", ServerID: "10.0.0.7", DNSNames: adminclient.DNSNames{Internal: "host7"}}}, list)

	_, err = a.RegisterServerDNSMappings(t.Context(), "bad.json", []byte(`[{}]`))
	require.EqualError(t, err, "bad.json: invalid file: mapping 1 needs ServerIdType, ServerId and DnsNames")
	_, err = a.RegisterServerDNSMappings(t.Context(), "large.json", []byte(`["`+strings.Repeat("x", 3<<20)+`"]`))
	require.ErrorContains(t, err, "large.json: invalid file: it must be a JSON list")
}
