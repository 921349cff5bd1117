package devhost

import (
	"errors"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"opensessionmanager/internal/devhost/control"
	"opensessionmanager/internal/devhost/permfile"
	"opensessionmanager/internal/devhost/screen"
)

const (
	maxID      = 128 // characters
	maxName    = 256 // characters, contract section 11
	maxPath    = 4096
	maxUser    = 256
	maxClients = 1_000_000
)

// createSession is `dcv create-session`.
func (h *Host) createSession(id string, n control.NewSession) error {
	r, err := h.newRecord(id, n)
	if err != nil {
		return err
	}
	s, err := r.open()
	if err != nil {
		return err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.up.Err() != nil {
		return errNotRunning
	}
	if err := h.room(s); err != nil {
		return err
	}
	s.Display = h.freeDisplay(s.Type)
	if s.Init != "" {
		if s.init, err = h.startInit(s.record); err != nil {
			return err
		}
	}
	h.sessions[id] = s
	if err := h.save(); err != nil {
		delete(h.sessions, id)
		s.shut("")
		return err
	}
	h.log.Info("session created", "session", id, "type", s.Type, "owner", s.Owner)
	return nil
}

// newRecord checks everything that can be checked without looking at other
// sessions.
func (h *Host) newRecord(id string, n control.NewSession) (record, error) {
	r := record{
		ID: id, Type: strings.ToLower(n.Type), Name: n.Name, Owner: n.Owner, User: n.User, StorageRoot: n.StorageRoot,
		GL: strings.ToLower(n.GL), GLDisplay: n.GLDisplay, MaxClients: n.MaxConcurrentClients, Init: n.Init,
		Permissions: permfile.Default, Layout: screen.FormatLayout(screen.DefaultLayout()), Created: h.cfg.Now().UTC(),
	}
	if r.Type == "" {
		r.Type = typeVirtual
	}
	if n.Permissions != nil {
		r.Permissions = *n.Permissions
	}
	if r.Owner == "" {
		r.Owner = firstOf(n.User, n.Caller)
	}
	virtualOnly := n.User != "" || n.Init != "" || n.GL != "" || n.GLDisplay != ""
	if r.User == "" && r.Type == typeVirtual {
		r.User = r.Owner
	}
	if err := r.check(virtualOnly); err != nil {
		return r, err
	}
	for _, name := range []string{r.Owner, r.User} {
		if name != "" && len(h.cfg.Users) > 0 && !slices.Contains(h.cfg.Users, name) {
			return r, fmt.Errorf("user %.80q does not exist", name)
		}
	}
	home := h.cfg.Dir
	if account, err := user.Lookup(r.Owner); err == nil && account.HomeDir != "" {
		home = account.HomeDir
	}
	r.StorageRoot = strings.ReplaceAll(r.StorageRoot, "%home%", home)
	if len(r.StorageRoot) > maxPath || r.StorageRoot != "" && !filepath.IsAbs(r.StorageRoot) {
		return r, errors.New("the storage root is not an absolute path")
	}
	return r, nil
}

func firstOf(names ...string) string {
	for _, name := range names {
		if name != "" {
			return name
		}
	}
	return ""
}

func (r record) check(virtualOnly bool) error {
	switch {
	case !validID(r.ID):
		return fmt.Errorf("a session ID has 1 to %d letters, digits, dots, dashes and underscores", maxID)
	case r.Type != typeConsole && r.Type != typeVirtual:
		return fmt.Errorf("unknown session type %.40q", r.Type)
	case r.Type == typeConsole && virtualOnly:
		return errors.New("--user, --init and --gl are for virtual sessions")
	case !validText(r.Name, maxName):
		return fmt.Errorf("the name is longer than %d characters or not printable", maxName)
	case r.Owner == "" || !validText(r.Owner, maxUser) || !validText(r.User, maxUser):
		return errors.New("the owner or user is not a valid name")
	case r.GL != "" && r.GL != "on" && r.GL != "off":
		return errors.New("--gl must be on or off")
	case len(r.GLDisplay) > maxUser:
		return errors.New("the GL display is too long")
	case r.MaxClients < 0 || r.MaxClients > maxClients:
		return errors.New("--max-concurrent-clients is out of range")
	}
	return r.checkInit()
}

func (r record) checkInit() error {
	if r.Init == "" {
		return nil
	}
	if len(r.Init) > maxPath || !filepath.IsAbs(r.Init) {
		return errors.New("the init script is not an absolute path")
	}
	file, err := os.Stat(r.Init)
	if err != nil {
		return fmt.Errorf("the init script cannot be read: %w", err)
	}
	if !file.Mode().IsRegular() || file.Mode().Perm()&0o111 == 0 {
		return fmt.Errorf("the init script %s is not an executable file", r.Init)
	}
	return nil
}

// validID also keeps IDs usable as file names.
func validID(id string) bool {
	return len(id) <= maxID && regexp.MustCompile(`^[A-Za-z0-9_-][A-Za-z0-9._-]*$`).MatchString(id)
}

func validText(s string, limit int) bool {
	return utf8.ValidString(s) && utf8.RuneCountInString(s) <= limit && !strings.ContainsFunc(s, unicode.IsControl)
}

func (h *Host) room(s *session) error {
	if _, exists := h.sessions[s.ID]; exists {
		return fmt.Errorf("session %q already exists", s.ID)
	}
	if len(h.sessions) >= MaxSessions {
		return fmt.Errorf("there are %d sessions already", MaxSessions)
	}
	for _, other := range h.sessions {
		if s.Type == typeConsole && other.Type == typeConsole {
			return fmt.Errorf("console session %q is open, and there can be only one", other.ID)
		}
	}
	return nil
}

func (h *Host) freeDisplay(sessionType string) int {
	if sessionType == typeConsole {
		return 0
	}
	used := map[int]bool{}
	for _, s := range h.sessions {
		used[s.Display] = true
	}
	display := firstDisplay
	for used[display] {
		display++
	}
	return display
}
