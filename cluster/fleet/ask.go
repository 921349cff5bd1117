package fleet

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"google.golang.org/protobuf/proto"
)

const (
	activateTime = 300 * time.Millisecond
	firstBackoff = 5 * time.Millisecond
	lastBackoff  = 100 * time.Millisecond
)

// Call is one question to one grain.
type Call struct {
	Kind string
	ID   string
	Msg  proto.Message
}

// Ask sends each call to its grain and waits for all answers, index-aligned. An
// answer is what the grain responded, or an error: ErrTimeout when it did not within
// the time of ctx, which must have a deadline. A call is sent once; only one that
// certainly reached nobody is repeated.
func (f *Fleet) Ask(ctx context.Context, calls []Call) []any {
	answers := make([]any, len(calls))
	futures := make([]*actor.Future, len(calls))
	for i, c := range calls {
		futures[i] = f.send(ctx, c)
	}
	for i, future := range futures {
		answers[i] = f.await(ctx, future, calls[i])
	}
	return answers
}

func (f *Fleet) send(ctx context.Context, c Call) *actor.Future {
	future := actor.NewFuture(f.system, remaining(ctx))
	f.Tell(c.Kind, c.ID, c.Msg, future.PID())
	return future
}

func (f *Fleet) await(ctx context.Context, future *actor.Future, c Call) any {
	backoff := firstBackoff
	for {
		answer, err := future.Result()
		switch {
		case err == nil:
			return answer
		case !errors.Is(err, actor.ErrDeadLetter): // a timeout: it may have been handled
			return ErrTimeout
		}
		// The grain ended between our look and our message: nobody has it.
		if !pause(ctx, backoff) {
			return ErrTimeout
		}
		backoff = min(2*backoff, lastBackoff)
		future = f.send(ctx, c)
	}
}

func remaining(ctx context.Context) time.Duration {
	deadline, ok := ctx.Deadline()
	if !ok {
		return 0
	}
	return max(time.Until(deadline), 0)
}

// pause waits with jitter; false if ctx ended first.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d/2 + rand.N(d))
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// quiet lowers the library's log lines by one level: what it calls Info is of no use
// to an operator, and its warnings are ours to judge.
type quiet struct{ slog.Handler }

func (q quiet) Enabled(ctx context.Context, level slog.Level) bool {
	return q.Handler.Enabled(ctx, level-4)
}

func (q quiet) Handle(ctx context.Context, r slog.Record) error {
	r.Level -= 4
	return q.Handler.Handle(ctx, r)
}

func (q quiet) WithAttrs(attrs []slog.Attr) slog.Handler { return quiet{q.Handler.WithAttrs(attrs)} }
func (q quiet) WithGroup(name string) slog.Handler       { return quiet{q.Handler.WithGroup(name)} }
