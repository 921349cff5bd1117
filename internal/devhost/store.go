package devhost

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

const (
	sessionsFile = "sessions.json"
	maxState     = 512 << 20 // bytes: every session with the largest permissions file
)

// save writes all sessions if they are to be kept. The caller holds the lock.
func (h *Host) save() error {
	if !h.cfg.KeepSessions {
		return nil
	}
	records := make([]record, 0, len(h.sessions))
	for _, s := range h.sessionsInOrder() {
		records = append(records, s.record)
	}
	data, err := json.MarshalIndent(records, "", " ")
	if err != nil {
		return fmt.Errorf("devhost: encode sessions: %w", err)
	}
	return replaceFile(filepath.Join(h.cfg.Dir, sessionsFile), data, 0o600)
}

// restore reads the sessions that were kept, or forgets them. Their init scripts
// ended with the process that ran them and are not run again.
func (h *Host) restore() error {
	path := filepath.Join(h.cfg.Dir, sessionsFile)
	if !h.cfg.KeepSessions {
		if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("devhost: forget sessions: %w", err)
		}
		return nil
	}
	data, err := readBounded(path, maxState)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	sessions, err := decodeState(data)
	if err != nil {
		return fmt.Errorf("devhost: %s is damaged, remove it to start empty: %w", path, err)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.sessions = sessions
	return nil
}

func decodeState(data []byte) (map[string]*session, error) {
	var records []record
	if err := json.Unmarshal(data, &records); err != nil {
		return nil, err
	}
	if len(records) > MaxSessions {
		return nil, fmt.Errorf("more than %d sessions", MaxSessions)
	}
	sessions := map[string]*session{}
	for _, r := range records {
		if !validID(r.ID) || r.Type != typeConsole && r.Type != typeVirtual {
			return nil, fmt.Errorf("session %.80q is not valid", r.ID)
		}
		s, err := r.open()
		if err != nil {
			return nil, fmt.Errorf("session %q: %w", r.ID, err)
		}
		sessions[r.ID] = s
	}
	return sessions, nil
}
