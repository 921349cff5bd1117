package session

import (
	"time"
	"unique"

	"opensessionmanager/messages"
)

// Record is the durable form. Unknown that nobody asked to delete is stored as
// Ready: whether a host can be reached is not worth a write.
func (s Session) Record() *messages.SessionRecord {
	state := s.State
	if state == Unknown && !s.DeleteAsked {
		state = Ready
	}
	r := &messages.SessionRecord{
		Id: s.ID, DcvId: s.DCVID, Spec: s.Spec, External: s.External,
		State: string(state), CreatedUnixMs: millis(s.Created), SinceUnixMs: millis(s.Since),
		DeadlineUnixMs: millis(s.Deadline), ServerId: s.ServerID, MachineId: s.MachineID,
		Attempts: int32(s.Attempts), TriedServers: s.Tried,
		ReasonCode: s.Reason.Code, ReasonText: s.Reason.Text,
		DeleteAsked: s.DeleteAsked, CloseOwed: s.CloseOwed, RequestDigest: s.Digest,
		LastDisconnectionUnixMs: millis(s.Disconnected), StorageRoot: s.StorageRoot,
		DeleteRequest: s.DeleteRequest, Buried: s.State == Buried,
	}
	r.ProtoReflect().SetUnknown(s.Newer)
	return r
}

// FromRecord is the inverse of Record.
func FromRecord(r *messages.SessionRecord) Session {
	state := State(r.GetState())
	if r.GetBuried() {
		state = Buried
	}
	return Session{
		ID: r.GetId(), DCVID: r.GetDcvId(), Spec: r.GetSpec(), External: r.GetExternal(),
		State: state, Created: instant(r.GetCreatedUnixMs()), Since: instant(r.GetSinceUnixMs()),
		// Many sessions share a server: so that a hundred thousand of them do not keep
		// as many copies of its long id.
		Deadline: instant(r.GetDeadlineUnixMs()), ServerID: shared(r.GetServerId()), MachineID: shared(r.GetMachineId()),
		Attempts: int(r.GetAttempts()), Tried: r.GetTriedServers(),
		Reason:      Reason{Code: r.GetReasonCode(), Text: r.GetReasonText()},
		DeleteAsked: r.GetDeleteAsked(), CloseOwed: r.GetCloseOwed(), Digest: r.GetRequestDigest(),
		Disconnected: instant(r.GetLastDisconnectionUnixMs()), StorageRoot: r.GetStorageRoot(), DeleteRequest: r.GetDeleteRequest(),
		Newer: r.ProtoReflect().GetUnknown(),
	}
}

// View is the published picture (contract section 1.2).
func (s Session) View(version int64) *messages.SessionView {
	state, substate := s.seen()
	v := &messages.SessionView{
		Id: s.ID, DcvId: s.DCVID, Name: s.Spec.GetName(), Owner: s.Spec.GetOwner(), Type: s.Spec.GetType(),
		State: state, Substate: substate, CreationUnixMs: millis(s.Created),
		LastDisconnectionUnixMs: millis(s.Disconnected), NumOfConnections: s.Connections,
		StorageRoot: s.StorageRoot, ServerId: s.ServerID, External: s.External, Version: version,
	}
	if s.Spec != nil {
		v.MaxConcurrentClients = s.Spec.MaxConcurrentClients
	}
	if s.State != Ready { // contract section 17: absent when READY
		v.ReasonCode, v.StateReason = s.Reason.Code, s.Reason.Text
	}
	return v
}

// FromView makes a record again of what readers see, after the store lost it: somebody
// deleted its data. What was not placed for good is over, for how it was to be made is
// not in the view; Recall knows better if an activation remembers.
func FromView(now time.Time, v *messages.SessionView, limits Limits) Session {
	s := Session{
		ID: v.GetId(), DCVID: v.GetDcvId(), External: v.GetExternal(), Created: instant(v.GetCreationUnixMs()),
		Spec: &messages.SessionSpec{Name: v.GetName(), Owner: v.GetOwner(), Type: v.GetType(),
			MaxConcurrentClients: v.MaxConcurrentClients, StorageRoot: v.GetStorageRoot()},
		ServerID: shared(v.GetServerId()), Connections: v.GetNumOfConnections(),
		Disconnected: instant(v.GetLastDisconnectionUnixMs()), StorageRoot: v.GetStorageRoot(),
	}
	switch v.GetState() {
	case messages.SessionState_SESSION_STATE_READY, messages.SessionState_SESSION_STATE_UNKNOWN:
		return s.enter(now, Ready, limits)
	case messages.SessionState_SESSION_STATE_DELETING:
		s.DeleteAsked = true
		return s.enter(now, Deleting, limits)
	case messages.SessionState_SESSION_STATE_DELETED:
		s.Reason = Reason{Code: v.GetReasonCode(), Text: v.GetStateReason()}
		return s.enter(now, Deleted, limits)
	default:
		s.Reason = Reason{Code: messages.CodeStoreUnavailable, Text: "the record of the session was deleted from the store before it was made"}
		return s.enter(now, Deleted, limits)
	}
}

// Recall adds to a session that was made of a view what an activation held of it: all,
// if that is what readers see; else how it was asked for, which never changes.
func (s Session) Recall(held Session) Session {
	if held.ID != s.ID {
		return s
	}
	same := held.ServerID == s.ServerID && (held.State == s.State || held.State == Unknown && s.State == Ready)
	if same || held.Coming() && s.lost() {
		return held
	}
	s.Spec, s.Digest, s.MachineID = held.Spec, held.Digest, held.MachineID
	return s
}

// lost: FromView gave it up for want of its record.
func (s Session) lost() bool {
	return s.State == Deleted && s.Reason.Code == messages.CodeStoreUnavailable
}

// ShownBy says whether a view shows what is stored, apart from what is not stored:
// connections, and whether the host can be talked to.
func (s Session) ShownBy(v *messages.SessionView) bool {
	state, substate := s.seen()
	shown := v.GetState()
	if s.State == Ready && shown == messages.SessionState_SESSION_STATE_UNKNOWN {
		shown = state
	}
	return shown == state && v.GetSubstate() == substate && v.GetServerId() == s.ServerID && v.GetDcvId() == s.DCVID
}

func (s Session) seen() (messages.SessionState, messages.SessionSubstate) {
	switch s.State {
	case Fresh, Queued, Replacing:
		return messages.SessionState_SESSION_STATE_CREATING, messages.SessionSubstate_SESSION_SUBSTATE_PLACING
	case Placed:
		return messages.SessionState_SESSION_STATE_CREATING, messages.SessionSubstate_SESSION_SUBSTATE_PENDING_PREPARATION
	case Ready:
		return messages.SessionState_SESSION_STATE_READY, messages.SessionSubstate_SESSION_SUBSTATE_NONE
	case Deleting:
		return messages.SessionState_SESSION_STATE_DELETING, messages.SessionSubstate_SESSION_SUBSTATE_NONE
	case Deleted, Buried, Gone:
		return messages.SessionState_SESSION_STATE_DELETED, messages.SessionSubstate_SESSION_SUBSTATE_NONE
	default:
		return messages.SessionState_SESSION_STATE_UNKNOWN, messages.SessionSubstate_SESSION_SUBSTATE_NONE
	}
}

func shared(id string) string { return unique.Make(id).Value() }

func millis(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

func instant(ms int64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms).UTC()
}
