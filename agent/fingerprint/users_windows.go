package fingerprint

import (
	"context"
	"os/exec"
)

// userNames asks the system's own `query user`.
func userNames(ctx context.Context) []string {
	command := exec.CommandContext(ctx, "query", "user")
	command.WaitDelay = patience
	out, _ := command.Output() // it ends with an error even when it succeeded
	return queryUser(out)
}
