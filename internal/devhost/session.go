package devhost

import (
	"errors"
	"fmt"
	"image"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"opensessionmanager/internal/devhost/control"
	"opensessionmanager/internal/devhost/permfile"
	"opensessionmanager/internal/devhost/screen"
)

const (
	typeConsole = "console"
	typeVirtual = "virtual"

	timeFormat = "2006-01-02T15:04:05.000000Z"
	// firstDisplay keeps away from the displays a developer's machine really has.
	firstDisplay = 1001
)

var errNotRunning = errors.New(control.NotRunning)

func errNoSession(id string) error { return fmt.Errorf("session %.200q was not found", id) }

// session is one session. The host's lock guards all of it.
type session struct {
	record
	permissions permfile.File
	layout      []image.Rectangle
	clients     map[int]*client
	init        *initScript // nil: none was asked for
}

// record is what is kept of a session on disk.
type record struct {
	ID               string    `json:"id"`
	Type             string    `json:"type"`
	Name             string    `json:"name"`
	Owner            string    `json:"owner"`
	User             string    `json:"user"`
	StorageRoot      string    `json:"storage_root"`
	GL               string    `json:"gl"`
	GLDisplay        string    `json:"gl_display"`
	MaxClients       int       `json:"max_clients"` // 0: no limit
	Init             string    `json:"init"`
	Permissions      string    `json:"permissions"`
	Layout           string    `json:"layout"`
	Display          int       `json:"display"`
	Created          time.Time `json:"created"`
	LastDisconnected time.Time `json:"last_disconnected"`
}

// open makes a session of a record.
func (r record) open() (*session, error) {
	permissions, err := permfile.Parse(r.Permissions)
	if err != nil {
		return nil, err
	}
	layout, err := screen.ParseLayout(r.Layout)
	if err != nil {
		return nil, err
	}
	return &session{record: r, permissions: permissions, layout: layout, clients: map[int]*client{}}, nil
}

// shut ends what belongs to a session: its clients and its init script.
func (s *session) shut(reason string) {
	for _, c := range s.clients {
		c.end(reason)
	}
	if s.init != nil {
		s.init.stop()
	}
}

// announce tells every client that there is something new to see.
func (s *session) announce() {
	for _, c := range s.clients {
		c.poke()
	}
}

func (s *session) users() []string {
	users := make([]string, 0, len(s.clients))
	for _, c := range s.clients {
		users = append(users, c.user)
	}
	slices.Sort(users)
	return users
}

func (h *Host) view(s *session) control.Session {
	now := h.cfg.Now()
	v := control.Session{
		ID: s.ID, Owner: s.Owner, User: s.User, Name: s.Name, NumOfConnections: len(s.clients),
		CreationTime: stamp(s.Created), LastDisconnectionTime: stamp(s.LastDisconnected), LicensingMode: "demo",
		StorageRoot: s.StorageRoot, Type: s.Type, Status: "created", X11Display: fmt.Sprintf(":%d", s.Display),
		X11Authority: filepath.Join(h.cfg.Dir, s.ID+".xauth"),
	}
	for _, product := range []string{"dcv", "dcv-gl"} {
		if product == "dcv" || s.GL == "on" {
			v.Licenses = append(v.Licenses, control.License{
				Product: product, Status: "licensed", CheckTimestamp: stamp(now),
				ExpirationDate: stamp(now.AddDate(0, 1, 0)),
			})
		}
	}
	for _, d := range s.layout {
		v.DisplayLayout = append(v.DisplayLayout, control.Display{Width: d.Dx(), Height: d.Dy(), X: d.Min.X, Y: d.Min.Y})
	}
	return v
}

// stamp is a time as DCV prints it, "" for the zero time.
func stamp(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(timeFormat)
}

// Sessions lists all sessions, oldest first.
func (h *Host) Sessions() []control.Session {
	h.mu.Lock()
	defer h.mu.Unlock()
	views := make([]control.Session, 0, len(h.sessions))
	for _, s := range h.sessionsInOrder() {
		views = append(views, h.view(s))
	}
	return views
}

func (h *Host) sessionsInOrder() []*session {
	all := make([]*session, 0, len(h.sessions))
	for _, s := range h.sessions {
		all = append(all, s)
	}
	slices.SortFunc(all, func(a, b *session) int {
		if c := a.Created.Compare(b.Created); c != 0 {
			return c
		}
		return strings.Compare(a.ID, b.ID)
	})
	return all
}
