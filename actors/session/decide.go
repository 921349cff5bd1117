package session

import (
	"time"

	"opensessionmanager/messages"
)

func (st step) do(kind EffectKind, serverID string) step {
	st.effects = append(st.effects, Effect{Kind: kind, ServerID: serverID})
	return st
}

func (st step) to(next State) step {
	st.next = st.next.enter(st.now, next, st.limits)
	return st
}

func (st step) because(code, text string) step {
	st.next.Reason = Reason{Code: code, Text: text}
	return st
}

// bind takes the reserved slot and has the session made there.
func bind(st step) step {
	st.next.ServerID, st.next.MachineID = st.event.ServerID, st.event.MachineID
	st.next.Attempts++
	st.next.Reason = Reason{}
	return st.do(Launch, st.event.ServerID)
}

// adopt takes in a session that was made on a host without us.
func adopt(st step) step {
	st.next.External = true
	st.next.ServerID, st.next.MachineID = st.event.ServerID, st.event.MachineID
	return note(st)
}

func live(st step) step {
	st.next.Reason = Reason{}
	return note(st)
}

// note takes over what the host reports of a living session.
func note(st step) step {
	st.next.Connections = st.event.Connections
	if !st.event.Disconnected.IsZero() {
		st.next.Disconnected = st.event.Disconnected
	}
	if st.event.StorageRoot != "" {
		st.next.StorageRoot = st.event.StorageRoot
	}
	return st
}

// retryOrFail seeks another host while tries are left.
func retryOrFail(st step) step {
	lost := st.next.ServerID
	st = st.do(ReleaseSlot, lost)
	st.next.Reason = st.event.Reason
	if st.next.PlaceLost() {
		st.next.Attempts-- // nothing was launched
		return unbind(st).do(Place, "")
	}
	st.next = st.next.failedOn(lost)
	if !st.next.mayRetry(st.limits) {
		return unbind(st.to(Deleted))
	}
	return unbind(st).do(Place, "")
}

// tooSlow is retryOrFail for a host that never answered: it may still make the
// session later, so it is told to close it.
func tooSlow(st step) step {
	st.event.Reason = Reason{Code: messages.CodeAgentTimeout, Text: "the host did not create the session in time"}
	lost := st.next.ServerID
	st = st.do(Close, lost) // before the next try, which may be on the same host
	return retryOrFail(st)
}

// unbind leaves the server. The Deleted keep their server for the record.
func unbind(st step) step {
	if st.next.State != Deleted {
		st.next.ServerID, st.next.MachineID = "", ""
	}
	return st
}

func leave(st step) step {
	st.next.DeleteAsked, st.next.DeleteRequest = true, st.event.RequestID
	return st.do(LeaveQueue, "")
}

func giveUp(st step) step {
	if st.event.Reason.Code != "" {
		return st.because(st.event.Reason.Code, st.event.Reason.Text).do(LeaveQueue, "")
	}
	if st.next.Reason.Code == "" {
		st = st.because(messages.CodeNoServer, "no server could take the session in time")
	}
	return st.do(LeaveQueue, "")
}

func queueOver(st step) step {
	return st.because(messages.CodeQueueTimeout, "no server had room before create-sessions-queue-max-time-seconds passed").
		do(LeaveQueue, "")
}

func closeIt(st step) step {
	st.next.DeleteAsked, st.next.DeleteRequest = true, st.event.RequestID
	st.next.CloseOwed = st.event.Force
	return st.do(Close, st.next.ServerID)
}

func closeAgain(st step) step {
	st.soft = st.next.CloseOwed || !st.event.Force // what was promised is stored
	st.next.CloseOwed = st.next.CloseOwed || st.event.Force
	return st.do(Close, st.next.ServerID)
}

// closeStray ends what runs where it should not: a launch that was given up and
// succeeded late.
func closeStray(st step) step { return st.do(Close, st.event.ServerID) }

// drop is a forced delete with nobody to ask: it counts as deleted, and its host
// is told once it can be.
func drop(st step) step {
	st.next.DeleteAsked, st.next.CloseOwed = true, true
	if st.event.RequestID != "" {
		st.next.DeleteRequest = st.event.RequestID
	}
	return st.because(messages.CodeUnreachable, "deleted by force while its host could not be reached").
		do(Close, st.next.ServerID).do(ReleaseSlot, st.next.ServerID)
}

func end(st step) step {
	if st.event.Reason.Code != "" && !st.next.DeleteAsked {
		st = st.because(st.event.Reason.Code, st.event.Reason.Text)
	} else if st.next.DeleteAsked {
		st.next.Reason = Reason{}
	}
	st.next.Connections, st.next.CloseOwed = 0, false
	if st.next.External && (st.event.Kind == Closed || st.event.Kind == Vanished) {
		st.next.DeleteAsked = false // what its host shows later is another one
	}
	return st.do(ReleaseSlot, st.next.ServerID)
}

func lose(st step) step {
	return st.because(messages.CodeUnreachable, "the agent of its server cannot be reached")
}

// comeBack ends the doubt: back to Ready, or on with a deletion that was asked for.
func comeBack(st step) step {
	st = note(st)
	st.next.Reason = Reason{}
	if st.next.DeleteAsked {
		return st.to(Deleting).do(Close, st.next.ServerID)
	}
	st.soft = true // stored as Ready all along
	return st
}

// move binds the session to the server of the event and frees its slot on the other.
func (st step) move() step {
	if old := st.next.ServerID; old != "" && old != st.event.ServerID {
		st = st.do(ReleaseSlot, old)
	}
	st.next.ServerID, st.next.MachineID = st.event.ServerID, st.event.MachineID
	return st
}

func rebind(st step) step {
	st = st.move()
	if st.next.DeleteAsked {
		return st.to(Deleting).do(Close, st.event.ServerID)
	}
	if st.next.State == Placed {
		return note(st).do(Launch, st.event.ServerID)
	}
	return note(st)
}

func rebindAndClose(st step) step {
	st = st.move()
	return st.do(Close, st.event.ServerID)
}

func noteReason(st step) step {
	return st.because(st.event.Reason.Code, st.event.Reason.Text)
}

// unconfirmed: the host never said that it closed the session. The wish to delete
// stays; the next report of the host decides. With force it counts as deleted.
func unconfirmed(st step) step {
	if st.next.CloseOwed {
		return drop(st.to(Deleted))
	}
	return st.because(messages.CodeAgentTimeout, "its host did not confirm the deletion in time; it will be deleted when the host is back")
}

// reappear: a host shows a session that counted as over. A deletion that somebody was
// promised is not undone by that: it goes on until the host has done it. A session made
// without us may have been made again under its name once its host had closed it.
func reappear(st step) step {
	st = st.move()
	if st.next.CloseOwed || st.next.DeleteAsked {
		return st.to(Deleting).do(Close, st.event.ServerID)
	}
	st.next.Reason = Reason{}
	st.next.Deadline = time.Time{}
	return note(st)
}

// bury hides what is over. What was made by request is known for longer.
func bury(st step) step {
	if st.next.External || st.limits.Bury <= st.limits.KeepDeleted {
		return forget(st.to(Gone))
	}
	return st
}

func forget(st step) step { return st.do(Forget, "") }
