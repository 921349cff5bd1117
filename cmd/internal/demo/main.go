// Command demo shows what Open Session Manager does, with the real programs: a broker
// with its defaults, three simulated DCV hosts with their agents, and sessions from
// their creation to their end, a crash of the broker included. `make demo` runs it. With
// -fleet it shows three brokers behind a load balancer, of which one dies in the middle
// of a stream of requests: `make demo-fleet`.
//
// It knows only what a person has: the programs, their files and the client API. It
// works in a temporary folder and on free ports, and whatever happens it ends every
// process that it started.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"syscall"
)

// Exit codes.
const (
	exitOK          = 0
	exitFailed      = 1
	exitUsage       = 2
	exitInterrupted = 130 // as a shell has it for SIGINT
)

// options are what a caller may choose.
type options struct {
	bin  string // folder of the four programs
	out  string // folder that keeps the screenshot and the logs
	keep bool   // leave everything running until interrupted

	fleet  bool   // three brokers instead of one
	deploy string // folder of the balancer's configuration
}

func main() {
	// Linux ends a child together with the thread that started it (group_linux.go),
	// so all are started from one that lives as long as the program.
	runtime.LockOSThread()
	os.Exit(run())
}

func run() int {
	var o options
	flag.StringVar(&o.bin, "bin", "bin", "folder of the programs")
	flag.StringVar(&o.out, "out", filepath.Join("run", "demo"), "folder that keeps the screenshot and the logs")
	flag.BoolVar(&o.keep, "keep", isOn(os.Getenv("DEMO_KEEP")), "leave everything running until Ctrl-C (also DEMO_KEEP=1)")
	flag.BoolVar(&o.fleet, "fleet", false, "show three brokers behind a load balancer")
	flag.StringVar(&o.deploy, "deploy", "deploy", "folder of the load balancer's configuration")
	flag.Parse()
	if flag.NArg() > 0 {
		fmt.Fprintf(os.Stderr, "demo: unexpected argument %q; see demo -help\n", flag.Arg(0))
		return exitUsage
	}
	signal.Ignore(syscall.SIGPIPE) // a reader who went away must not keep us from cleaning up
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	console := newConsole(os.Stdout, os.Getenv)
	return finish(ctx, console, play(ctx, o, console))
}

// play runs the whole demonstration and cleans up behind it.
func play(ctx context.Context, o options, console *console) (err error) {
	s, err := newStage(o, console)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	if o.fleet {
		return (&fleet{stage: s}).perform(ctx)
	}
	return s.perform(ctx, s.oneBroker())
}

// finish says how it ended.
func finish(ctx context.Context, console *console, err error) int {
	switch {
	case err == nil:
		return exitOK
	case ctx.Err() != nil:
		console.print("\nInterrupted. Nothing is left running.")
		return exitInterrupted
	default:
		console.failure(err)
		return exitFailed
	}
}

func isOn(value string) bool { return value != "" && value != "0" && value != "no" && value != "false" }
