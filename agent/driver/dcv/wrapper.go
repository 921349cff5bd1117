package dcv

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"time"

	"opensessionmanager/messages"
)

// Names in the work folder.
const (
	permissionsPrefix = "permissions-"
	wrapperPrefix     = "session-"
	// leftover is the age at which a file that nobody seems to need is removed.
	leftover = 10 * time.Minute
)

// initScript returns the path of what starts the desktop, "" for DCV's default.
// DCV knows no autorun program, so one is started by a wrapper around the init
// script (contract section 11): DCV runs it as the session's owner.
func (d *Driver) initScript(spec *messages.CreateSessionRequest) (path string, err error) {
	if spec.GetInitFile() != "" {
		if path, err = resolve(d.cfg.InitFolder, spec.GetInitFile()); err != nil {
			return "", err
		}
	}
	if spec.GetAutorunFile() == "" {
		return path, nil
	}
	program, err := resolve(d.cfg.AutorunFolder, spec.GetAutorunFile())
	if err != nil {
		return "", err
	}
	if path == "" {
		path = d.cfg.DefaultInit
	}
	wrapper, err := filepath.Abs(filepath.Join(d.cfg.WorkFolder, wrapperName(spec.GetSessionId())+"-"+rand.Text()))
	if err != nil {
		return "", err
	}
	// The random part keeps arguments from other users: they may pass through the
	// folder but not list it.
	return wrapper, create(wrapper, wrapperScript(path, program, spec.GetAutorunFileArguments()), 0o755)
}

func wrapperScript(init, program string, arguments []string) string {
	var s strings.Builder
	s.WriteString("#!/bin/sh\n# Made by dcv-session-manager-agent for one session.\n")
	s.WriteString(quote(program))
	for _, a := range arguments {
		s.WriteString(" " + quote(a))
	}
	s.WriteString(" &\nif [ -x " + quote(init) + " ]; then\n\texec " + quote(init) + " \"$@\"\nfi\nwait\n")
	return s.String()
}

// quote makes one word of any text, for sh.
func quote(s string) string {
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// wrapperName is safe as a file name whatever the session id holds.
func wrapperName(sessionID string) string {
	sum := sha256.Sum256([]byte(sessionID))
	return wrapperPrefix + hex.EncodeToString(sum[:8])
}

// forget removes the wrapper of a session that is gone.
func (d *Driver) forget(sessionID string) {
	d.removeFiles(func(name string, _ time.Duration) bool { return strings.HasPrefix(name, wrapperName(sessionID)+"-") })
}

// sweep removes what sessions left behind that ended by themselves, and what an
// agent left that was killed.
func (d *Driver) sweep(present []*messages.DcvSession) {
	needed := make(map[string]bool, len(present))
	for _, s := range present {
		needed[wrapperName(s.GetId())] = true
	}
	d.removeFiles(func(name string, age time.Duration) bool {
		owner, _, isWrapper := cutLast(name, "-")
		return age > leftover &&
			(strings.HasPrefix(name, permissionsPrefix) || isWrapper && strings.HasPrefix(name, wrapperPrefix) && !needed[owner])
	})
}

func cutLast(s, separator string) (before, after string, found bool) {
	i := strings.LastIndex(s, separator)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+len(separator):], true
}

func (d *Driver) removeFiles(unneeded func(name string, age time.Duration) bool) {
	entries, err := os.ReadDir(d.cfg.WorkFolder)
	if err != nil {
		return
	}
	for _, e := range entries {
		info, err := e.Info()
		if err == nil && info.Mode().IsRegular() && unneeded(e.Name(), time.Since(info.ModTime())) {
			_ = os.Remove(filepath.Join(d.cfg.WorkFolder, e.Name()))
		}
	}
}
