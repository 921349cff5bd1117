package fleet

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"time"

	"github.com/asynkron/protoactor-go/remote"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"
)

// Limits of the port between brokers; what is not here the library or gRPC leave open
// (engine.md chapter 9).
const (
	// largestMessage bounds one gRPC message. One of ours has at most largestBatch, or
	// one envelope if that alone is larger; an agent's frame of 16 MiB is the largest.
	largestMessage = 64 << 20
	largestBatch   = 8 << 20
	// handshakeTime is how long a connection may take to show who it is.
	handshakeTime = 5 * time.Second
	// connectTime bounds connecting to a broker whose machine does not answer. A machine
	// that is only busy has to make it.
	connectTime = 3 * time.Second
	// streamsOfOne is far more than a broker opens to another: one.
	streamsOfOne     = 16
	keepalivePeriod  = 10 * time.Second
	keepaliveTimeout = 3 * time.Second
)

// remoteConfig sets the limits of the port and guards it.
func (f *Fleet) remoteConfig() *remote.Config {
	advertised := remote.WithAdvertisedHost("") // the listener's own address
	if f.cfg.Advertise != "" {
		advertised = remote.WithAdvertisedHost(net.JoinHostPort(f.cfg.Advertise, strconv.Itoa(f.cfg.Port)))
	}
	cfg := remote.Configure(f.cfg.Host, f.cfg.Port, advertised,
		remote.WithEndpointWriterQueueSize(1024), remote.WithEndpointWriterBatchSize(256),
		remote.WithServerOptions(f.serverOptions()...),
		remote.WithDialOptions(f.dialOptions()...),
		remote.WithCallOptions(grpc.MaxCallSendMsgSize(largestMessage)))
	cfg.MaxRetryCount = 1 // type outgoing tries again itself
	return cfg
}

func (f *Fleet) serverOptions() []grpc.ServerOption {
	return []grpc.ServerOption{
		grpc.Creds(watchedTLS{credentials.NewTLS(f.cfg.ServerTLS), f.refusals}),
		grpc.ConnectionTimeout(handshakeTime),
		grpc.ChainStreamInterceptor(f.receiving),
		grpc.ChainUnaryInterceptor(closed), // the library's diagnostics
		grpc.MaxRecvMsgSize(largestMessage),
		grpc.MaxConcurrentStreams(streamsOfOne),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: keepalivePeriod, Timeout: keepaliveTimeout}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: keepalivePeriod / 2, PermitWithoutStream: true}),
	}
}

func (f *Fleet) dialOptions() []grpc.DialOption {
	return []grpc.DialOption{
		grpc.WithTransportCredentials(promptTLS{credentials.NewTLS(f.cfg.ClientTLS)}),
		grpc.WithChainStreamInterceptor(f.sending),
		grpc.WithContextDialer(f.dial),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: keepalivePeriod, Timeout: keepaliveTimeout, PermitWithoutStream: true}),
		grpc.WithConnectParams(grpc.ConnectParams{MinConnectTimeout: dialTime,
			Backoff: backoff.Config{BaseDelay: firstPause, Multiplier: 1.6, Jitter: 0.2, MaxDelay: longestPause}}),
	}
}

// receiving is around each stream that another broker opens here. Whatever comes in it
// ends the stream at worst, never the process (engine.md, pitfall 2).
func (f *Fleet) receiving(srv any, stream grpc.ServerStream, _ *grpc.StreamServerInfo, handler grpc.StreamHandler) (err error) {
	who := peerOf(stream.Context())
	defer func() {
		if cause := recover(); cause != nil {
			err = status.Errorf(codes.InvalidArgument, "message not understood: %.200v", cause)
		}
		if code := status.Code(err); code == codes.InvalidArgument || code == codes.FailedPrecondition || code == codes.ResourceExhausted {
			f.refusals.tell("the stream of another broker was ended", who, err)
		}
	}()
	if err := f.checkVersions(stream.Context()); err != nil {
		return err
	}
	return handler(srv, incoming{stream, f.system.Address()})
}

// incoming is a stream that another broker opened: only envelopes come in, and only
// for the courier. The library would deliver whatever it can decode to any actor.
type incoming struct {
	grpc.ServerStream
	address string // of this broker
}

func (s incoming) RecvMsg(m any) error {
	if err := s.ServerStream.RecvMsg(m); err != nil {
		return err
	}
	message, ok := m.(*remote.RemoteMessage)
	if !ok {
		return status.Errorf(codes.InvalidArgument, "not a message between brokers: %T", m)
	}
	if err := checkBatch(message.GetMessageBatch(), s.address); err != nil {
		return status.Error(codes.InvalidArgument, err.Error())
	}
	return nil
}

// checkBatch also knows how the library takes batches apart: it trusts all numbers in
// them.
func checkBatch(batch *remote.MessageBatch, address string) error {
	for _, name := range batch.GetTypeNames() {
		if name != envelopeType {
			return fmt.Errorf("message type %.100q is not an envelope", name)
		}
	}
	for _, target := range batch.GetTargets() {
		if target.GetId() != courierName || target.GetAddress() != address {
			return fmt.Errorf("%.100q at %.100q takes no messages from other brokers", target.GetId(), target.GetAddress())
		}
	}
	for _, e := range batch.GetEnvelopes() {
		if !within(e.GetTypeId(), len(batch.GetTypeNames())) || !within(e.GetTarget(), len(batch.GetTargets())) ||
			!within(e.GetSender(), len(batch.GetSenders())+1) || e.GetSerializerId() != 0 {
			return fmt.Errorf("a batch with impossible numbers: type %d, target %d, sender %d, serializer %d",
				e.GetTypeId(), e.GetTarget(), e.GetSender(), e.GetSerializerId())
		}
	}
	return nil
}

func within(i int32, n int) bool { return i >= 0 && int(i) < n }

// closed refuses the calls that brokers do not make.
func closed(context.Context, any, *grpc.UnaryServerInfo, grpc.UnaryHandler) (any, error) {
	return nil, status.Error(codes.Unimplemented, "not offered")
}
