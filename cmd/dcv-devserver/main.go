// Command dcv-devserver runs stand-in DCV hosts, for people without a DCV licence:
// `serve` starts them, their `dcv` commands are for agents, `connect` is a client,
// `fault` makes things go wrong. See `dcv-devserver --help`.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"opensessionmanager/cmd/dcv-devserver/internal/ctl"
	"opensessionmanager/internal/devhost/dcvcmd"
)

func main() {
	os.Exit(run())
}

func run() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if code, ran := dcvcmd.Intercept(ctx, os.Args, os.Stdout, os.Stderr); ran {
		return code
	}
	root := ctl.Root(os.Stdout, os.Stderr)
	root.SetArgs(os.Args[1:])
	if err := root.ExecuteContext(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "dcv-devserver:", err)
		return ctl.ExitCode(err)
	}
	return 0
}
