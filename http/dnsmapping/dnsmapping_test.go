package dnsmapping_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"opensessionmanager/http/dnsmapping"
	"opensessionmanager/persistence"
	"opensessionmanager/persistence/faulty"
	"opensessionmanager/persistence/memory"
)

// Contract section 10: the types of the file, and those that the guide's text has.
func TestParse_TakesTheSpellingsOfTheGuide(t *testing.T) {
	t.Parallel()
	for spelling, want := range map[string]dnsmapping.Type{
		"Ip": "Ip", "ipAddress": "Ip", "IP": "Ip", "Id": "Id", "agentServerId": "Id", "id": "Id",
		"Host.Aws.Ec2InstanceId": "Host.Aws.Ec2InstanceId", "instanceId": "Host.Aws.Ec2InstanceId", "host.aws.EC2InstanceId": "Host.Aws.Ec2InstanceId",
	} {
		for _, text := range []string{
			`[{"ServerIdType":"` + spelling + `","ServerId":"s","DnsNames":{"InternalDnsName":"a.example.","ExternalDnsName":"b-1.example"}}]`,
			` [ {"serverIdType":"` + spelling + `","serverId":"s","dnsNames":{"internalDnsName":"a.example.","externalDnsName":"b-1.example"}} ] `,
		} {
			got, err := dnsmapping.Parse([]byte(text))
			require.NoError(t, err, spelling)
			require.Equal(t, []dnsmapping.Mapping{{Type: want, ServerID: "s", Names: dnsmapping.Names{Internal: "a.example.", External: "b-1.example"}}}, got)
		}
	}
}

func TestParse_SaysWhatIsWrongAndWhere(t *testing.T) {
	t.Parallel()
	good := `{"ServerIdType":"Ip","ServerId":"1.2.3.4","DnsNames":{"InternalDnsName":"a"}}`
	for text, want := range map[string]string{
		"":                                     "it must be a JSON list",
		"{}":                                   "it must be a JSON list",
		"[]":                                   "it has 0 mappings",
		"[" + good:                             "it must be a JSON list",
		"[" + good + "] x":                     "something after the list",
		"\xff":                                 "not UTF-8",
		"[" + good + `,{"ServerIdType":"Ip"}]`: "mapping 2 needs ServerIdType, ServerId and DnsNames",
		"[" + good + "," + good + "]":          `mapping 2: the server "1.2.3.4" is there twice`,
		strings.ReplaceAll("["+good+"]", `"Ip"`, `"Mac"`):          `ServerIdType is "Mac"; write Ip, Id or Host.Aws.Ec2InstanceId`,
		strings.ReplaceAll("["+good+"]", `"a"`, `"-a"`):            `"-a" is not a DNS name`,
		strings.ReplaceAll("["+good+"]", `"a"`, `"a b"`):           `"a b" is not a DNS name`,
		strings.ReplaceAll("["+good+"]", `"a"`, `"a..b"`):          `"a..b" is not a DNS name`,
		strings.ReplaceAll("["+good+"]", `"a"`, `"http://x/"`):     `is not a DNS name`,
		strings.ReplaceAll("["+good+"]", `1.2.3.4`, `a\u0000b`):    "ServerId must have",
		strings.ReplaceAll("["+good+"]", `1.2.3.4`, ``):            "ServerId must have",
		strings.ReplaceAll("["+good+"]", `"ServerId"`, `"Server"`): `unknown field "Server"`,
		strings.Repeat(" ", dnsmapping.MaxBytes+1):                 "larger than",
		strings.Repeat("[", 100_000):                               "it must be a JSON list",
	} {
		_, err := dnsmapping.Parse([]byte(text))
		require.ErrorIs(t, err, dnsmapping.ErrFile)
		require.ErrorContains(t, err, want)
		require.Less(t, len(err.Error()), 600)
	}
}

func TestMappings_TheLastFileWinsServerByServer(t *testing.T) {
	t.Parallel()
	store := memory.New()
	mappings := dnsmapping.New(store)
	one := dnsmapping.Mapping{Type: dnsmapping.ByIP, ServerID: "10.0.0.1", Names: dnsmapping.Names{Internal: "one"}}
	two := dnsmapping.Mapping{Type: dnsmapping.ByID, ServerID: "10.0.0.1", Names: dnsmapping.Names{Internal: "two", External: "x"}}
	require.NoError(t, mappings.Register(t.Context(), []dnsmapping.Mapping{one, two}))
	one.Names.Internal = "other"
	require.NoError(t, dnsmapping.New(store).Register(t.Context(), []dnsmapping.Mapping{one}), "through another broker")
	got, err := mappings.Describe(t.Context())
	require.NoError(t, err)
	require.Equal(t, []dnsmapping.Mapping{two, one}, got)

	two.Names = dnsmapping.Names{}
	require.NoError(t, mappings.Register(t.Context(), []dnsmapping.Mapping{two}), "without names it is removed")
	got, err = mappings.Describe(t.Context())
	require.NoError(t, err)
	require.Equal(t, []dnsmapping.Mapping{one}, got)
}

func TestMappings_AreReadInPages(t *testing.T) {
	t.Parallel()
	mappings := dnsmapping.New(memory.New())
	var all []dnsmapping.Mapping
	for i := range 1200 {
		all = append(all, dnsmapping.Mapping{Type: dnsmapping.ByID, ServerID: fmt.Sprintf("s-%04d", i), Names: dnsmapping.Names{Internal: "n"}})
	}
	require.NoError(t, mappings.Register(t.Context(), all))
	got, err := mappings.Describe(t.Context())
	require.NoError(t, err)
	require.Equal(t, all, got)
}

func TestMappings_AStoreThatFailsIsReported(t *testing.T) {
	t.Parallel()
	mappings := dnsmapping.New(faulty.New(memory.New(), faulty.Config{Decide: func(faulty.Call) faulty.Fault { return faulty.Unavailable }}))
	_, err := mappings.Describe(t.Context())
	require.ErrorIs(t, err, persistence.ErrUnavailable)
	err = mappings.Register(t.Context(), []dnsmapping.Mapping{{Type: dnsmapping.ByIP, ServerID: "s"}})
	require.ErrorIs(t, err, persistence.ErrUnavailable)
}

// A write whose outcome is unknown is made again until it is known.
func TestMappings_UncertainWritesAreRepeated(t *testing.T) {
	t.Parallel()
	store := faulty.New(memory.New(), faulty.Config{Decide: func(c faulty.Call) faulty.Fault {
		if c.Method == faulty.Save && c.Nth == 0 {
			return faulty.AnswerLost
		}
		return faulty.None
	}})
	want := []dnsmapping.Mapping{{Type: dnsmapping.ByID, ServerID: "a", Names: dnsmapping.Names{Internal: "n"}}}
	require.NoError(t, dnsmapping.New(store).Register(t.Context(), want))
	got, err := dnsmapping.New(store).Describe(t.Context())
	require.NoError(t, err)
	require.Equal(t, want, got)
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(`[{"ServerIdType":"Ip","ServerId":"1.2.3.4","DnsNames":{"InternalDnsName":"a"}}]`))
	f.Fuzz(func(t *testing.T, data []byte) {
		mappings, err := dnsmapping.Parse(data)
		if err != nil {
			return
		}
		require.NotEmpty(t, mappings)
		require.NoError(t, dnsmapping.New(memory.New()).Register(t.Context(), mappings), "what is accepted can be stored")
	})
}
