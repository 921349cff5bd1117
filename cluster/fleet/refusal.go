package fleet

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
)

// Names of what a broker says of itself when it opens a stream.
const (
	protocolKey = "dcvsm-protocol"
	oldestKey   = "dcvsm-oldest-protocol"
)

// introduce says which versions this broker speaks.
func (f *Fleet) introduce(ctx context.Context) context.Context {
	return metadata.AppendToOutgoingContext(ctx, protocolKey, strconv.Itoa(f.cfg.Protocol), oldestKey, strconv.Itoa(f.cfg.Oldest))
}

// checkVersions refuses a broker with which this one shares no version. The membership
// does not let such a one in; this is for the case that its picture was incomplete.
func (f *Fleet) checkVersions(ctx context.Context) error {
	protocol, oldest, err := versionsOf(ctx)
	if err != nil {
		return status.Error(codes.FailedPrecondition, err.Error())
	}
	if protocol < f.cfg.Oldest || f.cfg.Protocol < oldest {
		return status.Errorf(codes.FailedPrecondition, "the broker that calls speaks protocol %d to %d, the one that is called %d to %d: upgrade the older one",
			oldest, protocol, f.cfg.Oldest, f.cfg.Protocol)
	}
	return nil
}

func versionsOf(ctx context.Context) (protocol, oldest int, err error) {
	said, _ := metadata.FromIncomingContext(ctx)
	number := func(key string) int {
		values := said.Get(key)
		if len(values) != 1 || len(values[0]) > 9 {
			return 0
		}
		n, _ := strconv.Atoi(values[0])
		return n
	}
	protocol, oldest = number(protocolKey), number(oldestKey)
	if oldest < 1 || protocol < oldest {
		return 0, 0, errors.New("who calls does not say which protocol it speaks: not a broker")
	}
	return protocol, oldest, nil
}

// toldByOther logs that another broker refuses this one, or this one another: what an
// operator has to cure. Other failures of a connection are the membership's business.
func (f *Fleet) toldByOther(target string, err error) {
	switch {
	case err == nil, errors.Is(err, io.EOF), f.leaving.Load():
	case status.Code(err) == codes.FailedPrecondition, status.Code(err) == codes.InvalidArgument, status.Code(err) == codes.ResourceExhausted:
		f.refusals.tell("another broker refuses this one", target, err)
	case strings.Contains(err.Error(), "handshake failed"):
		f.refusals.tell("what answers at another broker's address is none of this fleet", target, err)
	case strings.Contains(err.Error(), "remote error: tls:"):
		f.refusals.tell("another broker does not take this one's certificate", target, err)
	}
}

// watchedTLS logs who was refused at the port.
type watchedTLS struct {
	credentials.TransportCredentials
	refusals *refusals
}

func (w watchedTLS) ServerHandshake(raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	if tcp, ok := raw.(*net.TCPConn); ok {
		patient := &patientConn{TCPConn: tcp}
		defer func() { patient.shaken = true }()
		raw = patient
	}
	conn, info, err := w.TransportCredentials.ServerHandshake(raw)
	// Who only looks whether somebody listens, as balancers and other brokers do, says nothing.
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, syscall.ECONNRESET) {
		w.refusals.tell("a connection to the port between brokers was refused", hostOf(raw.RemoteAddr()), err)
	}
	return conn, info, err
}

// patientConn lets the reason for a refusal arrive: closing a connection with something
// unread, as the rest of a handshake is, overtakes what was written to it.
type patientConn struct {
	*net.TCPConn
	shaken bool // the handshake is over; before, gRPC closes only who is refused
}

func (c *patientConn) Close() error {
	const most, atMost = 64 << 10, 500 * time.Millisecond
	if !c.shaken && c.CloseWrite() == nil && c.SetReadDeadline(time.Now().Add(atMost)) == nil {
		_, _ = io.CopyN(io.Discard, c.TCPConn, most)
	}
	return c.TCPConn.Close()
}

func (w watchedTLS) Clone() credentials.TransportCredentials {
	return watchedTLS{w.TransportCredentials.Clone(), w.refusals}
}

func peerOf(ctx context.Context) string {
	if p, ok := peer.FromContext(ctx); ok {
		return hostOf(p.Addr)
	}
	return "unknown"
}

// hostOf is an address without the port, which changes with each try.
func hostOf(a net.Addr) string {
	host, _, err := net.SplitHostPort(a.String())
	if err != nil {
		return a.String()
	}
	return host
}

const (
	refusalPause = time.Minute
	mostRefusals = 200
)

// refusals logs what is refused between brokers: each reason for each peer once a
// minute, since brokers try again and again and strangers may.
type refusals struct {
	logger *slog.Logger
	now    func() time.Time

	mu   sync.Mutex
	told map[string]*refusal
}

type refusal struct {
	said  time.Time
	again int // since then
}

func newRefusals(logger *slog.Logger, now func() time.Time) *refusals {
	return &refusals{logger: logger, now: now, told: map[string]*refusal{}}
}

func (r *refusals) tell(what, who string, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now, key := r.now(), what+"\x00"+who
	r.forget(now)
	seen := r.told[key]
	switch {
	case seen == nil && len(r.told) >= mostRefusals:
		return
	case seen == nil:
		seen = &refusal{}
		r.told[key] = seen
	case now.Sub(seen.said) < refusalPause:
		seen.again++
		return
	}
	r.logger.Warn(what, "peer", who, "reason", fmt.Sprintf("%.400s", reasonOf(err)), "not_logged_before", seen.again)
	seen.said, seen.again = now, 0
}

// forget makes room, once there is none.
func (r *refusals) forget(now time.Time) {
	if len(r.told) < mostRefusals {
		return
	}
	for key, seen := range r.told {
		if now.Sub(seen.said) >= refusalPause {
			delete(r.told, key)
		}
	}
}

func reasonOf(err error) string {
	if s, ok := status.FromError(err); ok {
		return s.Message()
	}
	return err.Error()
}
