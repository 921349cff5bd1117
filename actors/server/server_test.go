package server_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"opensessionmanager/actors/server"
	"opensessionmanager/messages"
)

const (
	console = messages.SessionType_SESSION_TYPE_CONSOLE
	virtual = messages.SessionType_SESSION_TYPE_VIRTUAL
)

var now = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

func linux(maxVirtual, perUser int32) *server.Server {
	s := server.New("a")
	s.Reachable = true
	s.Facts = &messages.ServerFacts{Os: &messages.Os{Family: "linux"}, MaxVirtualSessions: maxVirtual,
		MaxConcurrentSessionsPerUser: perUser, MaxConsoleSessions: 1}
	s.Load = &messages.ServerLoad{DcvHealthy: true}
	return s
}

func TestReserve_StopsAtTheServersLimit(t *testing.T) {
	t.Parallel()
	s := linux(2, -1)
	require.Nil(t, s.Reserve("1", "ann", virtual, now))
	require.Nil(t, s.Reserve("2", "ann", virtual, now))
	require.Equal(t, messages.CodeServerFull, s.Reserve("3", "bob", virtual, now).GetCode())
	require.Nil(t, s.Reserve("2", "ann", virtual, now), "asking again for the same session is no second slot")
	s.Release("1")
	require.Nil(t, s.Reserve("3", "bob", virtual, now))
}

func TestReserve_StopsAtTheOwnersLimit(t *testing.T) {
	t.Parallel()
	s := linux(-1, 1)
	require.Nil(t, s.Reserve("1", "ann", virtual, now))
	require.Equal(t, messages.CodeOwnerLimit, s.Reserve("2", "ann", virtual, now).GetCode())
	require.Nil(t, s.Reserve("2", "bob", virtual, now))
}

// F44: one console session, whatever else runs.
func TestReserve_OneConsoleSession(t *testing.T) {
	t.Parallel()
	s := linux(-1, -1)
	require.Nil(t, s.Reserve("1", "ann", virtual, now))
	require.Nil(t, s.Reserve("2", "ann", console, now))
	require.Equal(t, messages.CodeServerFull, s.Reserve("3", "bob", console, now).GetCode())
}

func TestReserve_WindowsHasOneConsoleAndNoVirtualSessions(t *testing.T) {
	t.Parallel()
	s := linux(0, 1)
	s.Facts.Os.Family = "windows"
	require.Equal(t, messages.CodeServerFull, s.Reserve("1", "ann", virtual, now).GetCode())
	require.Nil(t, s.Reserve("1", "ann", console, now))
	_, reason := s.Availability()
	require.Equal(t, messages.UnavailabilityReason_UNAVAILABILITY_REASON_SERVER_FULL, reason)
}

func TestReserve_UnconfirmedReservationEnds(t *testing.T) {
	t.Parallel()
	s := linux(1, 1)
	require.Nil(t, s.Reserve("1", "ann", virtual, now.Add(time.Second)))
	freed, next := s.Expire(now)
	require.Zero(t, freed)
	require.Equal(t, now.Add(time.Second), next)
	freed, _ = s.Expire(now.Add(time.Second))
	require.Equal(t, 1, freed)
	require.Nil(t, s.Reserve("2", "bob", virtual, now))
}

// Contract section 4: the limits count sessions made through the broker.
func TestCount_SessionsMadeOnTheHostAreShownButUseNoAllowance(t *testing.T) {
	t.Parallel()
	s := linux(1, 1)
	s.Hold(server.Slot{SessionID: "x", DCVID: "x", Owner: "ann", Type: virtual, External: true, Phase: server.Live})
	require.Equal(t, 1, s.Count().Virtual)
	require.Nil(t, s.Reserve("1", "ann", virtual, now))
	require.EqualValues(t, 2, s.View(1).GetVirtualSessions())
}

func TestAvailability_NamesTheFirstReason(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		change func(*server.Server)
		want   messages.UnavailabilityReason
	}{
		{"available", func(*server.Server) {}, messages.UnavailabilityReason_UNAVAILABILITY_REASON_NONE},
		{"agent away", func(s *server.Server) { s.Reachable = false }, messages.UnavailabilityReason_UNAVAILABILITY_REASON_UNREACHABLE_AGENT},
		{"dcvserver down (F9)", func(s *server.Server) { s.Load.DcvHealthy = false }, messages.UnavailabilityReason_UNAVAILABILITY_REASON_UNHEALTHY_DCV_SERVER},
		{"closed", func(s *server.Server) { s.Closed = true }, messages.UnavailabilityReason_UNAVAILABILITY_REASON_SERVER_CLOSED},
		{"somebody logged in on Windows", func(s *server.Server) {
			s.Facts.Os.Family, s.Load.LoggedInUsers = "windows", []string{"Administrator"}
		}, messages.UnavailabilityReason_UNAVAILABILITY_REASON_EXISTING_LOGGED_IN_USER},
		{"somebody logged in on Linux", func(s *server.Server) { s.Load.LoggedInUsers = []string{"root"} }, messages.UnavailabilityReason_UNAVAILABILITY_REASON_NONE},
		{"full", func(s *server.Server) { s.Facts.MaxVirtualSessions, s.Facts.MaxConsoleSessions = 0, 0 }, messages.UnavailabilityReason_UNAVAILABILITY_REASON_SERVER_FULL},
		{"nothing known", func(s *server.Server) { s.Facts = nil }, messages.UnavailabilityReason_UNAVAILABILITY_REASON_UNKNOWN},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := linux(1, 1)
			c.change(s)
			available, reason := s.Availability()
			require.Equal(t, c.want, reason)
			require.Equal(t, c.want == 0, available == messages.Availability_AVAILABILITY_AVAILABLE)
		})
	}
}

func report(asOf int64, ids ...string) *messages.SessionsUpdateRequest {
	r := &messages.SessionsUpdateRequest{AsOf: asOf}
	for _, id := range ids {
		r.Sessions = append(r.Sessions, &messages.DcvSession{Id: id, Owner: "ann", Type: "virtual"})
	}
	return r
}

func TestReconcile_TellsLaunchedFoundVanishedAndMissing(t *testing.T) {
	t.Parallel()
	s := linux(-1, -1)
	s.Hold(server.Slot{SessionID: "live", DCVID: "live", Phase: server.Live})
	s.Hold(server.Slot{SessionID: "gone", DCVID: "gone", Phase: server.Live})
	s.Hold(server.Slot{SessionID: "new", DCVID: "new", Phase: server.Launching})
	s.Hold(server.Slot{SessionID: "unsent", DCVID: "unsent", Phase: server.Launching})
	s.Hold(server.Slot{SessionID: "promised", DCVID: "promised", Phase: server.Reserved})
	found := s.Reconcile(report(1, "live", "new", "stranger", "stranger"))
	require.Len(t, found.Changed, 1)
	require.Len(t, found.Launched, 1)
	require.Equal(t, "new", found.Launched[0].Slot.SessionID)
	require.Len(t, found.Unclaimed, 1, "a doubled entry counts once")
	require.Len(t, found.Vanished, 1)
	require.Equal(t, "gone", found.Vanished[0].SessionID)
	require.Len(t, found.Missing, 1)
	require.Equal(t, "unsent", found.Missing[0].SessionID)
	require.Empty(t, s.Reconcile(report(1, "live", "new", "stranger")).Changed, "no news is not told")
}

// F14: a report that was begun before the agent's latest answer about a session says
// nothing about it, whenever it arrives.
func TestReconcile_OlderReportSaysNothingAboutANewerReply(t *testing.T) {
	t.Parallel()
	s := linux(-1, -1)
	s.Hold(server.Slot{SessionID: "1", DCVID: "1", Phase: server.Live, LastReply: 5})
	require.Empty(t, s.Reconcile(report(4)).Vanished)
	require.Len(t, s.Reconcile(report(5)).Vanished, 1)
}

// Promise 5, as a rule: whatever comes and goes, no limit is ever passed and the
// count is the number of slots.
func TestSlots_NeverOverCommittedAndAddUp(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		limit, perUser := rapid.Int32Range(0, 4).Draw(t, "limit"), rapid.Int32Range(0, 3).Draw(t, "per user")
		s := linux(limit, perUser)
		held := map[string]bool{}
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			id := fmt.Sprint(rapid.IntRange(0, 9).Draw(t, "session"))
			owner := fmt.Sprint("owner", rapid.IntRange(0, 2).Draw(t, "owner"))
			kind := rapid.SampledFrom([]messages.SessionType{console, virtual}).Draw(t, "type")
			if rapid.Bool().Draw(t, "release") {
				require.Equal(t, held[id], s.Release(id))
				delete(held, id)
			} else if s.Reserve(id, owner, kind, now) == nil {
				held[id] = true
			}
			count := s.Count()
			require.LessOrEqual(t, count.Virtual, int(limit))
			require.LessOrEqual(t, count.Console, 1)
			require.Equal(t, len(held), count.Console+count.Virtual)
			for _, n := range s.View(1).GetVirtualByOwner() {
				require.LessOrEqual(t, n, perUser)
			}
		}
	})
}
