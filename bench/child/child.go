// Package child runs parts of the harness as processes of their own, so that what a
// part costs can be read from the kernel: this program is started again in a role, and
// both sides speak JSON lines, one command and one answer at a time. A child whose
// standard input ends stops, so none outlives its parent.
package child

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"time"
)

// stopTime is how long a child has to stop before it is killed.
const stopTime = 30 * time.Second

// Child is a running child process. Its methods are for one goroutine.
type Child struct {
	role    string
	cmd     *exec.Cmd
	log     *os.File
	in      *json.Encoder
	out     *json.Decoder
	hangUp  func() error
	Started time.Time // just before the process was made
}

type question struct {
	Command string
	Input   json.RawMessage
}

type answer struct {
	Error  string `json:",omitzero"`
	Output json.RawMessage
}

// Start runs this program in a role. What the child writes to its standard error
// goes to logFile, as a service's would.
func Start(role, logFile string) (*Child, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("child: %w", err)
	}
	log, err := os.Create(logFile)
	if err != nil {
		return nil, fmt.Errorf("child: %w", err)
	}
	c := &Child{role: role, cmd: exec.Command(self, Flag, role), log: log, Started: time.Now()}
	c.cmd.Stderr = log
	in, err := c.cmd.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("child: %w", err)
	}
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("child: %w", err)
	}
	c.in, c.out, c.hangUp = json.NewEncoder(in), json.NewDecoder(out), in.Close
	if err := c.cmd.Start(); err != nil {
		return nil, fmt.Errorf("child: %w", err)
	}
	return c, nil
}

// Flag is the first argument of a child; its role is the second.
const Flag = "-child"

// PID is the child's process id.
func (c *Child) PID() int { return c.cmd.Process.Pid }

// Ask has the child run a command. out may be nil.
func (c *Child) Ask(command string, in, out any) error {
	input, err := json.Marshal(in)
	if err != nil {
		return fmt.Errorf("child: %s %s: %w", c.role, command, err)
	}
	if err := c.in.Encode(question{command, input}); err != nil {
		return fmt.Errorf("child: %s is gone (%s): %w", c.role, c.log.Name(), err)
	}
	var a answer
	if err := c.out.Decode(&a); err != nil {
		return fmt.Errorf("child: %s is gone (%s): %w", c.role, c.log.Name(), err)
	}
	if a.Error != "" {
		return fmt.Errorf("child: %s %s: %s", c.role, command, a.Error)
	}
	if out == nil {
		return nil
	}
	if err := json.Unmarshal(a.Output, out); err != nil {
		return fmt.Errorf("child: answer of %s %s: %w", c.role, command, err)
	}
	return nil
}

// Kill is kill -9.
func (c *Child) Kill() error {
	if err := c.cmd.Process.Kill(); err != nil {
		return fmt.Errorf("child: %w", err)
	}
	_ = c.cmd.Wait() // it was killed, as it says
	return c.log.Close()
}

// Stop ends the child and waits for it. Stopping again does nothing.
func (c *Child) Stop() error {
	if c.cmd.ProcessState != nil {
		return nil
	}
	_ = c.hangUp()
	kill := time.AfterFunc(stopTime, func() { _ = c.cmd.Process.Kill() })
	defer kill.Stop()
	err := c.cmd.Wait()
	return errors.Join(err, c.log.Close())
}
