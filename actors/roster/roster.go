package roster

import (
	"sync/atomic"

	"opensessionmanager/messages"
)

// Session is one version of one session.
type Session struct {
	View *messages.SessionView // never changed
	// Encoded is where a reader keeps the session's own part in its output form.
	Encoded atomic.Pointer[[]byte]
}

// Server is one version of one server.
type Server struct {
	View *messages.ServerView // never changed
	// Encoded is where a reader keeps the full output form.
	Encoded atomic.Pointer[[]byte]
	// Brief is where a reader keeps the form that is nested in a session.
	Brief atomic.Pointer[[]byte]
}

// Snapshot is the whole fleet at one moment. It is safe for concurrent use.
type Snapshot struct {
	x indexes
}

// Session finds a session by its id.
func (s *Snapshot) Session(id string) (*Session, bool) { return s.x.sessions.get(id) }

// Server finds a server by its id.
func (s *Snapshot) Server(id string) (*Server, bool) { return s.x.servers.get(id) }

// CountSessions says how many sessions there are, in whatever state.
func (s *Snapshot) CountSessions() int { return s.x.sessions.len() }

// CountServers says how many servers there are, reachable or not.
func (s *Snapshot) CountServers() int { return s.x.servers.len() }

// SessionsOn lists the sessions bound to a server, oldest first.
func (s *Snapshot) SessionsOn(serverID string) []*Session {
	if serverID == "" {
		return nil
	}
	var found []*Session
	s.x.onServer(serverID, SessionCursor{}).scan(func(e *Session) bool {
		found = append(found, e)
		return true
	})
	return found
}

// ServerCursor is a place in the list of servers: after this hostname and id.
// The zero value is the start.
type ServerCursor struct {
	Hostname string
	ID       string
}

// ServerPage is a part of the list of servers. Next is where the following page
// starts; it is set only if More is.
type ServerPage struct {
	Servers []*Server
	Next    ServerCursor
	More    bool
}

// Servers lists the servers after a place, in order of hostname, then id. A
// limit of 0 or less means all of them.
func (s *Snapshot) Servers(after ServerCursor, limit int) ServerPage {
	var page ServerPage
	from := &Server{View: &messages.ServerView{
		Id: after.ID, Facts: &messages.ServerFacts{Hostname: after.Hostname},
	}}
	s.x.byHostname.Ascend(from, func(e *Server) bool {
		if !hostnameOrder(from, e) {
			return true // the place itself, which the page before ended with
		}
		if limit > 0 && len(page.Servers) == limit {
			page.More = true
			return false
		}
		page.Servers = append(page.Servers, e)
		return true
	})
	if page.More {
		last := page.Servers[limit-1].View
		page.Next = ServerCursor{Hostname: last.GetFacts().GetHostname(), ID: last.Id}
	}
	return page
}

// ServersOfMachine lists the entries of one machine, in order of id. More than one
// means that it came back under another server id and the older has not ended yet.
func (s *Snapshot) ServersOfMachine(machineID string) []*Server {
	var found []*Server
	from := &Server{View: &messages.ServerView{MachineId: machineID}}
	s.x.byMachine.Ascend(from, func(e *Server) bool {
		if e.View.MachineId != machineID {
			return false
		}
		found = append(found, e)
		return true
	})
	return found
}
