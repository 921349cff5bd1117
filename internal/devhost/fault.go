package devhost

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"opensessionmanager/internal/devhost/control"
)

const maxFaults = 32

// Inject makes something go wrong: at once, or from now on (see control.Fault).
func (h *Host) Inject(f control.Fault) error {
	if err := f.Check(); err != nil {
		return err
	}
	switch f.Kind {
	case control.LoseSession:
		return h.loseSession(f.Session)
	case control.Stop:
		return h.powerDown()
	case control.Start:
		h.powerUp()
		return nil
	case control.Restart:
		err := h.powerDown()
		h.powerUp()
		return err
	}
	if f.Kind == control.Fail && f.Command == "" {
		f.Command = control.CreateSession
	}
	if f.Message == "" {
		f.Message = "this failure was asked for"
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.faults) >= maxFaults {
		return fmt.Errorf("devhost: there are %d faults already", maxFaults)
	}
	h.faults = append(h.faults, f)
	h.log.Info("fault injected", "kind", f.Kind, "command", f.Command, "times", f.Times)
	return nil
}

// ClearFaults ends all faults that last. Stalled commands go on; a stopped server
// stays stopped.
func (h *Host) ClearFaults() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.faults = nil
	close(h.cleared)
	h.cleared = make(chan struct{})
}

// take finds a fault that strikes this command now and uses it up.
func (h *Host) take(kind control.FaultKind, command string) (control.Fault, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.takeLocked(kind, command)
}

func (h *Host) takeLocked(kind control.FaultKind, command string) (control.Fault, bool) {
	i := slices.IndexFunc(h.faults, func(f control.Fault) bool {
		return f.Kind == kind && (f.Command == "" || f.Command == command)
	})
	if i < 0 {
		return control.Fault{}, false
	}
	f := h.faults[i]
	if f.Times == 1 {
		h.faults = slices.Delete(h.faults, i, i+1)
	} else if f.Times > 1 {
		h.faults[i].Times--
	}
	return f, true
}

// obstruct does to a command what the faults say: it takes time, and it fails. A
// command that is under way when the server stops fails like one that comes later.
func (h *Host) obstruct(caller context.Context, command string) error {
	up, err := h.delay(caller, command)
	if err != nil {
		return err
	}
	if up.Err() != nil {
		return errNotRunning
	}
	if f, struck := h.take(control.Fail, command); struck {
		return errors.New(f.Message)
	}
	return nil
}

// delay waits as long as the faults say and returns the context of the server run
// in which the command began.
func (h *Host) delay(caller context.Context, command string) (context.Context, error) {
	h.mu.Lock()
	up, cleared := h.up, h.cleared
	var wait time.Duration
	forever := false
	if up.Err() == nil {
		slow, _ := h.takeLocked(control.Slow, command)
		stall, stalled := control.Fault{}, false
		if command != connecting {
			stall, stalled = h.takeLocked(control.Stall, command)
		}
		wait = time.Duration(slow.DelayMillis+stall.DelayMillis) * time.Millisecond
		forever = stalled && stall.DelayMillis == 0
	}
	h.mu.Unlock()
	switch {
	case forever:
		select {
		case <-up.Done():
		case <-cleared:
		case <-caller.Done():
			return up, caller.Err()
		}
	case wait > 0:
		timer := time.NewTimer(wait)
		defer timer.Stop()
		select {
		case <-up.Done():
		case <-cleared:
		case <-timer.C:
		}
	}
	return up, nil
}

// Status says how the host is and what is wrong with it.
func (h *Host) Status() control.HostStatus {
	h.mu.Lock()
	defer h.mu.Unlock()
	s := control.HostStatus{
		Name: h.info.Name, Running: h.up.Err() == nil, Port: h.info.Port, Sessions: len(h.sessions),
		Faults: slices.Clone(h.faults), Settings: maps.Clone(h.settings),
	}
	for _, session := range h.sessions {
		s.Connections += len(session.clients)
	}
	return s
}
