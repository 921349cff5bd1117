package fleet

import (
	"crypto/tls"
	"log/slog"
	"net"
	"strconv"
	"testing"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/asynkron/protoactor-go/remote"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"

	"opensessionmanager/internal/certs"
	"opensessionmanager/messages"
)

// peer opens a stream as another broker does.
func peer(t *testing.T, f *fixture, config *tls.Config) (remote.RemotingClient, remote.Remoting_ReceiveClient, error) {
	t.Helper()
	conn, err := grpc.NewClient(f.Address(), grpc.WithTransportCredentials(credentials.NewTLS(config)))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, conn.Close()) })
	client := remote.NewRemotingClient(conn)
	stream, err := client.Receive(t.Context())
	return client, stream, err
}

func clientTLS(t *testing.T, ca *certs.Authority) *tls.Config {
	t.Helper()
	live, err := certs.Follow(ca.PeerCertificate, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	return ca.PeerClient(live)
}

// engine.md chapter 4: whoever may speak on the port controls the broker.
func TestPeer_WithoutACertificateOfTheAuthorityIsTurnedAway(t *testing.T) {
	f := start(t, 0)
	stranger, err := certs.Ensure(certs.Config{Dir: t.TempDir(), Logger: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	foreign := clientTLS(t, stranger)
	foreign.VerifyConnection = nil // it would trust us; we do not trust it
	for name, config := range map[string]*tls.Config{
		"no certificate":      {MinVersion: tls.VersionTLS13, InsecureSkipVerify: true},
		"another authority's": foreign,
	} {
		_, stream, err := peer(t, f, config)
		if err == nil {
			_, err = stream.Recv()
		}
		require.Equal(t, codes.Unavailable, status.Code(err), "%s: %v", name, err)
	}
	plain, err := net.Dial("tcp", f.Address())
	require.NoError(t, err)
	defer func() { _ = plain.Close() }()
	_, err = plain.Write([]byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"))
	require.NoError(t, err)
	one := make([]byte, 1)
	n, err := plain.Read(one)
	require.True(t, err != nil || n == 1 && one[0] == 0x15, "a TLS alert at most")
	require.IsType(t, &messages.SessionClosed{}, f.ask(t, "a")[0])
}

// engine.md pitfall 2: a message type that this broker does not know, as during an
// upgrade, or bytes that make no sense, end the stream and not the process.
func TestPeer_MessageThatCannotBeReadEndsOnlyItsStream(t *testing.T) {
	f := start(t, 0)
	f.ask(t, "a")
	pid, _ := f.lookup.active(messages.KindSession, "a")
	for name, batch := range map[string]*remote.MessageBatch{
		"unknown type":   {TypeNames: []string{"opensessionmanager.messages.FromTheFuture"}, Targets: []*actor.PID{pid}, Envelopes: []*remote.MessageEnvelope{{Target: 1}}},
		"broken bytes":   {TypeNames: []string{"opensessionmanager.messages.CloseServer"}, Targets: []*actor.PID{pid}, Envelopes: []*remote.MessageEnvelope{{Target: 1, MessageData: []byte{0xff, 0xff}}}},
		"type index":     {TypeNames: nil, Targets: []*actor.PID{pid}, Envelopes: []*remote.MessageEnvelope{{TypeId: 7, Target: 1}}},
		"target index":   {TypeNames: []string{"opensessionmanager.messages.Wake"}, Envelopes: []*remote.MessageEnvelope{{Target: 9}}},
		"serializer":     {TypeNames: []string{"opensessionmanager.messages.Wake"}, Targets: []*actor.PID{pid}, Envelopes: []*remote.MessageEnvelope{{Target: 1, SerializerId: 99}}},
		"no such target": {TypeNames: []string{"actor.Stop"}, Targets: []*actor.PID{{Address: f.Address(), Id: "nobody"}}, Envelopes: []*remote.MessageEnvelope{{Target: 1}}},
	} {
		_, stream, err := peer(t, f, clientTLS(t, f.ca))
		require.NoError(t, err)
		require.NoError(t, stream.Send(&remote.RemoteMessage{MessageType: &remote.RemoteMessage_ConnectRequest{ConnectRequest: &remote.ConnectRequest{
			ConnectionType: &remote.ConnectRequest_ServerConnection{ServerConnection: &remote.ServerConnection{SystemId: "other", Address: "127.0.0.1:1"}}}}}))
		_, err = stream.Recv() // the answer to the greeting
		require.NoError(t, err, name)
		require.NoError(t, stream.Send(&remote.RemoteMessage{MessageType: &remote.RemoteMessage_MessageBatch{MessageBatch: batch}}), name)
		require.NoError(t, stream.CloseSend())
		for err == nil {
			_, err = stream.Recv()
		}
		require.IsType(t, &messages.SessionClosed{}, f.ask(t, "a")[0], name)
	}
}

func TestPeer_DiagnosticsAreNotOffered(t *testing.T) {
	f := start(t, 0)
	client, _, err := peer(t, f, clientTLS(t, f.ca))
	require.NoError(t, err)
	_, err = client.ListProcesses(t.Context(), &remote.ListProcessesRequest{})
	require.Equal(t, codes.Unimplemented, status.Code(err))
}

func TestStart_OnATakenPortSaysSo(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer func() { _ = taken.Close() }()
	_, port, err := net.SplitHostPort(taken.Addr().String())
	require.NoError(t, err)
	number, err := strconv.Atoi(port)
	require.NoError(t, err)
	ca, err := certs.Ensure(certs.Config{Dir: t.TempDir(), Logger: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	config := clientTLS(t, ca)
	_, err = Start(NewSystem(slog.New(slog.DiscardHandler)), nil, Config{Name: "test", Logger: slog.New(slog.DiscardHandler),
		ServerTLS: config, ClientTLS: config, Host: "127.0.0.1", Port: number})
	require.ErrorContains(t, err, "fleet: start")
}
