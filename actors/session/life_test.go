package session_test

import (
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"opensessionmanager/actors/session"
	"opensessionmanager/messages"
)

var (
	start  = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	limits = session.Limits{Launch: time.Minute, Placement: 30 * time.Second, Queue: 30 * time.Minute,
		Delete: 2 * time.Minute, KeepDeleted: time.Hour, Retries: 2}
)

func fresh() session.Session {
	return session.New(start, "s-1", &messages.SessionSpec{Name: "n", Owner: "ann", Type: messages.SessionType_SESSION_TYPE_VIRTUAL}, nil)
}

// after walks a session through events that must all make sense.
func after(t *testing.T, s session.Session, events ...session.Event) (session.Session, []session.Effect) {
	t.Helper()
	var effects []session.Effect
	for _, e := range events {
		out, err := s.On(start, e, limits)
		require.NoError(t, err, "%s in %q", e.Kind, s.State)
		s, effects = out.Next, out.Effects
	}
	return s, effects
}

func granted(server string) session.Event {
	return session.Event{Kind: session.Granted, ServerID: server, MachineID: "m-" + server}
}

func on(kind session.Kind, server string) session.Event {
	return session.Event{Kind: kind, ServerID: server, MachineID: "m-" + server,
		Reason: session.Reason{Code: messages.CodeAgentFailed, Text: "no"}}
}

func TestSession_CreatedLaunchedDeletedForgotten(t *testing.T) {
	t.Parallel()
	s, effects := after(t, fresh(), granted("a"))
	require.Equal(t, session.Placed, s.State)
	require.Equal(t, []session.Effect{{Kind: session.Launch, ServerID: "a"}}, effects)
	require.Equal(t, start.Add(limits.Launch), s.Deadline)

	s, effects = after(t, s, on(session.Launched, "a"))
	require.Equal(t, session.Ready, s.State)
	require.Empty(t, effects)
	require.True(t, s.Deadline.IsZero())

	s, effects = after(t, s, session.Event{Kind: session.DeleteAsked})
	require.Equal(t, session.Deleting, s.State)
	require.Equal(t, []session.Effect{{Kind: session.Close, ServerID: "a"}}, effects)

	s, effects = after(t, s, on(session.Closed, "a"))
	require.Equal(t, session.Deleted, s.State)
	require.Equal(t, []session.Effect{{Kind: session.ReleaseSlot, ServerID: "a"}}, effects)
	require.Empty(t, s.Reason.Code, "a wished deletion needs no reason")

	s, effects = after(t, s, session.Event{Kind: session.Overdue})
	require.Equal(t, session.Gone, s.State)
	require.Equal(t, []session.Effect{{Kind: session.Forget}}, effects)
}

func TestSession_FailedLaunchIsRetriedOnAnotherHostAndThenGivenUp(t *testing.T) {
	t.Parallel()
	s, effects := after(t, fresh(), granted("a"), on(session.LaunchFailed, "a"))
	require.Equal(t, session.Replacing, s.State)
	require.Equal(t, []session.Effect{{Kind: session.ReleaseSlot, ServerID: "a"}, {Kind: session.Place}}, effects)
	require.Equal(t, []string{"a"}, s.Tried)
	require.Empty(t, s.ServerID)

	s, _ = after(t, s, granted("b"), on(session.LaunchFailed, "b"), granted("c"))
	require.Equal(t, 3, s.Attempts)
	s, effects = after(t, s, on(session.LaunchFailed, "c"))
	require.Equal(t, session.Deleted, s.State, "two retries are the limit")
	require.Equal(t, []session.Effect{{Kind: session.ReleaseSlot, ServerID: "c"}}, effects)
	require.Equal(t, messages.CodeAgentFailed, s.Reason.Code)
}

func TestSession_DisableRetryOnFailureMeansOneTry(t *testing.T) {
	t.Parallel()
	s := fresh()
	s.Spec.DisableRetryOnFailure = true
	s, _ = after(t, s, granted("a"), on(session.LaunchFailed, "a"))
	require.Equal(t, session.Deleted, s.State)
}

// A host that never answers may make the session later: it is told to close it.
func TestSession_SlowHostIsLeftAndToldToClose(t *testing.T) {
	t.Parallel()
	s, effects := after(t, fresh(), granted("a"), session.Event{Kind: session.Overdue})
	require.Equal(t, session.Replacing, s.State)
	require.Contains(t, effects, session.Effect{Kind: session.Close, ServerID: "a"})
	require.Equal(t, messages.CodeAgentTimeout, s.Reason.Code)
	_, effects = after(t, s, granted("b"), on(session.Elsewhere, "a"))
	require.Equal(t, []session.Effect{{Kind: session.Close, ServerID: "a"}}, effects, "it came after all")
}

func TestSession_QueuedWaitsItsTimeAndNoLonger(t *testing.T) {
	t.Parallel()
	s, _ := after(t, fresh(), session.Event{Kind: session.Held})
	require.Equal(t, session.Queued, s.State)
	require.Equal(t, start.Add(limits.Queue), s.Deadline)
	over, effects := after(t, s, session.Event{Kind: session.Overdue})
	require.Equal(t, session.Deleted, over.State)
	require.Equal(t, messages.CodeQueueTimeout, over.Reason.Code)
	require.Equal(t, []session.Effect{{Kind: session.LeaveQueue}}, effects)
	placed, _ := after(t, s, granted("a"))
	require.Equal(t, session.Placed, placed.State)
}

// F8: an agent that is away makes its sessions UNKNOWN, never DELETED, and the way
// back is the same session. Neither is worth a write.
func TestSession_UnreachableIsUnknownAndComesBack(t *testing.T) {
	t.Parallel()
	s, _ := after(t, fresh(), granted("a"), on(session.Launched, "a"))
	lost, err := s.On(start, on(session.AgentLost, "a"), limits)
	require.NoError(t, err)
	require.Equal(t, session.Unknown, lost.Next.State)
	require.True(t, lost.Soft)
	require.Equal(t, string(session.Ready), lost.Next.Record().GetState())
	back, err := lost.Next.On(start, on(session.Found, "a"), limits)
	require.NoError(t, err)
	require.Equal(t, session.Ready, back.Next.State)
	require.True(t, back.Soft)
}

// C34: a deletion that a host does not confirm is not forgotten.
func TestSession_UnconfirmedDeletionGoesOnWhenTheHostIsBack(t *testing.T) {
	t.Parallel()
	s, _ := after(t, fresh(), granted("a"), on(session.Launched, "a"), session.Event{Kind: session.DeleteAsked}, session.Event{Kind: session.Overdue})
	require.Equal(t, session.Unknown, s.State)
	require.Equal(t, string(session.Unknown), s.Record().GetState(), "the wish to delete is durable")
	s, effects := after(t, s, on(session.Found, "a"))
	require.Equal(t, session.Deleting, s.State)
	require.Equal(t, []session.Effect{{Kind: session.Close, ServerID: "a"}}, effects)
}

// Promise 1: what was deleted by force while its host could not be reached is DELETING
// when the host shows it, until it is gone, and never usable again.
func TestSession_ForcedDeletionOfUnreachableHostGoesOnWhenTheHostIsBack(t *testing.T) {
	t.Parallel()
	s, _ := after(t, fresh(), granted("a"), on(session.Launched, "a"), on(session.AgentLost, "a"), session.Event{Kind: session.DeleteForced})
	require.Equal(t, session.Deleted, s.State)
	require.True(t, s.CloseOwed)
	for range 2 { // the first close may be lost, too
		var effects []session.Effect
		s, effects = after(t, s, on(session.Found, "a"))
		require.Equal(t, session.Deleting, s.State)
		require.Contains(t, effects, session.Effect{Kind: session.Close, ServerID: "a"})
	}
	s, _ = after(t, s, on(session.Closed, "a"))
	require.Equal(t, session.Deleted, s.State)
	require.False(t, s.CloseOwed)
}

// Neither is a deletion undone that the host did not confirm, nor one that it did and
// that an older report knows nothing of. The name of a session made without us is free
// again.
func TestSession_DeletedThatReappearsIsDeletedAgain(t *testing.T) {
	t.Parallel()
	deleting, _ := after(t, fresh(), granted("a"), session.Event{Kind: session.DeleteAsked})
	for _, end := range []session.Kind{session.Vanished, session.Closed} {
		s, effects := after(t, deleting, on(end, "a"), on(session.Found, "a"))
		require.Equal(t, session.Deleting, s.State, end)
		require.Equal(t, []session.Effect{{Kind: session.Close, ServerID: "a"}}, effects, end)
		s, _ = after(t, fresh(), on(session.Found, "a"), session.Event{Kind: session.DeleteAsked}, on(end, "a"), on(session.Found, "a"))
		require.Equal(t, session.Ready, s.State, end)
	}
	s, _ := after(t, fresh(), granted("a"), on(session.Launched, "a"), on(session.Vanished, "a"), on(session.Found, "a"))
	require.Equal(t, session.Ready, s.State, "nobody wanted it gone")
}

func TestSession_ForcedDeletionEndsEvenIfTheHostStaysSilent(t *testing.T) {
	t.Parallel()
	s, _ := after(t, fresh(), granted("a"), on(session.Launched, "a"),
		session.Event{Kind: session.DeleteAsked, Force: true}, session.Event{Kind: session.Overdue})
	require.Equal(t, session.Deleted, s.State)
}

// F11, F12.
func TestSession_FoundOnAHostIsAdoptedAndEndsWhenTheHostLosesIt(t *testing.T) {
	t.Parallel()
	s, _ := after(t, fresh(), on(session.Found, "a"))
	require.Equal(t, session.Ready, s.State)
	require.True(t, s.External)
	s, _ = after(t, s, on(session.Vanished, "a"))
	require.Equal(t, session.Deleted, s.State)
	require.Equal(t, messages.CodeAgentFailed, s.Reason.Code)
}

func TestSession_HostUnderANewNameKeepsItsSessions(t *testing.T) {
	t.Parallel()
	s, _ := after(t, fresh(), granted("a"), on(session.Launched, "a"), on(session.Moved, "b"))
	require.Equal(t, session.Ready, s.State)
	require.Equal(t, "b", s.ServerID)
}

func TestSession_RecordRoundTrip(t *testing.T) {
	t.Parallel()
	s, _ := after(t, fresh(), granted("a"), on(session.LaunchFailed, "a"), granted("b"), session.Event{Kind: session.DeleteAsked, Force: true})
	s.Digest, s.Disconnected = []byte{1, 2}, start
	again := session.FromRecord(proto.CloneOf(s.Record()))
	require.True(t, proto.Equal(s.Record(), again.Record()))
	require.Equal(t, s.State, again.State)
	require.True(t, s.Deadline.Equal(again.Deadline))
}

// Promise 6: nothing stays in a transient state for ever.
func TestSession_EveryTransientStateHasADeadlineAndAWayOut(t *testing.T) {
	t.Parallel()
	walk(t, func(t *rapid.T, s session.Session, _ []session.Effect) {
		transient := []session.State{session.Queued, session.Placed, session.Replacing, session.Deleting, session.Deleted}
		if !slices.Contains(transient, s.State) {
			return
		}
		require.False(t, s.Deadline.IsZero(), "%q has no deadline", s.State)
		out, err := s.On(s.Deadline, session.Event{Kind: session.Overdue}, limits)
		require.NoError(t, err)
		require.NotEqual(t, s.State, out.Next.State, "the deadline changes nothing")
	})
}

// What leaves a server frees its slot, so that slots add up.
func TestSession_WhoeverLeavesAServerFreesItsSlot(t *testing.T) {
	t.Parallel()
	var before session.Session
	walk(t, func(t *rapid.T, s session.Session, effects []session.Effect) {
		if s.State != session.Fresh && before.OnHost() && !s.OnHost() {
			require.Contains(t, effects, session.Effect{Kind: session.ReleaseSlot, ServerID: before.ServerID},
				"%q to %q", before.State, s.State)
		}
		before = s
	})
}

// No event is lost on the way: an impossible one is refused and changes nothing.
func TestSession_RefusedEventsChangeNothing(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		s := fresh()
		for range rapid.IntRange(1, 30).Draw(t, "steps") {
			out, err := s.On(start, anyEvent(t), limits)
			if err != nil {
				require.ErrorIs(t, err, session.ErrRefused)
				require.Equal(t, s, out.Next)
				require.Empty(t, out.Effects)
			}
			s = out.Next
		}
	})
}

// Doing again what a loaded state owes never asks for more than its transition did.
func TestSession_ResumeOwesOnlyWhatTheStateNeeds(t *testing.T) {
	t.Parallel()
	walk(t, func(t *rapid.T, s session.Session, _ []session.Effect) {
		for _, e := range session.FromRecord(s.Record()).Resume() {
			if e.Kind == session.Launch || e.Kind == session.Close {
				require.NotEmpty(t, e.ServerID)
			}
		}
	})
}

var kinds = []session.Kind{session.Granted, session.Held, session.Refused, session.Launched, session.LaunchFailed,
	session.Found, session.Elsewhere, session.Moved, session.Vanished, session.Closed, session.CloseFailed,
	session.AgentLost, session.Abandoned, session.DeleteAsked, session.DeleteForced, session.Overdue}

func anyEvent(t *rapid.T) session.Event {
	e := on(rapid.SampledFrom(kinds).Draw(t, "event"), rapid.SampledFrom([]string{"a", "b"}).Draw(t, "server"))
	e.Force = rapid.Bool().Draw(t, "force")
	return e
}

// walk calls check after each step of random lives.
func walk(t *testing.T, check func(*rapid.T, session.Session, []session.Effect)) {
	t.Helper()
	rapid.Check(t, func(t *rapid.T) {
		s := fresh()
		check(t, s, nil)
		for range rapid.IntRange(1, 40).Draw(t, "steps") {
			out, err := s.On(start, anyEvent(t), limits)
			if err == nil {
				s = out.Next
				check(t, s, out.Effects)
			}
		}
	})
}

func TestSession_AutorunOnAConsoleNeedsWindows(t *testing.T) {
	t.Parallel()
	s := fresh()
	s.Spec.AutorunFile, s.Spec.Requirements = "run.ps1", "tag:a = 'b' or tag:c = 'd'"
	require.Equal(t, "tag:a = 'b' or tag:c = 'd'", s.Requirements(), "virtual sessions are on Linux anyway")
	s.Spec.Type = messages.SessionType_SESSION_TYPE_CONSOLE
	require.Equal(t, "(tag:a = 'b' or tag:c = 'd') and server:Host.Os.Family = 'windows'", s.Requirements())
	s.Spec.Requirements = " "
	require.Equal(t, "server:Host.Os.Family = 'windows'", s.Requirements())
}

// F3: a broker that was down does not blame the hosts for it.
func TestSession_ReloadGivesTheFullTimeAgain(t *testing.T) {
	t.Parallel()
	s, _ := after(t, fresh(), granted("a"))
	later := start.Add(time.Hour)
	require.Equal(t, later.Add(limits.Launch), s.Reloaded(later, limits).Deadline)
	s, _ = after(t, s, on(session.Launched, "a"), session.Event{Kind: session.DeleteAsked}, on(session.Closed, "a"))
	require.Equal(t, s.Deadline, s.Reloaded(later, limits).Deadline, "what waits for nobody keeps its time")
}
