package fleet

import (
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/asynkron/protoactor-go/remote"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"opensessionmanager/internal/certs"
	"opensessionmanager/messages"
)

// call opens a stream as another broker does.
func call(t *testing.T, f *fixture, config *tls.Config) (remote.RemotingClient, remote.Remoting_ReceiveClient, error) {
	t.Helper()
	client := dial(t, f, config)
	stream, err := client.Receive(f.introduce(t.Context()))
	return client, stream, err
}

func dial(t *testing.T, f *fixture, config *tls.Config) remote.RemotingClient {
	t.Helper()
	conn, err := grpc.NewClient(f.Address(), grpc.WithTransportCredentials(credentials.NewTLS(config)), grpc.WithDefaultCallOptions(grpc.MaxCallSendMsgSize(1<<30)))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, conn.Close()) })
	return remote.NewRemotingClient(conn)
}

// greeted is a stream on which the greetings have been exchanged.
func greeted(t *testing.T, f *fixture) remote.Remoting_ReceiveClient {
	t.Helper()
	_, stream, err := call(t, f, clientTLS(t, f.ca))
	require.NoError(t, err)
	greet(t, stream)
	return stream
}

// greet exchanges the greetings.
func greet(t *testing.T, stream remote.Remoting_ReceiveClient) {
	t.Helper()
	require.NoError(t, stream.Send(&remote.RemoteMessage{MessageType: &remote.RemoteMessage_ConnectRequest{ConnectRequest: &remote.ConnectRequest{
		ConnectionType: &remote.ConnectRequest_ServerConnection{ServerConnection: &remote.ServerConnection{SystemId: "other", Address: "127.0.0.1:1"}}}}}))
	_, err := stream.Recv()
	require.NoError(t, err)
}

// ended is the error that a stream ends with.
func ended(stream remote.Remoting_ReceiveClient) (err error) {
	for err == nil {
		_, err = stream.Recv()
	}
	return err
}

func batchOf(b *remote.MessageBatch) *remote.RemoteMessage {
	return &remote.RemoteMessage{MessageType: &remote.RemoteMessage_MessageBatch{MessageBatch: b}}
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
	ports := clientTLS(t, f.ca)
	served, err := certs.Follow(f.ca.ServerCertificate, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	ports.GetClientCertificate = served.GetClientCertificate
	for name, config := range map[string]*tls.Config{
		"no certificate":      {MinVersion: tls.VersionTLS13, InsecureSkipVerify: true},
		"another authority's": foreign,
		"the client port's":   ports,
	} {
		_, stream, err := call(t, f, config)
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
// upgrade, or bytes that make no sense, end the stream and not the process. And chapter
// 4: the library delivers anything to anybody; here only the courier is reached.
func TestPeer_WhatIsNoEnvelopeEndsOnlyItsStream(t *testing.T) {
	f := start(t, 0)
	f.ask(t, "a")
	pid, _ := f.active(messages.KindSession, "a")
	grain, door := []*actor.PID{pid}, []*actor.PID{actor.NewPID(f.Address(), courierName)}
	elsewhere := []*actor.PID{actor.NewPID("192.0.2.1:47100", courierName)}
	one := []*remote.MessageEnvelope{{}}
	for name, batch := range map[string]*remote.MessageBatch{
		"unknown type":            {TypeNames: []string{"opensessionmanager.messages.FromTheFuture"}, Targets: door, Envelopes: one},
		"a message not enveloped": {TypeNames: []string{"opensessionmanager.messages.CloseServer"}, Targets: door, Envelopes: one},
		"a stop for a grain":      {TypeNames: []string{"actor.Stop"}, Targets: grain, Envelopes: one},
		"an envelope for a grain": {TypeNames: []string{envelopeType}, Targets: grain, Envelopes: one},
		"a topology":              {TypeNames: []string{"cluster.ClusterTopology"}, Targets: []*actor.PID{actor.NewPID(f.Address(), "eventstream")}, Envelopes: one},
		"for somebody else":       {TypeNames: []string{envelopeType}, Targets: elsewhere, Envelopes: one},
		"broken bytes":            {TypeNames: []string{envelopeType}, Targets: door, Envelopes: []*remote.MessageEnvelope{{MessageData: []byte{0xff, 0xff}}}},
		"type index":              {Targets: door, Envelopes: []*remote.MessageEnvelope{{TypeId: 7}}},
		"negative index":          {TypeNames: []string{envelopeType}, Targets: door, Envelopes: []*remote.MessageEnvelope{{Target: -1}}},
		"target index":            {TypeNames: []string{envelopeType}, Targets: door, Envelopes: []*remote.MessageEnvelope{{Target: 9}}},
		"sender index":            {TypeNames: []string{envelopeType}, Targets: door, Envelopes: []*remote.MessageEnvelope{{Sender: 3}}},
		"serializer":              {TypeNames: []string{envelopeType}, Targets: door, Envelopes: []*remote.MessageEnvelope{{SerializerId: 99}}},
	} {
		stream := greeted(t, f)
		require.NoError(t, stream.Send(batchOf(batch)), name)
		require.NotErrorIs(t, ended(stream), io.EOF, name)
		require.IsType(t, &messages.SessionClosed{}, f.ask(t, "a")[0], name)
	}
	require.EqualValues(t, 1, f.made.Load(), "the grain was not reached")
}

func TestPeer_WhoDoesNotSayItsVersionIsRefused(t *testing.T) {
	f := start(t, 0)
	for name, said := range map[string][]string{
		"nothing": nil, "no number": {protocolKey, "new", oldestKey, "old"}, "upside down": {protocolKey, "1", oldestKey, "2"},
		"twice": {protocolKey, "1", protocolKey, "1", oldestKey, "1"}, "too long": {protocolKey, strings.Repeat("1", 1000), oldestKey, "1"},
	} {
		stream, err := dial(t, f, clientTLS(t, f.ca)).Receive(metadata.AppendToOutgoingContext(t.Context(), said...))
		require.NoError(t, err)
		require.Equal(t, codes.FailedPrecondition, status.Code(ended(stream)), name)
	}
}

// A frame beyond the limit is refused before it is read.
func TestPeer_HugeFrameEndsOnlyItsStream(t *testing.T) {
	f := start(t, 0)
	stream := greeted(t, f)
	_ = stream.Send(batchOf(&remote.MessageBatch{TypeNames: []string{envelopeType}, Targets: []*actor.PID{actor.NewPID(f.Address(), courierName)},
		Envelopes: []*remote.MessageEnvelope{{MessageData: make([]byte, largestMessage+1)}}}))
	require.Equal(t, codes.ResourceExhausted, status.Code(ended(stream)))
	require.IsType(t, &messages.SessionClosed{}, f.ask(t, "a")[0])
}

// Who has the certificate and speaks nonsense is only disconnected.
func TestPeer_NonsenseIsOnlyDisconnected(t *testing.T) {
	f := start(t, 0)
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.NewChaCha8([32]byte(fmt.Appendf(nil, "%032d", seed)))
	for begin, config := range map[string]*tls.Config{"": nil, "\x16\x03\x01\x02\x00": nil, "x": clientTLS(t, f.ca), "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n": clientTLS(t, f.ca)} {
		for range 20 {
			conn, err := net.Dial("tcp", f.Address())
			require.NoError(t, err)
			if config != nil {
				config.NextProtos = []string{"h2"}
				conn = tls.Client(conn, config)
			}
			garbage := make([]byte, 5000)
			_, _ = random.Read(garbage)
			_, _ = conn.Write(append([]byte(begin), garbage...))
			_, err = io.Copy(io.Discard, conn) // until it is closed
			require.NotErrorIs(t, err, os.ErrDeadlineExceeded)
			_ = conn.Close()
		}
	}
	require.IsType(t, &messages.SessionClosed{}, f.ask(t, "a")[0])
}

// Whoever connects and says nothing is not kept for gRPC's two minutes.
func TestPeer_ASilentConnectionIsClosed(t *testing.T) {
	f := start(t, 0)
	conn, err := net.Dial("tcp", f.Address())
	require.NoError(t, err)
	defer func() { _ = conn.Close() }()
	require.NoError(t, conn.SetReadDeadline(time.Now().Add(60*time.Second)))
	_, err = conn.Read(make([]byte, 1))
	require.Error(t, err)
	require.NotErrorIs(t, err, os.ErrDeadlineExceeded)
}

func TestPeer_DiagnosticsAreNotOffered(t *testing.T) {
	f := start(t, 0)
	client, _, err := call(t, f, clientTLS(t, f.ca))
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
