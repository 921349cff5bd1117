package dcv

import (
	"context"
	"errors"
	"os/exec"
	"time"
)

// getentMissing is getent's exit code for a key that no database has.
const getentMissing = 2

// ownerIsUnknown asks the system's user databases, directories included
// (aws/res issue 70: owners are rarely local). It is asked only after dcv failed,
// so that its own mistakes cannot keep a session from starting.
func (d *Driver) ownerIsUnknown(ctx context.Context, owner string) bool {
	if d.cfg.System != "linux" {
		return false
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	command := exec.CommandContext(ctx, "getent", "passwd", "--", owner)
	command.WaitDelay = dying
	ownGroup(command)
	var exit *exec.ExitError
	return errors.As(command.Run(), &exit) && exit.ExitCode() == getentMissing
}
