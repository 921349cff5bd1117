package fleet

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"
	"time"

	"opensessionmanager/cluster/membership"
	"opensessionmanager/messages"
)

// greetTime bounds the first look at a member's port.
const greetTime = time.Second

// knockAfter is how long an answer is waited for before it is looked whether there can be one.
const knockAfter = 30 * time.Millisecond

// lateAnswer is how long an answer is waited for after the port has shown that there
// can be none.
const lateAnswer = 150 * time.Millisecond

// probe asks another broker whether the process that joined still lives. That nobody
// listens there any more says why it does not answer, but not that it does not: an
// answer over a connection that is there already counts for more.
func (f *Fleet) probe(ctx context.Context, m membership.Member) error {
	a := &asking{answers: make(chan answer, 1)}
	self, _ := f.system.ProcessRegistry.Add(a, "probe"+f.system.ProcessRegistry.NextId())
	defer f.system.ProcessRegistry.Remove(self)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	found := make(chan error, 1)
	go func() { // only if it takes long: a handshake is dear, and there is a probe for each answer
		late := time.NewTimer(knockAfter)
		defer late.Stop()
		select {
		case <-late.C:
			found <- f.knock(ctx, m.Address)
		case <-ctx.Done():
		}
	}()
	f.post(m.Address, &messages.Envelope{Actor: courierName, Sender: self}, &messages.Ping{}, 0)
	var why error
	for {
		select {
		case got := <-a.answers:
			return f.judge(m, got.msg)
		case why = <-found:
			if why != nil {
				late := time.AfterFunc(lateAnswer, cancel)
				defer late.Stop()
			}
			found = nil
		case <-ctx.Done():
			if why == nil {
				return fmt.Errorf("fleet: %s does not answer: %w", m.Address, ctx.Err())
			}
			return fmt.Errorf("fleet: %s: %w", m.Address, why)
		}
	}
}

// judge says what the answer to a probe means.
func (f *Fleet) judge(m membership.Member, answer any) error {
	pong, ok := answer.(*messages.Pong)
	if !ok || pong.GetMemberId() != m.ID {
		return fmt.Errorf("fleet: %s: %w: another one answers there", m.Address, membership.ErrGone)
	}
	var says []error
	if pong.GetEpoch() != f.source.Current().Epoch {
		says = append(says, membership.ErrOtherEpoch)
	}
	if pong.GetConfirmed() {
		says = append(says, membership.ErrConfirmed)
	}
	if pong.GetOutOfContact() {
		says = append(says, membership.ErrOutOfContact)
	}
	if len(says) == 0 {
		return nil
	}
	return fmt.Errorf("fleet: %s: %w", m.Address, errors.Join(says...))
}

// confirmed says whether the registry itself confirms this broker's view. A source
// without a registry has only the brokers' word.
func (f *Fleet) confirmed() bool {
	source, registered := f.source.(membership.Registered)
	return registered && source.Confirmed()
}

// knock looks at the port of another broker without speaking to the broker: ErrGone if
// nobody listens there, ErrStranger if the two do not take each other for brokers of one
// fleet, nil for all else.
func (f *Fleet) knock(ctx context.Context, address string) error {
	raw, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
	if err != nil {
		if errors.Is(err, syscall.ECONNREFUSED) {
			return fmt.Errorf("%w: nobody listens there", membership.ErrGone)
		}
		return nil
	}
	stop := context.AfterFunc(ctx, func() { _ = raw.Close() })
	defer stop()
	defer func() { _ = raw.Close() }()
	config := f.cfg.ClientTLS.Clone()
	config.NextProtos = []string{"h2"}
	conn := tls.Client(raw, config)
	// The other side says by its first byte that it takes our certificate.
	if _, err = conn.Read(make([]byte, 1)); err == nil || ctx.Err() != nil {
		return nil
	}
	// Everything but a broken connection is a verdict, of this side or of the other.
	if remote := new(net.OpError); errors.Is(err, io.EOF) || errors.As(err, &remote) && remote.Op != "remote error" {
		return nil
	}
	return fmt.Errorf("%w: %w", membership.ErrStranger, err)
}

// dismiss tells those who are no longer in the view, by the epoch of the envelope, that
// there is a newer one. One that was removed alive and is cut off from the registry would
// learn it from its next probe only, and answer for the fleet until then.
func (f *Fleet) dismiss(before, now *membership.View) {
	for _, m := range before.Members {
		if m.ID != f.self.ID && !now.Has(m.ID) {
			f.post(m.Address, &messages.Envelope{Actor: courierName}, &messages.Ping{}, 0)
		}
	}
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
			if errors.Is(f.knock(ctx, m.Address), membership.ErrGone) {
				f.source.Suspect(m.ID)
			}
		})
	}
}
