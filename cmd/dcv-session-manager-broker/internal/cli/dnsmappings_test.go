package cli

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"opensessionmanager/http/admin/adminclient"
)

// Contract section 8: both spellings, and the exact line.
func TestRegisterServerDNSMappings_SendsTheFile(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "mappings.json")
	require.NoError(t, os.WriteFile(file, []byte("[1]"), 0o600))
	for _, command := range []string{"register-server-dns-mappings", "register-server-dns-mapping"} {
		broker := &fakeBroker{}
		require.Equal(t, result{0, "Successfully loaded 2 server id - dns name mappings from file " + file + "\n", ""}, run(t, broker, command, "--file-path", file))
		require.Equal(t, "[1]", broker.loaded)
	}
	r := run(t, &fakeBroker{}, "register-server-dns-mappings", "--file-path", file, "--output", "json")
	require.JSONEq(t, `{"count": 2, "file-path": "`+file+`"}`, r.out)
}

func TestRegisterServerDNSMappings_SaysWhatItCannotRead(t *testing.T) {
	t.Parallel()
	r := run(t, &fakeBroker{}, "register-server-dns-mappings")
	require.Equal(t, 2, r.code)
	require.Contains(t, r.errors, "option --file-path is required")
	r = run(t, &fakeBroker{}, "register-server-dns-mappings", "--file-path", filepath.Join(t.TempDir(), "none"))
	require.Equal(t, 1, r.code)
	require.Contains(t, r.errors, "no such file")
	r = run(t, &fakeBroker{}, "register-server-dns-mappings", "--file-path", "/dev/zero")
	require.Equal(t, 1, r.code)
	require.Contains(t, r.errors, "larger than")
}

func TestDescribeServerDNSMappings_PrintsTheVendorsForm(t *testing.T) {
	t.Parallel()
	require.Equal(t, result{0, "[ ]\n", ""}, run(t, &fakeBroker{}, "describe-server-dns-mappings"))
	broker := &fakeBroker{mappings: []adminclient.DNSMapping{
		{ServerIDType: "Id", ServerID: "192.168.0.100", DNSNames: adminclient.DNSNames{Internal: "internal1", External: "external1"}},
		{ServerIDType: "Ip", ServerID: "192.168.0.101", DNSNames: adminclient.DNSNames{Internal: "internal2"}},
	}}
	require.Equal(t, result{0, `[ {
  "serverIdType" : "Id",
  "serverId" : "192.168.0.100",
  "dnsNames" : {
    "internalDnsName" : "internal1",
    "externalDnsName" : "external1"
  }
}, {
  "serverIdType" : "Ip",
  "serverId" : "192.168.0.101",
  "dnsNames" : {
    "internalDnsName" : "internal2"
  }
} ]
`, ""}, run(t, broker, "describe-server-dns-mappings"))
	r := run(t, broker, "describe-server-dns-mappings", "--output", "json")
	require.Contains(t, r.out, `"internalDnsName": "internal2"`)
	require.Equal(t, "[]\n", run(t, &fakeBroker{}, "describe-server-dns-mappings", "--output", "json").out)
}

// Shells complete commands and options.
func TestCompletion_IsOfferedForEachShell(t *testing.T) {
	t.Parallel()
	for _, shell := range []string{"bash", "zsh", "fish", "powershell"} {
		r := run(t, &fakeBroker{}, "completion", shell)
		require.Zero(t, r.code, r.errors)
		require.Contains(t, r.out, "dcv-session-manager-broker")
	}
	r := run(t, &fakeBroker{}, "__complete", "register-")
	require.Contains(t, r.out, "register-api-client")
	require.Contains(t, run(t, &fakeBroker{}, "--help").out, "completion")
}
