package devhost

import (
	"context"

	"opensessionmanager/internal/devhost/control"
)

const consoleID = "console"

// powerUp lets the server run; it does nothing if it does already.
func (h *Host) powerUp() {
	h.mu.Lock()
	if h.up == nil || h.up.Err() != nil {
		h.up, h.down = context.WithCancel(h.life)
	}
	_, hasConsole := h.sessions[consoleID]
	h.mu.Unlock()
	if h.cfg.ConsoleOwner == "" || hasConsole {
		return
	}
	err := h.createSession(consoleID, control.NewSession{Type: typeConsole, Owner: h.cfg.ConsoleOwner})
	if err != nil {
		h.log.Error("no automatic console session", "error", err)
	}
}

// powerDown stops the server: commands under way fail, all sessions are gone, all
// clients are cut.
func (h *Host) powerDown() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.down()
	for _, s := range h.sessions {
		h.remove(s, "The server has stopped.")
	}
	h.log.Info("server stopped")
	return h.save()
}

func (h *Host) loseSession(id string) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	s, ok := h.sessions[id]
	if !ok {
		return errNoSession(id)
	}
	h.remove(s, "The session has ended unexpectedly.")
	h.log.Info("session lost", "session", id)
	return h.save()
}
