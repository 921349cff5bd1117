package requirements_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"opensessionmanager/actors/requirements"
	"opensessionmanager/messages"
)

func linuxServer() *messages.ServerView {
	return &messages.ServerView{
		Id: "server-1",
		Facts: &messages.ServerFacts{
			Hostname:     "ip-10-0-0-1",
			Ip:           "10.0.0.1",
			DcvVersion:   "2024.0.18131",
			AgentVersion: "2024.0.781",
			Os: &messages.Os{
				Family: "linux", Name: "Amazon Linux", Version: "2", KernelVersion: "4.14.203-156.332.amzn2.x86_64",
			},
			Cpu: &messages.Cpu{
				Vendor: "GenuineIntel", ModelName: "Xeon", Architecture: "x86_64", NumberOfCpus: 4, PhysicalCoresPerCpu: 2,
			},
			Aws: &messages.Aws{
				Region: "us-west-2b", Ec2InstanceType: "t2.large", Ec2InstanceId: "i-0123", Ec2ImageId: "ami-9",
			},
			MemoryTotalBytes:             2 << 30,
			Tags:                         map[string]string{"color": "pink", "name": "o'neil", "empty": "", "n": "10", "v": "1.10"},
			MaxVirtualSessions:           10,
			MaxConcurrentSessionsPerUser: -1,
		},
		Load: &messages.ServerLoad{MemoryUsedBytes: 1 << 30, LoadOneMinute: 0.1},
	}
}

func TestMatches(t *testing.T) {
	t.Parallel()
	for input, want := range map[string]bool{
		"":                     true,
		"tag:color = 'pink'":   true,
		"tag:color = 'Pink'":   false,
		"tag:color != 'pink'":  false,
		"tag:color != 'red'":   true,
		"tag:color := 'in'":    true,
		"tag:color := ''":      true,
		"tag:color := 'IN'":    false,
		"tag:name = 'o''neil'": true,
		"tag:empty = ''":       true,

		// What is missing makes every comparison false, != included.
		"tag:none = ''":                   false,
		"tag:none != 'a'":                 false,
		"not tag:none = 'a'":              true,
		"server:Host.Os.BuildNumber != 1": false,
		"server:Host.Os.BuildNumber = ''": false,

		// Tags are text; a number compares with what reads as one.
		"tag:n = 10":       true,
		"tag:n = 1e1":      true,
		"tag:n = '10.0'":   false,
		"tag:n > '9'":      true,
		"tag:n >= 10":      true,
		"tag:n < 10":       false,
		"tag:color = 10":   false,
		"tag:color != 10":  false,
		"tag:empty < 1":    false,
		"tag:color > 'a'":  true,
		"tag:color <= 'p'": false,
		"tag:v < '1.9'":    true,

		// Numbers.
		"server:Host.CpuInfo.NumberOfCpus >= 2":     true,
		"server:Host.CpuInfo.NumberOfCpus = '4'":    true,
		"server:Host.CpuInfo.NumberOfCpus = 'four'": false,
		"server:Host.CpuInfo.NumberOfCpus != 'x'":   false,
		"server:Host.CpuInfo.NumberOfCpus != 5":     true,
		"server:Host.CpuInfo.NumberOfCpus < +4.5":   true,
		"server:Host.CpuInfo.NumberOfCpus := '4'":   true,
		"server:Host.Memory.TotalBytes > 1024E6":    true,
		"server:Host.Memory.UsedBytes = 1073741824": true,
		"server:Host.Swap.TotalBytes = 0":           true,
		"server:Host.CpuLoadAverage.OneMinute=0.1":  true,
		"server:Host.CpuLoadAverage.OneMinute<=-1":  false,

		// Properties.
		"server:Id = 'server-1'":                           true,
		"server:Hostname := '10-0'":                        true,
		"server:Version > '2024'":                          true,
		"server:SessionManagerAgentVersion = '2024.0.781'": true,
		"server:Host.Os.Family = 'linux'":                  true,
		"server:Host.Os.Version = 2":                       true,
		"server:Host.Aws.Ec2InstanceType := 't2'":          true,
		"server:Host.Aws.Ec2InstanceId = 'i-0123'":         true,
		"server:Host.CpuInfo.Vendor = 'GenuineIntel'":      true,
		"server:Host.Aws.Region = 'us-west-2'":             false,
		"tag:dcv:max-virtual-sessions = '10'":              true,
		"tag:dcv:max-virtual-sessions >= 8":                true,
		"tag:dcv:os-family = 'linux'":                      true,
		"tag:dcv:max-concurrent-sessions-per-user = '-1'":  true,
		"tag:dcv:made-up = ''":                             false,

		// Precedence: not, and, or.
		"tag:color='pink' or tag:color='x' and tag:color='y'":   true,
		"(tag:color='pink' or tag:color='x') and tag:color='y'": false,
		"not tag:color='x' and tag:color='pink'":                true,
		"not (tag:color='pink' or tag:color='x')":               false,
	} {
		e, err := requirements.Parse(input)
		require.NoError(t, err, input)
		require.Equal(t, want, e.Matches(linuxServer()), input)
		require.Equal(t, want, e.Explain(linuxServer()) == "", input)
	}
}

func TestMatches_AServerThatSaidNothingYet(t *testing.T) {
	t.Parallel()
	for _, name := range requirements.Properties() {
		e, err := requirements.Parse(name + " >= '0' or " + name + " != 'x' or " + name + " := ''")
		require.NoError(t, err)
		require.False(t, e.Matches(&messages.ServerView{}), name)
		require.False(t, e.Matches(nil), name)
	}
	require.True(t, (*requirements.Expr)(nil).Matches(nil))
}

// C24: what a host's tag files say about itself never beats what it is.
func TestMatches_LiveFactsBeatStaleTagFiles(t *testing.T) {
	t.Parallel()
	v := linuxServer()
	v.Facts.Tags["dcv:os-family"] = "windows"
	e, err := requirements.Parse("tag:dcv:os-family = 'windows'")
	require.NoError(t, err)
	require.False(t, e.Matches(v))
}

// N1: which part of a requirement a server fails.
func TestExplain_NamesTheFirstFailingPart(t *testing.T) {
	t.Parallel()
	for input, want := range map[string]string{
		"tag:color='pink' and tag:n > 11 and tag:n > 12": "tag:n > 11",
		"tag:color='pink' and (tag:n > 11 or tag:n < 2)": "tag:n > 11 or tag:n < 2",
		"tag:n = 1 or tag:n = 2":                         "tag:n = 1 or tag:n = 2",
		"NOT tag:n = 10":                                 "not tag:n = 10",
	} {
		e, err := requirements.Parse(input)
		require.NoError(t, err)
		require.Equal(t, want, e.Explain(linuxServer()), input)
	}
}

func TestRequired_OnlyWhatEveryMatchNeeds(t *testing.T) {
	t.Parallel()
	type eq = requirements.Equality
	for input, want := range map[string][]eq{
		"":                          nil,
		"tag:idea_session_id = 'x'": {{Key: "tag:idea_session_id", Value: "x"}},
		"(tag:a='1' and (server:Id='2' and not tag:b='3'))": {{Key: "tag:a", Value: "1"}, {Key: "server:Id", Value: "2"}},
		"server:Host.Aws.Ec2InstanceId='i' and server:Hostname='h' and server:Version='v'": {
			{Key: "server:Host.Aws.Ec2InstanceId", Value: "i"}, {Key: "server:Hostname", Value: "h"}},
		"tag:a='1' or tag:b='2'": nil,
		"tag:a = 1":              nil, // compares as a number: '1.0' would do as well
		"tag:a != '1'":           nil,
	} {
		e, err := requirements.Parse(input)
		require.NoError(t, err)
		require.Equal(t, want, e.Required(), input)
	}
	require.Nil(t, (*requirements.Expr)(nil).Required())
}

func TestMatches_DoesNotAllocate(t *testing.T) {
	v := linuxServer()
	e, err := requirements.Parse("tag:color = 'pink' and tag:n > 9 and tag:v < '1.9' and " +
		"server:Host.CpuInfo.NumberOfCpus >= 2 and not server:Host.Os.Name := 'Windows' and " +
		"server:Host.CpuLoadAverage.OneMinute < 4 and tag:dcv:max-virtual-sessions > '1'")
	require.NoError(t, err)
	require.True(t, e.Matches(v))
	require.Zero(t, testing.AllocsPerRun(100, func() { e.Matches(v) }))
}

func BenchmarkMatches(b *testing.B) {
	v := linuxServer()
	e, err := requirements.Parse("tag:color = 'pink' and server:Host.CpuInfo.NumberOfCpus >= 2 and server:Host.Os.Family = 'linux'")
	require.NoError(b, err)
	b.ReportAllocs()
	for b.Loop() {
		e.Matches(v)
	}
}

func BenchmarkParse(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		_, _ = requirements.Parse("tag:idea_session_id = '6ba7b810-9dad-11d1-80b4-00c04fd430c8'")
	}
}
