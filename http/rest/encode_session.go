package rest

import (
	"bytes"

	"opensessionmanager/actors/roster"
	"opensessionmanager/messages"
)

// appendSession writes a session of the roster with the server it is on.
//
// The session's own members are kept beside its view, still open; those of the
// server beside the server's view. So a list costs copying, and a server whose
// load changed does not make its sessions be encoded again.
func appendSession(b []byte, snapshot *roster.Snapshot, session *roster.Session) []byte {
	if kept := session.Encoded.Load(); kept != nil {
		b = append(b, *kept...)
	} else {
		start := len(b)
		b = appendSessionMembers(append(b, '{'), session.View)
		fragment := bytes.Clone(b[start:])
		session.Encoded.Store(&fragment)
	}
	if id := session.View.GetServerId(); id != "" {
		if server, ok := snapshot.Server(id); ok {
			b = appendServerBrief(appendName(b, "Server"), server)
		}
	}
	return closeObject(b)
}

// appendSessionMembers writes a session without its server and without braces:
// the last byte is a comma.
func appendSessionMembers(b []byte, v *messages.SessionView) []byte {
	b = appendText(b, "Id", v.GetId())
	b = appendText(b, "Name", v.GetName())
	b = appendText(b, "Owner", v.GetOwner())
	b = appendText(b, "Type", typeName(v.GetType()))
	if v.MaxConcurrentClients != nil {
		b = appendInt(b, "MaxConcurrentClients", v.GetMaxConcurrentClients())
	}
	b = appendText(b, "State", stateName(v.GetState()))
	b = appendOptionalText(b, "Substate", substateName(v.GetSubstate()))
	if v.GetState() != messages.SessionState_SESSION_STATE_READY {
		b = appendOptionalText(b, "StateReason", stateReason(v))
	}
	b = appendOptionalTime(b, "CreationTime", v.GetCreationUnixMs())
	b = appendOptionalTime(b, "LastDisconnectionTime", v.GetLastDisconnectionUnixMs())
	b = appendInt(b, "NumOfConnections", v.GetNumOfConnections())
	return appendOptionalText(b, "StorageRoot", v.GetStorageRoot())
}

func stateReason(v *messages.SessionView) string {
	if text := v.GetStateReason(); text != "" {
		return text
	}
	return v.GetReasonCode()
}

func typeName(t messages.SessionType) string {
	if t == messages.SessionType_SESSION_TYPE_CONSOLE {
		return "CONSOLE"
	}
	return "VIRTUAL"
}

func stateName(s messages.SessionState) string {
	switch s {
	case messages.SessionState_SESSION_STATE_CREATING:
		return "CREATING"
	case messages.SessionState_SESSION_STATE_READY:
		return "READY"
	case messages.SessionState_SESSION_STATE_DELETING:
		return "DELETING"
	case messages.SessionState_SESSION_STATE_DELETED:
		return "DELETED"
	default:
		return "UNKNOWN"
	}
}

func substateName(s messages.SessionSubstate) string {
	switch s {
	case messages.SessionSubstate_SESSION_SUBSTATE_PLACING:
		return "SESSION_PLACING"
	case messages.SessionSubstate_SESSION_SUBSTATE_PENDING_PREPARATION:
		return "PENDING_PREPARATION"
	default:
		return ""
	}
}
