// Package roles are the processes of a run besides the one that is in charge: the
// broker, the bare server it is compared with, simulated hosts, and who sends the
// requests.
package roles

import (
	"fmt"
	"io"
	"slices"

	"opensessionmanager/bench/child"
)

// Names of the roles.
const (
	Broker   = "broker"
	Bare     = "bare"
	Agents   = "agents"
	Load     = "load"
	Engine   = "engine"
	cmdStart = "start"
)

// role is a process: its commands, and what to do at its end.
type role interface {
	commands() child.Commands
	stop() error
}

// Run plays a role until in ends.
func Run(name string, in io.Reader, out, log io.Writer) error {
	makers := map[string]func() role{
		Broker: func() role { return &broker{log: log} },
		Bare:   func() role { return &bare{} },
		Agents: func() role { return &agents{} },
		Load:   func() role { return &loader{} },
		Engine: func() role { return &engine{log: log} },
	}
	maker, ok := makers[name]
	if !ok {
		return fmt.Errorf("roles: no role %q", name)
	}
	r := maker()
	commands := r.commands()
	for name, command := range profiling() {
		commands[name] = command
	}
	err := child.Serve(in, out, commands)
	return firstError(err, r.stop())
}

func firstError(errs ...error) error {
	if i := slices.IndexFunc(errs, func(err error) bool { return err != nil }); i >= 0 {
		return errs[i]
	}
	return nil
}
