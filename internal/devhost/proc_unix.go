//go:build unix

package devhost

import (
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"strconv"
	"syscall"
)

// inOwnGroup makes a command the leader of a process group and, if this process is
// root's and the account exists, lets it run as that user.
func inOwnGroup(cmd *exec.Cmd, account *user.User) error {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if os.Geteuid() != 0 || account == nil || account.Uid == "0" {
		return nil
	}
	groups, err := account.GroupIds()
	if err != nil {
		return fmt.Errorf("groups of %s: %w", account.Username, err)
	}
	credential := &syscall.Credential{}
	for _, id := range append([]string{account.Uid, account.Gid}, groups...) {
		n, err := strconv.ParseUint(id, 10, 32)
		if err != nil {
			return fmt.Errorf("number of %s: %w", account.Username, err)
		}
		credential.Groups = append(credential.Groups, uint32(n))
	}
	credential.Uid, credential.Gid = credential.Groups[0], credential.Groups[1]
	credential.Groups = credential.Groups[1:]
	cmd.SysProcAttr.Credential = credential
	return nil
}
