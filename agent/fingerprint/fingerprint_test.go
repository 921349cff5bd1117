package fingerprint

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"opensessionmanager/internal/agentproto"
	"opensessionmanager/messages"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

func TestCollector_DescribesThisMachine(t *testing.T) {
	t.Parallel()
	c := New(Config{Tags: map[string]string{"a": "b"}, Logger: quiet()})
	facts := c.Facts(t.Context())
	require.NotEmpty(t, facts.GetHostname())
	require.Equal(t, facts.GetHostname(), facts.GetDefaultDnsName())
	require.NotEmpty(t, facts.GetIp())
	require.Positive(t, facts.GetMemoryTotalBytes())
	require.Positive(t, facts.GetCpu().GetNumberOfCpus())
	require.Equal(t, family(runtime.GOOS), facts.GetOs().GetFamily())
	require.NotEmpty(t, facts.GetOs().GetName())
	require.Equal(t, "b", facts.GetTags()["a"])
	require.Nil(t, facts.GetAws())
	require.Same(t, facts, c.Facts(t.Context()), "unchanged facts are the same facts")
	load := c.Load(t.Context())
	require.Positive(t, load.GetMemoryUsedBytes())
	require.NotEmpty(t, BootID(t.Context()))
	require.Equal(t, BootID(t.Context()), BootID(t.Context()))
}

// metadataService answers as the EC2 instance metadata service, version 2.
func metadataService(t *testing.T) string {
	mux := http.NewServeMux()
	mux.HandleFunc("PUT /latest/api/token", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X-Aws-Ec2-Metadata-Token-Ttl-Seconds", "21600")
		fmt.Fprint(w, "token")
	})
	mux.HandleFunc("GET /latest/dynamic/instance-identity/document", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, `{"availabilityZone":"us-west-2b","region":"us-west-2","instanceId":"i-1","instanceType":"g4dn.xlarge","imageId":"ami-1"}`)
	})
	mux.HandleFunc("GET /latest/meta-data/local-hostname", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, "ip-10-0-0-1.us-west-2.compute.internal other.name\n")
	})
	s := httptest.NewServer(mux)
	t.Cleanup(s.Close)
	return s.URL
}

// C3, aws/res issue 134: on EC2 the DNS name comes from the metadata.
func TestCollector_OnEC2(t *testing.T) {
	t.Parallel()
	c := New(Config{Metadata: EC2(metadataService(t)), Logger: quiet()})
	facts := c.Facts(t.Context())
	require.Equal(t, "ip-10-0-0-1.us-west-2.compute.internal", facts.GetDefaultDnsName())
	require.Equal(t, "us-west-2b", facts.GetAws().GetRegion())
	require.Equal(t, "i-1", facts.GetAws().GetEc2InstanceId())
	require.Equal(t, "g4dn.xlarge", facts.GetAws().GetEc2InstanceType())
	require.Equal(t, "ami-1", facts.GetAws().GetEc2ImageId())
}

func TestCollector_AsksTheCloudOnceIfNobodyAnswers(t *testing.T) {
	t.Parallel()
	asked := 0
	c := New(Config{Logger: quiet(), Metadata: func(context.Context) (*Instance, error) {
		asked++
		return nil, errors.New("no route")
	}})
	c.askCloud = 1 // wherever this test runs
	for range 3 {
		require.Nil(t, c.Facts(t.Context()).GetAws())
	}
	require.Equal(t, 1, asked)
}

func TestChoose_Interface(t *testing.T) {
	t.Parallel()
	nics := []nic{
		{name: "lo", loopback: true, addresses: parse("127.0.0.1", "::1")},
		{name: "eth0", addresses: parse("fe80::1", "2001:db8::1", "10.0.0.1", "10.0.0.2")},
		{name: "eth1", addresses: parse("192.168.0.1")},
		{name: "empty"},
	}
	for _, c := range []struct {
		preferred string
		fold      bool
		want      string
	}{
		{"", false, "10.0.0.1"},
		{"eth1", false, "192.168.0.1"},
		{"ETH1", false, "10.0.0.1"},
		{"ETH1", true, "192.168.0.1"},
		{"empty", false, "10.0.0.1"},
		{"gone", false, "10.0.0.1"},
	} {
		ip, all := choose(nics, c.preferred, c.fold)
		require.Equal(t, c.want, ip, c.preferred)
		require.Equal(t, []string{"2001:db8::1", "10.0.0.1", "10.0.0.2", "192.168.0.1"}, all)
	}
	ip, all := choose(nics, "lo", false)
	require.Equal(t, "127.0.0.1", ip, "the loopback interface counts if it is named")
	require.Equal(t, []string{"127.0.0.1", "::1", "2001:db8::1", "10.0.0.1", "10.0.0.2", "192.168.0.1"}, all)
	ip, all = choose(nics[:1], "", false)
	require.Equal(t, "127.0.0.1", ip)
	require.Empty(t, all)
}

func parse(list ...string) (all []netip.Addr) {
	for _, s := range list {
		all = append(all, netip.MustParseAddr(s))
	}
	return all
}

func TestGraphics_FromTheBus(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	for name, fields := range map[string][3]string{
		"0000:00:1e.0": {"0x030200", "0x10de", "0x1eb8"},
		"0000:00:03.0": {"0x020000", "0x1d0f", "0xec20"},
	} {
		require.NoError(t, os.Mkdir(filepath.Join(folder, name), 0o755))
		for i, file := range []string{"class", "vendor", "device"} {
			require.NoError(t, os.WriteFile(filepath.Join(folder, name, file), []byte(fields[i]+"\n"), 0o600))
		}
	}
	gpus := pciGraphics(folder)
	require.Len(t, gpus, 1)
	require.Equal(t, "NVIDIA Corporation", gpus[0].GetVendor())
	require.Equal(t, "PCI device 0x10de:0x1eb8", gpus[0].GetModelName())
	require.Len(t, parseNvidia([]byte("Tesla M60\nTesla M60\n\n")), 2)
}

func TestSystem_Words(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "os-release")
	require.NoError(t, os.WriteFile(file, []byte("PRETTY_NAME=\"x\"\nNAME=\"Amazon Linux\"\nVERSION_ID='2'\n"), 0o600))
	name, version := osRelease(file)
	require.Equal(t, "Amazon Linux 2", name+" "+version)
	version, build := windowsVersion("10.0.14393.2273 Build 14393.2273")
	require.Equal(t, "10.0.14393 14393", version+" "+build)
	require.Equal(t, "macos", family("darwin"))
}

func TestQueryUser_ReadsTheTable(t *testing.T) {
	t.Parallel()
	require.Equal(t, []string{"administrator", "bob"}, queryUser([]byte(
		" USERNAME              SESSIONNAME        ID  STATE   IDLE TIME  LOGON TIME\r\n"+
			">administrator         rdp-tcp#0           2  Active          .  1/1/2025 1:00 PM\r\n"+
			" bob                                       3  Disc          1:00 1/1/2025 1:00 PM\r\n")))
	require.Empty(t, queryUser(nil))
}

// Contract section 7: order, overriding, kinds of values, and what is ignored.
func TestReadTags_Rules(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	write := func(name, content string) {
		require.NoError(t, os.WriteFile(filepath.Join(folder, name), []byte(content), 0o600))
	}
	write("10-image.toml", "pool=\"image\"\nsize=4\ngpu=true\nratio=1.5\n")
	write("20-live.toml", "pool=\"live\"\n\"dcv:max-virtual-sessions\"=\"99\"\n[table]\nx=1\n")
	write("15-broken.toml", "pool=\"broken\n")
	write("30-large.toml", "x=\""+strings.Repeat("y", mostTagFile)+"\"")
	write("40-odd.toml", "long=\""+strings.Repeat("y", longestTagValue+1)+"\"\nlist=[1]\n")
	write("ignored.conf", "other=\"x\"")
	require.NoError(t, os.Mkdir(filepath.Join(folder, "50-folder.toml"), 0o755))
	var log bytes.Buffer
	tags := ReadTags(folder, slog.New(slog.NewTextHandler(&log, nil)))
	require.Equal(t, map[string]string{"pool": "live", "size": "4", "gpu": "true", "ratio": "1.5"}, tags)
	for _, told := range []string{"15-broken.toml", "30-large.toml", "50-folder.toml", "dcv:max-virtual-sessions", "tag=table", "tag=long", "tag=list", "former_value=image"} {
		require.Contains(t, log.String(), told)
	}
	require.Empty(t, ReadTags(filepath.Join(folder, "missing"), quiet()))
}

func TestReadTags_AreBounded(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	for file := range mostTagFiles + 5 {
		var content strings.Builder
		for i := range 10 {
			fmt.Fprintf(&content, "k%03d_%d=%d\n", file, i, i)
		}
		require.NoError(t, os.WriteFile(filepath.Join(folder, fmt.Sprintf("%03d.toml", file)), []byte(content.String()), 0o600))
	}
	require.Len(t, ReadTags(folder, quiet()), mostTags)
}

func FuzzParseTags(f *testing.F) {
	f.Add([]byte("a=\"b\"\nc=1\nd=true\n[x]\ny=1979-05-27T07:32:00Z\n"))
	f.Add([]byte("\"dcv:x\"='y'\nz=nan"))
	f.Fuzz(func(t *testing.T, content []byte) {
		tags, err := parseTags(content, func(string, string) {})
		if err != nil {
			return
		}
		for key, value := range tags {
			require.False(t, strings.HasPrefix(key, "dcv:"))
			require.LessOrEqual(t, len(key), longestTagKey)
			require.LessOrEqual(t, len(value), longestTagValue)
		}
		_, err = agentproto.Encode(&messages.AgentFrame{Body: &messages.AgentFrame_SessionsUpdateRequest{
			SessionsUpdateRequest: &messages.SessionsUpdateRequest{Facts: &messages.ServerFacts{Tags: tags}}}})
		require.NoError(t, err)
	})
}
