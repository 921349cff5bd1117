package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"

	"opensessionmanager/agent/driver"
	"opensessionmanager/internal/agentproto"
	"opensessionmanager/messages"
)

// Bounds of the work a broker can put on this host at once.
const (
	maxLanes   = 32  // sessions worked on at the same time
	maxWaiting = 512 // commands accepted and not begun
)

// executor runs commands: those of one session one after the other in the order
// they came, those of different sessions side by side. It outlives connections.
type executor struct {
	commands commands
	log      *slog.Logger
	running  sync.WaitGroup

	mu      sync.Mutex
	lanes   map[string][]*messages.AgentFrame // waiting, by session; present = a goroutine works on it
	parked  []string                          // lanes without a goroutine yet, oldest first
	active  int
	waiting int
	answers answers
}

// commands is what the executor runs: the agent, or a test's script.
type commands interface {
	perform(ctx context.Context, command *messages.AgentFrame) (answer *messages.AgentFrame)
	// answer makes the answer to a command that failed with err.
	answer(command *messages.AgentFrame, err error) *messages.AgentFrame
	send(frame *messages.AgentFrame)
}

func newExecutor(c commands, log *slog.Logger) *executor {
	return &executor{commands: c, log: log}
}

func (e *executor) wait() { e.running.Wait() }

// submit takes a command; it never blocks. A command that is being worked on is
// not taken twice, one that was answered is answered again (F14).
func (e *executor) submit(ctx context.Context, command *messages.AgentFrame) {
	if answer := e.enqueue(ctx, command); answer != nil {
		e.commands.send(answer)
	}
}

// enqueue returns an answer if there is one already.
func (e *executor) enqueue(ctx context.Context, command *messages.AgentFrame) *messages.AgentFrame {
	id := agentproto.RequestID(command)
	if id == "" || len(id) > longestRequestID {
		return e.commands.answer(command, fmt.Errorf("%w: requestId must have 1 to %d bytes", driver.ErrBadRequest, longestRequestID))
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if answer, known := e.answers.find(id); known {
		return answer // nil while it is being worked on
	}
	if e.waiting >= maxWaiting {
		return e.commands.answer(command, fmt.Errorf("agent: %d commands are waiting already", e.waiting))
	}
	e.answers.begin(id)
	e.waiting++
	lane := sessionOf(command)
	commands, busy := e.lanes[lane]
	if e.lanes == nil {
		e.lanes = make(map[string][]*messages.AgentFrame)
	}
	e.lanes[lane] = append(commands, command)
	if !busy {
		e.parked = append(e.parked, lane)
		e.unpark(ctx)
	}
	return nil
}

// unpark starts waiting lanes while there is room. It needs e.mu.
func (e *executor) unpark(ctx context.Context) {
	for e.active < maxLanes && len(e.parked) > 0 {
		lane := e.parked[0]
		e.parked = e.parked[1:]
		e.active++
		e.running.Go(func() { e.runLane(ctx, lane) })
	}
}

func (e *executor) runLane(ctx context.Context, lane string) {
	for command := e.take(ctx, lane); command != nil; command = e.take(ctx, lane) {
		answer := e.safely(ctx, command)
		e.mu.Lock()
		e.answers.finish(agentproto.RequestID(command), answer)
		e.mu.Unlock()
		e.commands.send(answer)
	}
}

// take returns the lane's next command, or closes the lane.
func (e *executor) take(ctx context.Context, lane string) *messages.AgentFrame {
	e.mu.Lock()
	defer e.mu.Unlock()
	commands := e.lanes[lane]
	if len(commands) == 0 || ctx.Err() != nil {
		e.waiting -= len(commands)
		delete(e.lanes, lane)
		e.active--
		e.unpark(ctx)
		return nil
	}
	e.lanes[lane] = commands[1:]
	e.waiting--
	return commands[0]
}

// safely keeps a command that panics from taking the agent down (F26).
func (e *executor) safely(ctx context.Context, command *messages.AgentFrame) (answer *messages.AgentFrame) {
	defer func() {
		if p := recover(); p != nil {
			e.log.Error("A command panicked", "command", agentproto.Name(command), "panic", p, "stack", string(debug.Stack()))
			answer = e.commands.answer(command, errors.New("agent: internal error"))
		}
	}()
	return e.commands.perform(ctx, command)
}

// sessionOf returns the id whose commands must not overlap.
func sessionOf(command *messages.AgentFrame) string {
	switch body := command.Body.(type) {
	case *messages.AgentFrame_CreateSessionRequest:
		return body.CreateSessionRequest.GetSessionId()
	case *messages.AgentFrame_DeleteSessionRequest:
		return body.DeleteSessionRequest.GetSessionId()
	case *messages.AgentFrame_SetPermissionsRequest:
		return body.SetPermissionsRequest.GetSessionId()
	case *messages.AgentFrame_ScreenshotRequest:
		return body.ScreenshotRequest.GetSessionId()
	}
	return "" // describe: of no session
}
