package devhost

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"sync"
	"time"
)

const maxInitLog = 1 << 20 // bytes; what a script writes beyond is dropped

// supervisor runs an init script as long as its own standard input is open. It
// stays the leader of the script's process group until the end, so that the
// group's number cannot come to mean somebody else, and it ends the group when
// the host closes the input or dies: TERM, then KILL once the script has ended or
// two seconds have passed.
const supervisor = `"$0" </dev/null &
script=$!
read -r _
trap '' TERM
kill -TERM 0
( sleep 2; kill -KILL 0 ) &
wait "$script"
kill -KILL 0`

// initScript is the running init script of a session.
type initScript struct {
	input io.Closer
	once  sync.Once
}

// stop ends the script and everything it started; it does not wait.
func (i *initScript) stop() {
	i.once.Do(func() { _ = i.input.Close() })
}

func (h *Host) initLogDir() string { return filepath.Join(h.cfg.Dir, "init") }

// startInit runs a session's init script as DCV does when it creates a virtual
// session: as the session's user where the process may and the user exists, with
// the session in the environment, its output in Dir/init/<session ID>.log.
func (h *Host) startInit(r record) (*initScript, error) {
	output, err := os.OpenFile(filepath.Join(h.initLogDir(), r.ID+".log"), os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, fmt.Errorf("init script log: %w", err)
	}
	account, err := user.Lookup(r.User)
	if err != nil {
		account = nil
	}
	cmd := exec.Command("/bin/sh", "-c", supervisor, r.Init)
	cmd.Env = h.initEnvironment(r, account)
	cmd.Dir = "/"
	cmd.Stdout = &boundedWriter{to: output, left: maxInitLog}
	cmd.Stderr = cmd.Stdout
	cmd.WaitDelay = 3 * time.Second
	if err := inOwnGroup(cmd, account); err != nil {
		return nil, closing(output, err)
	}
	input, err := cmd.StdinPipe()
	if err != nil {
		return nil, closing(output, fmt.Errorf("init script: %w", err))
	}
	if err := cmd.Start(); err != nil {
		return nil, closing(output, fmt.Errorf("the init script did not start: %w", err))
	}
	h.tasks.Go(func() {
		err := cmd.Wait() // always "signal: killed", by itself
		_ = output.Close()
		h.log.Debug("init script ended", "session", r.ID, "result", err)
	})
	return &initScript{input: input}, nil
}

func closing(c io.Closer, err error) error {
	_ = c.Close()
	return err
}

// initEnvironment is all a script gets: nothing of this process's environment,
// which may hold secrets, but the path.
func (h *Host) initEnvironment(r record, account *user.User) []string {
	home := h.cfg.Dir
	if account != nil && account.HomeDir != "" {
		home = account.HomeDir
	}
	env := []string{
		"DCV_SESSION_ID=" + r.ID, "DCV_VIRTUAL_SESSION=1", "DCV_SESSION_OWNER=" + r.Owner,
		"DISPLAY=:" + fmt.Sprint(r.Display), "XAUTHORITY=" + filepath.Join(h.cfg.Dir, r.ID+".xauth"),
		"XDG_SESSION_TYPE=x11", "HOME=" + home, "USER=" + r.User, "LOGNAME=" + r.User, "SHELL=/bin/sh",
		"PATH=" + os.Getenv("PATH"), "LANG=C.UTF-8",
	}
	if r.GL == "on" {
		env = append(env, "DCV_GL_DISPLAY="+firstOf(r.GLDisplay, ":0"))
	}
	return env
}

// boundedWriter lets the first bytes through and swallows the rest.
type boundedWriter struct {
	to   io.Writer
	left int
}

func (w *boundedWriter) Write(p []byte) (int, error) {
	part := p[:min(len(p), w.left)]
	w.left -= len(part)
	if len(part) > 0 {
		if _, err := w.to.Write(part); err != nil {
			w.left = 0 // the script must not suffer from a full disk
		}
	}
	return len(p), nil
}
