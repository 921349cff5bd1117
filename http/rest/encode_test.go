package rest

import (
	stdjson "encoding/json"
	"flag"
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"opensessionmanager/actors/roster"
	"opensessionmanager/messages"
)

var rewrite = flag.Bool("rewrite", false, "write the golden files anew")

// golden compares an answer, indented for people, with a file.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	value := jsontext.Value(append([]byte{}, got...))
	require.NoError(t, value.Indent())
	path := filepath.Join("testdata", name)
	if *rewrite {
		require.NoError(t, os.WriteFile(path, append(value, '\n'), 0o644))
	}
	want, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, string(want), string(value)+"\n")
}

func TestEncode_GoldenFiles(t *testing.T) {
	t.Parallel()
	builder := roster.NewBuilder()
	windows := linuxServer("win")
	windows.Facts.Os = &messages.Os{Family: "windows", Name: "Windows Server 2016 Datacenter", Version: "10.0.14393", BuildNumber: "14393"}
	windows.Facts.Aws, windows.Facts.Gpus, windows.Facts.WebUrlPath = nil, nil, ""
	windows.Availability = messages.Availability_AVAILABILITY_UNAVAILABLE
	windows.UnavailabilityReason = messages.UnavailabilityReason_UNAVAILABILITY_REASON_EXISTING_LOGGED_IN_USER
	bare := &messages.ServerView{Id: "bare", Version: 1}
	builder.PutServer(versioned(linuxServer("lin")))
	builder.PutServer(versioned(windows))
	builder.PutServer(bare)

	session := readySession("s-1", `CORP\barbara`, "lin")
	session.MaxConcurrentClients = new(int64(4))
	session.LastDisconnectionUnixMs, session.NumOfConnections, session.StorageRoot = 1_601_979_399_000, 2, "%home%"
	session.Version = 1
	external := &messages.SessionView{Id: "console", Owner: "ubuntu", Type: messages.SessionType_SESSION_TYPE_CONSOLE,
		State: messages.SessionState_SESSION_STATE_UNKNOWN, StateReason: "The agent of the server does not answer", Version: 1}
	builder.PutSession(session)
	builder.PutSession(external)

	snapshot := builder.Snapshot()
	for _, id := range []string{"s-1", "console"} {
		entry, _ := snapshot.Session(id)
		golden(t, "session-"+id+".json", appendSession(nil, snapshot, entry))
	}
	for _, id := range []string{"lin", "win", "bare"} {
		entry, _ := snapshot.Server(id)
		golden(t, "server-"+id+".json", appendServer(nil, entry))
	}
}

func versioned(v *messages.ServerView) *messages.ServerView {
	v.Version = 1
	return v
}

// text draws what agents and clients might send, bytes that are not UTF-8 included.
var text = rapid.OneOf(rapid.Just(""), rapid.String(), rapid.StringMatching(`[a-z"\\/<>&\x00-\x1f]{0,8}`),
	rapid.Map(rapid.SliceOfN(rapid.Byte(), 0, 6), func(b []byte) string { return string(b) }))

func drawSession(t *rapid.T, server string) *messages.SessionView {
	v := &messages.SessionView{
		Id: "s" + text.Draw(t, "id"), Name: text.Draw(t, "name"), Owner: text.Draw(t, "owner"),
		Type:        messages.SessionType(rapid.Int32Range(0, 3).Draw(t, "type")),
		State:       messages.SessionState(rapid.Int32Range(0, 6).Draw(t, "state")),
		Substate:    messages.SessionSubstate(rapid.Int32Range(0, 3).Draw(t, "substate")),
		StateReason: text.Draw(t, "reason"), ReasonCode: text.Draw(t, "code"),
		CreationUnixMs: rapid.Int64().Draw(t, "created"), LastDisconnectionUnixMs: rapid.Int64Range(-5, maxUnixMs+5).Draw(t, "left"),
		NumOfConnections: rapid.Int64().Draw(t, "connections"), StorageRoot: text.Draw(t, "storage"), ServerId: server, Version: 1,
	}
	if rapid.Bool().Draw(t, "limited") {
		v.MaxConcurrentClients = new(rapid.Int64().Draw(t, "clients"))
	}
	return v
}

func drawServer(t *rapid.T) *messages.ServerView {
	v := &messages.ServerView{
		Id: "v" + text.Draw(t, "server"), Version: 1,
		Availability:         messages.Availability(rapid.Int32Range(0, 3).Draw(t, "availability")),
		UnavailabilityReason: messages.UnavailabilityReason(rapid.Int32Range(0, 7).Draw(t, "why")),
		ConsoleSessions:      rapid.Int32().Draw(t, "console"), VirtualSessions: rapid.Int32().Draw(t, "virtual"),
	}
	if rapid.Bool().Draw(t, "facts") {
		v.Facts = &messages.ServerFacts{
			Hostname: text.Draw(t, "host"), Ip: text.Draw(t, "ip"), DefaultDnsName: text.Draw(t, "dns"), WebUrlPath: text.Draw(t, "web"),
			DcvVersion: text.Draw(t, "dcv"), AgentVersion: text.Draw(t, "agent"), MemoryTotalBytes: rapid.Int64().Draw(t, "memory"),
			Tags: rapid.MapOf(text, text).Draw(t, "tags"), MaxVirtualSessions: rapid.Int32().Draw(t, "max"),
		}
		for range rapid.IntRange(0, 3).Draw(t, "endpoints") {
			v.Facts.Endpoints = append(v.Facts.Endpoints, &messages.Endpoint{
				IpAddress: text.Draw(t, "address"), Port: rapid.Int32().Draw(t, "port"), WebUrlPath: text.Draw(t, "path"),
				Protocol: rapid.SampledFrom([]string{"HTTP", "QUIC", ""}).Draw(t, "protocol"),
			})
		}
		if rapid.Bool().Draw(t, "parts") {
			v.Facts.Os = &messages.Os{Family: text.Draw(t, "os"), BuildNumber: text.Draw(t, "build")}
			v.Facts.Aws = &messages.Aws{Region: text.Draw(t, "region"), Ec2ImageId: text.Draw(t, "image")}
			v.Facts.Cpu = &messages.Cpu{Vendor: text.Draw(t, "vendor"), NumberOfCpus: rapid.Int32().Draw(t, "cpus")}
			v.Facts.Gpus = []*messages.Gpu{{ModelName: text.Draw(t, "gpu")}, {}}
		}
	}
	if rapid.Bool().Draw(t, "load") {
		v.Load = &messages.ServerLoad{
			LoadOneMinute: rapid.Float32().Draw(t, "load1"), LoadFiveMinutes: float32(math.NaN()), LoadFifteenMinutes: float32(math.Inf(-1)),
			MemoryUsedBytes: rapid.Int64().Draw(t, "used"), LoggedInUsers: rapid.SliceOfN(text, 0, 2).Draw(t, "users"),
		}
	}
	return v
}

// The hand-written encoder says what the library would say of the wire structs,
// byte for byte, and what it says is JSON to everybody.
func TestEncode_EqualsTheLibrary(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		builder := roster.NewBuilder()
		server := drawServer(t)
		session := drawSession(t, server.Id)
		builder.PutServer(server)
		builder.PutSession(session)
		snapshot := builder.Snapshot()
		sessionEntry, _ := snapshot.Session(session.Id)
		serverEntry, _ := snapshot.Server(server.Id)

		for range 2 { // the second time from kept bytes
			equalsLibrary(t, asWireSession(session, server), appendSession([]byte("before"), snapshot, sessionEntry)[6:])
			equalsLibrary(t, asWireServer(server), appendServer([]byte("before"), serverEntry)[6:])
		}
	})
}

func equalsLibrary(t *rapid.T, wire any, got []byte) {
	want, err := json.Marshal(wire, jsontext.AllowInvalidUTF8(true))
	require.NoError(t, err)
	require.Equal(t, string(want), string(got))
	require.True(t, stdjson.Valid(got))
}

func TestEncode_ConcurrentReadersAgree(t *testing.T) {
	t.Parallel()
	builder := roster.NewBuilder()
	builder.PutServer(versioned(linuxServer("srv")))
	session := readySession("s", "barbara", "srv")
	session.Version = 1
	builder.PutSession(session)
	snapshot := builder.Snapshot()
	entry, _ := snapshot.Session("s")

	answers := make(chan string)
	for range 8 {
		go func() { answers <- string(appendSession(nil, snapshot, entry)) }()
	}
	first := <-answers
	for range 7 {
		require.Equal(t, first, <-answers)
	}
}
