package devhost

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"opensessionmanager/internal/devhost/control"
	"opensessionmanager/internal/devhost/permfile"
	"opensessionmanager/internal/devhost/screen"
)

const (
	requestTimeout = 10 * time.Second // for a caller to say what it wants
	answerTimeout  = time.Minute      // for it to take the answer
	maxSettings    = 200
	maxSetting     = 1024 // bytes of a section, key or value
)

// serveControl takes `dcv` commands until the host closes.
func (h *Host) serveControl() {
	for {
		conn, err := h.control.Accept()
		if err != nil {
			if !errors.Is(err, net.ErrClosed) {
				h.log.Error("control socket failed", "error", err)
			}
			return
		}
		select {
		case h.commands <- struct{}{}:
			h.tasks.Go(func() {
				defer func() { <-h.commands }()
				h.serveCommand(conn)
			})
		default: // too many at once; the caller sees no answer
			_ = conn.Close()
		}
	}
}

func (h *Host) serveCommand(conn net.Conn) {
	defer conn.Close()
	defer context.AfterFunc(h.life, func() { conn.Close() })()
	caller, gone := context.WithCancel(h.life)
	defer gone()
	if conn.SetReadDeadline(time.Now().Add(requestTimeout)) != nil {
		return
	}
	request, err := control.ReadRequest(conn)
	answer := control.Answer{}
	if err != nil {
		answer.Error = err.Error()
	} else {
		_ = conn.SetReadDeadline(time.Time{})
		h.tasks.Go(func() { // ends when the caller or we close
			_, _ = io.Copy(io.Discard, conn)
			gone()
		})
		answer = h.Do(caller, request)
	}
	_ = conn.SetWriteDeadline(time.Now().Add(answerTimeout))
	if err := json.NewEncoder(conn).Encode(answer); err != nil {
		h.log.Info("caller left before the answer", "command", request.Command)
	}
}

// Do carries out a command as the `dcv` program would, faults included. The
// context ends when the caller gives up; a stall of a given length ends on its own
// and the command is carried out even then, as a server does.
func (h *Host) Do(caller context.Context, r control.Request) control.Answer {
	switch r.Command {
	case control.InjectFault:
		if r.Fault == nil {
			return failed(r.Command, errors.New("no fault given"))
		}
		return failed(r.Command, h.Inject(*r.Fault))
	case control.ClearFaults:
		h.ClearFaults()
		return control.Answer{}
	case control.Status:
		status := h.Status()
		return control.Answer{Status: &status}
	}
	if err := h.obstruct(caller, r.Command); err != nil {
		return failed(r.Command, err)
	}
	answer, err := h.perform(r)
	if err != nil {
		return failed(r.Command, err)
	}
	if f, struck := h.take(control.Garbage, r.Command); struck {
		answer.Garbage = f.Form
	}
	return answer
}

func failed(command string, err error) control.Answer {
	if err == nil {
		return control.Answer{}
	}
	return control.Answer{Error: control.Sentence(command, err)}
}

func (h *Host) perform(r control.Request) (control.Answer, error) {
	switch r.Command {
	case control.CreateSession:
		if r.Create == nil {
			return control.Answer{}, errors.New("no session given")
		}
		return control.Answer{}, h.createSession(r.Session, *r.Create)
	case control.CloseSession:
		return control.Answer{}, h.closeSession(r.Session)
	case control.ListSessions:
		return control.Answer{Sessions: h.Sessions()}, nil
	case control.DescribeSession:
		return h.describeSession(r.Session)
	case control.ListConnections:
		return h.listConnections(r.Session)
	case control.CloseConnection:
		return control.Answer{}, h.closeConnection(r.Session, r.Connection)
	case control.SetPermissions:
		return control.Answer{}, h.setPermissions(r.Session, r.Permissions)
	case control.GetScreenshot:
		return h.getScreenshot(r.Session, r.Screenshot)
	case control.SetDisplayLayout:
		return control.Answer{}, h.setDisplayLayout(r.Session, r.Layout)
	case control.SetName:
		return control.Answer{}, h.setName(r.Session, r.Name)
	case control.SetConfig:
		return control.Answer{}, h.setConfig(r.Setting)
	case control.ListEndpoints:
		return h.listEndpoints(), nil
	}
	return control.Answer{}, errors.New("unknown command")
}

func (h *Host) closeSession(id string) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	s, ok := h.sessions[id]
	if !ok {
		return errNoSession(id)
	}
	h.remove(s, "The session has been closed.")
	h.log.Info("session closed", "session", id)
	return h.save()
}

// remove takes a session away. The caller holds the lock and saves.
func (h *Host) remove(s *session, reason string) {
	delete(h.sessions, s.ID)
	s.shut(reason)
}

// change lets edit change a session and saves it.
func (h *Host) change(id string, edit func(*session) error) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	s, ok := h.sessions[id]
	if !ok {
		return errNoSession(id)
	}
	if err := edit(s); err != nil {
		return err
	}
	s.announce()
	return h.save()
}

func (h *Host) describeSession(id string) (control.Answer, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	s, ok := h.sessions[id]
	if !ok {
		return control.Answer{}, errNoSession(id)
	}
	return control.Answer{Sessions: []control.Session{h.view(s)}}, nil
}

// setPermissions is `dcv set-permissions`; clients left with nothing are cut.
func (h *Host) setPermissions(id string, p *control.PermissionChange) error {
	if p == nil {
		return errors.New("no permissions given")
	}
	text := p.File
	if p.Reset {
		text = permfile.Default
	}
	permissions, err := permfile.Parse(text)
	if err != nil {
		return err
	}
	return h.change(id, func(s *session) error {
		s.Permissions, s.permissions = text, permissions
		for _, c := range s.clients {
			if c.features = permissions.Allowed(c.user, s.Owner); len(c.features) == 0 {
				c.end("You are no longer allowed to use this session.")
			}
		}
		return nil
	})
}

func (h *Host) setDisplayLayout(id, descriptor string) error {
	layout, err := screen.ParseLayout(descriptor)
	if err != nil {
		return err
	}
	return h.change(id, func(s *session) error {
		s.layout, s.Layout = layout, screen.FormatLayout(layout)
		return nil
	})
}

func (h *Host) setName(id, name string) error {
	if !validText(name, maxName) {
		return fmt.Errorf("the name is longer than %d characters or not printable", maxName)
	}
	return h.change(id, func(s *session) error {
		s.Name = name
		return nil
	})
}

// setConfig remembers a setting, for `dcv-devserver status`; none has an effect.
func (h *Host) setConfig(s *control.Setting) error {
	if s == nil || s.Section == "" || s.Key == "" || max(len(s.Section), len(s.Key), len(s.Value)) > maxSetting {
		return fmt.Errorf("want a section, a key and a value of at most %d bytes", maxSetting)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	name := s.Section + "/" + s.Key
	if _, known := h.settings[name]; !known && len(h.settings) >= maxSettings {
		return fmt.Errorf("there are %d settings already", maxSettings)
	}
	h.settings[name] = s.Value
	return nil
}

func (h *Host) listEndpoints() control.Answer {
	return control.Answer{Endpoints: []control.Endpoint{{
		IPAddress: h.info.Address, Port: h.info.Port, Protocol: "HTTP", WebURLPath: h.info.WebURLPath,
		Fingerprint: h.fingerprint,
	}}}
}
