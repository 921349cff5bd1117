package dcv

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"

	"opensessionmanager/agent/driver"
)

// dying is how long a killed command may keep its output open.
const dying = 2 * time.Second

// run calls dcv and returns its standard output, at most limit bytes.
func (d *Driver) run(ctx context.Context, limit int, arguments ...string) ([]byte, error) {
	select {
	case d.calls <- struct{}{}:
		defer func() { <-d.calls }()
	case <-ctx.Done():
		return nil, fmt.Errorf("%w: waiting to call %s", driver.ErrTimeout, arguments[0])
	}
	command := exec.CommandContext(ctx, d.cfg.Command, arguments...)
	command.Env = append(os.Environ(), "LC_ALL=C") // errors are recognised by their English text
	command.WaitDelay = dying
	ownGroup(command)
	stdout, stderr := &bounded{limit: limit}, &bounded{limit: mostText}
	command.Stdout, command.Stderr = stdout, stderr
	err := command.Run()
	switch {
	case ctx.Err() != nil:
		return nil, fmt.Errorf("%w: %s", driver.ErrTimeout, arguments[0])
	case errors.Is(err, os.ErrNotExist), errors.Is(err, os.ErrPermission), errors.Is(err, exec.ErrNotFound):
		return nil, fmt.Errorf("%w: %s cannot be run: %w", driver.ErrNotRunning, d.cfg.Command, err)
	case err != nil:
		return nil, failure(arguments[0], err, stderr.kept, stdout.kept)
	case stdout.more:
		return nil, fmt.Errorf("dcv: %s printed more than %d bytes", arguments[0], limit)
	}
	return stdout.kept, nil
}

// failure turns what dcv says into one of the driver's errors. The vendor's texts
// are known in part only, so the words that matter are looked for.
func failure(command string, err error, stderr, stdout []byte) error {
	said := oneLine(stderr)
	if said == "" {
		said = oneLine(stdout)
	}
	text := strings.ToLower(said)
	creating := command == "create-session"
	missing := containsAny(text, "not found", "could not find", "does not exist", "no such", "unknown", "not a valid")
	var kind error
	switch {
	case containsAny(text, "not running", "could not connect", "unable to connect", "connection refused"):
		kind = driver.ErrNotRunning
	case creating && strings.Contains(text, "already exist"):
		kind = driver.ErrExists
	case creating && missing && containsAny(text, "user", "owner"):
		kind = driver.ErrOwnerUnknown
	case creating && containsAny(text, "init script", "--init"):
		kind = driver.ErrBadFile
	case !creating && missing && strings.Contains(text, "session"):
		kind = driver.ErrNotFound
	default:
		return fmt.Errorf("dcv: %s failed: %w: %s", command, err, said)
	}
	return fmt.Errorf("%w: %s", kind, said)
}

func containsAny(text string, words ...string) bool {
	for _, w := range words {
		if strings.Contains(text, w) {
			return true
		}
	}
	return false
}

// oneLine makes output fit for an error: printable, on one line, not too long.
func oneLine(output []byte) string {
	const longest = 300
	text := strings.ToValidUTF8(string(output[:min(len(output), 4*longest)]), "?")
	text = strings.Join(strings.FieldsFunc(text, func(r rune) bool { return r <= ' ' || r == 0x7f }), " ")
	return strings.ToValidUTF8(text[:min(len(text), longest)], "")
}

// bounded keeps the first bytes written to it and swallows the rest, so that a
// command which prints for ever neither fills the memory nor blocks.
type bounded struct {
	kept  []byte
	limit int
	more  bool
}

func (b *bounded) Write(p []byte) (int, error) {
	room := b.limit - len(b.kept)
	if len(p) > room {
		b.more = true
	}
	b.kept = append(b.kept, p[:min(len(p), room)]...)
	return len(p), nil
}
