package fleet

import (
	"context"
	"errors"
	"fmt"
	"net"
	"syscall"
	"time"

	"opensessionmanager/cluster/membership"
	"opensessionmanager/messages"
)

// greetTime bounds the first look at a member's port.
const greetTime = time.Second

// probe asks another broker whether the process that joined still lives. That its
// machine refuses connections says why it does not answer, but not that it does not:
// an answer over a connection that is there already counts for more.
func (f *Fleet) probe(ctx context.Context, m membership.Member) error {
	a := &asking{answers: make(chan answer, 1)}
	self, _ := f.system.ProcessRegistry.Add(a, "probe"+f.system.ProcessRegistry.NextId())
	defer f.system.ProcessRegistry.Remove(self)
	refused := make(chan bool, 1)
	go func() { refused <- isRefused(ctx, m.Address) }()
	f.post(m.Address, &messages.Envelope{Actor: courierName, Sender: self}, &messages.Ping{}, 0)
	select {
	case got := <-a.answers:
		pong, ok := got.msg.(*messages.Pong)
		if !ok || pong.GetMemberId() != m.ID {
			return fmt.Errorf("fleet: %s: %w: another one answers there", m.Address, membership.ErrGone)
		}
		if pong.GetEpoch() != f.source.Current().Epoch {
			return fmt.Errorf("fleet: %s: %w", m.Address, membership.ErrOtherEpoch)
		}
		if pong.GetConfirmed() {
			return fmt.Errorf("fleet: %s: %w", m.Address, membership.ErrConfirmed)
		}
		return nil
	case <-ctx.Done():
	}
	if <-refused {
		return fmt.Errorf("fleet: %s: %w: nobody listens there", m.Address, membership.ErrGone)
	}
	return fmt.Errorf("fleet: %s does not answer: %w", m.Address, ctx.Err())
}

// confirmed says whether the registry itself confirms this broker's view. A source
// without a registry has only the brokers' word.
func (f *Fleet) confirmed() bool {
	source, registered := f.source.(membership.Registered)
	return registered && source.Confirmed()
}

// isRefused: the machine is there and nobody listens on the port.
func isRefused(ctx context.Context, address string) bool {
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
	if err == nil {
		_ = conn.Close()
	}
	return errors.Is(err, syscall.ECONNREFUSED)
}

// greet looks whether anybody listens where members that are new to this broker should
// be. The library takes two seconds to say that nobody does, and after the death of all
// brokers the view that the first one finds holds only the dead.
func (f *Fleet) greet(before, now *membership.View) {
	for _, m := range now.Members {
		if m.ID == f.self.ID || before.Has(m.ID) {
			continue
		}
		f.work.Go(func() {
			ctx, cancel := context.WithTimeout(f.life, greetTime)
			defer cancel()
			if isRefused(ctx, m.Address) {
				f.source.Suspect(m.ID)
			}
		})
	}
}
