package fleet

import (
	"context"
	"sync"
	"time"

	"github.com/asynkron/protoactor-go/remote"
	"google.golang.org/grpc"
)

// firstPause and longestPause are between two attempts to be greeted by a broker where
// somebody listens: one that just died, or does not take this one.
const (
	firstPause   = 25 * time.Millisecond
	longestPause = 500 * time.Millisecond
)

// sending is around each stream that this broker opens. It is opened only when the
// library has sent its greeting and waits for the answer: the library itself gives up at
// the first failure and then sleeps for two seconds, in which all messages to that address
// wait, and are dropped in the end, even if a broker that was restarted listens there
// again. A living broker was removed for that.
func (f *Fleet) sending(ctx context.Context, desc *grpc.StreamDesc, conn *grpc.ClientConn, method string, open grpc.Streamer, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	f.links.add(conn)
	return &outgoing{f: f, target: conn.Target(), used: make(chan struct{}), open: func() (grpc.ClientStream, error) {
		return open(f.introduce(ctx), desc, conn, method, opts...)
	}}, nil
}

// outgoing is a stream to another broker. It splits what is too much for one message:
// the library packs up to 256 into one, whatever their size, and a message beyond the
// other's limit ends the link with all that is on it (engine.md, pitfall 3).
type outgoing struct {
	grpc.ClientStream // nil until the other broker has answered the greeting
	f                 *Fleet
	target            string
	open              func() (grpc.ClientStream, error)
	greeting          any
	answered          bool  // the library was told that the greeting is
	failure           error // why it is not in truth

	once sync.Once
	used chan struct{} // closed when the library has tried to use the stream, or given it up
}

func (s *outgoing) release() { s.once.Do(func() { close(s.used) }) }

// RecvMsg implements grpc.ClientStream. The library is told that the other broker has
// answered the greeting even if it has not; it learns the truth from the next call, which
// ends the endpoint without the library's two seconds of sleep. That waits until a message
// was sent, since an endpoint that ends before the library has announced it comes back.
func (s *outgoing) RecvMsg(m any) error {
	if !s.answered {
		s.answered = true
		if s.failure = s.reach(m); s.failure != nil {
			s.f.toldByOther(s.target, s.failure)
			if response, ok := m.(*remote.RemoteMessage); ok {
				response.MessageType = &remote.RemoteMessage_ConnectResponse{ConnectResponse: &remote.ConnectResponse{}}
			}
		}
		return nil
	}
	if s.failure != nil {
		<-s.used
		return s.failure
	}
	err := s.ClientStream.RecvMsg(m)
	s.f.toldByOther(s.target, err)
	return err
}

// reach tries to get an answer to the greeting, for no longer than nobody may listen.
func (s *outgoing) reach(m any) error {
	deadline := time.Now().Add(dialTime)
	for pause := firstPause; ; pause = min(2*pause, longestPause) {
		err := s.greet(m)
		if err == nil || time.Now().Add(pause).After(deadline) {
			return err
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-s.f.life.Done():
			timer.Stop()
			return err
		}
	}
}

// greet tries once.
func (s *outgoing) greet(m any) error {
	stream, err := s.open()
	if err != nil {
		return err
	}
	_ = stream.SendMsg(s.greeting) // receiving says why it failed
	if err := stream.RecvMsg(m); err != nil {
		return err
	}
	s.ClientStream = stream
	return nil
}

// SendMsg implements grpc.ClientStream.
func (s *outgoing) SendMsg(m any) error {
	if !s.answered {
		s.greeting = m
		return nil
	}
	if s.failure != nil {
		s.release()
		return s.failure
	}
	message, _ := m.(*remote.RemoteMessage)
	batch := message.GetMessageBatch()
	if batch == nil {
		return s.ClientStream.SendMsg(m)
	}
	for _, part := range split(batch.GetEnvelopes()) {
		err := s.ClientStream.SendMsg(&remote.RemoteMessage{MessageType: &remote.RemoteMessage_MessageBatch{MessageBatch: &remote.MessageBatch{
			TypeNames: batch.GetTypeNames(), Targets: batch.GetTargets(), Senders: batch.GetSenders(), Envelopes: part}}})
		if err != nil {
			return err
		}
	}
	return nil
}

// CloseSend implements grpc.ClientStream.
func (s *outgoing) CloseSend() error {
	s.release()
	if s.ClientStream == nil {
		return nil
	}
	return s.ClientStream.CloseSend()
}

// split keeps the order; each part has at most largestBatch bytes, or one envelope.
func split(all []*remote.MessageEnvelope) (parts [][]*remote.MessageEnvelope) {
	begin, size := 0, 0
	for i, e := range all {
		if size += len(e.GetMessageData()); size > largestBatch && i > begin {
			parts = append(parts, all[begin:i])
			begin, size = i, len(e.GetMessageData())
		}
	}
	return append(parts, all[begin:])
}
