// Command bench measures the broker against the budgets of this project, each as a
// ratio to something measured in the same run. See README.md beside it.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"opensessionmanager/bench/child"
	"opensessionmanager/bench/report"
	"opensessionmanager/bench/roles"
	"opensessionmanager/bench/scenario"
)

func main() {
	if len(os.Args) == 3 && os.Args[1] == child.Flag {
		// An interrupt at the terminal reaches all processes; the parent decides.
		signal.Ignore(os.Interrupt)
		end(roles.Run(os.Args[2], os.Stdin, os.Stdout, os.Stderr))
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	end(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

func end(err error) {
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// errMissed: a budget was missed, and -strict asked to be told.
var errMissed = errors.New("a budget was missed")

type options struct {
	scale     scenario.Scale
	scenarios []string
	seed      uint64
	json      bool
	strict    bool
	keep      bool
	profiles  string
}

func parse(args []string, stderr io.Writer) (options, error) {
	o := options{scale: scenario.DefaultScale(), scenarios: scenario.Names(), seed: rand.Uint64()}
	f := flag.NewFlagSet("bench", flag.ContinueOnError)
	f.SetOutput(stderr)
	f.Func("scenario", "which to run, separated by commas (default "+strings.Join(o.scenarios, ",")+")", func(text string) error {
		o.scenarios = strings.Split(text, ",")
		for _, name := range o.scenarios {
			if !slices.Contains(scenario.Names(), name) {
				return fmt.Errorf("no scenario %q", name)
			}
		}
		return nil
	})
	f.Func("sessions", "describe: fleet sizes, separated by commas (default 1000,10000)", func(text string) (err error) {
		o.scale.Sessions, err = numbers(text)
		return err
	})
	f.IntVar(&o.scale.Agents, "agents", o.scale.Agents, "create: connected agents")
	f.IntVar(&o.scale.Engine, "engine-servers", o.scale.Engine, "engine: servers")
	f.IntVar(&o.scale.Latency, "latency-sessions", o.scale.Latency, "latency: sessions of the larger fleet")
	f.IntVar(&o.scale.MemoryAgents, "memory-agents", o.scale.MemoryAgents, "memory: connected agents")
	f.IntVar(&o.scale.MemorySessions, "memory-sessions", o.scale.MemorySessions, "memory: sessions")
	f.IntVar(&o.scale.FleetSessions, "fleet-sessions", o.scale.FleetSessions, "fleet: sessions")
	f.IntVar(&o.scale.FleetAgents, "fleet-agents", o.scale.FleetAgents, "fleet: connected agents")
	f.IntVar(&o.scale.Rounds, "rounds", o.scale.Rounds, "how often each side of a comparison is measured")
	f.DurationVar(&o.scale.Round, "round", o.scale.Round, "how long a round takes; creates take a multiple")
	f.Uint64Var(&o.seed, "seed", o.seed, "seed of what is chosen at random")
	f.BoolVar(&o.json, "json", false, "print JSON instead of a table")
	f.BoolVar(&o.strict, "strict", false, "fail if a budget is missed")
	f.BoolVar(&o.keep, "keep", false, "keep state and logs of all processes")
	f.StringVar(&o.profiles, "profiles", "", "folder for CPU and heap profiles of what is measured; they cost a few percent")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	if f.NArg() > 0 {
		return o, fmt.Errorf("unexpected argument %q", f.Arg(0))
	}
	if o.scale.Rounds < 1 || o.scale.Round <= 0 {
		return o, errors.New("-rounds and -round must be positive")
	}
	return o, nil
}

func numbers(text string) (all []int, err error) {
	for _, word := range strings.Split(text, ",") {
		n, err := strconv.Atoi(word)
		if err != nil || n < 1 {
			return nil, fmt.Errorf("%q is not a positive number", word)
		}
		all = append(all, n)
	}
	return all, nil
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) (err error) {
	o, err := parse(args, stderr)
	if err != nil {
		return err
	}
	folder, err := os.MkdirTemp("", "bench-")
	if err != nil {
		return err
	}
	defer func() {
		if o.keep || err != nil {
			fmt.Fprintln(stderr, "state and logs are in", folder)
			return
		}
		_ = os.RemoveAll(folder)
	}()
	if o.profiles != "" {
		if err := os.MkdirAll(o.profiles, 0o755); err != nil {
			return err
		}
	}
	r := &scenario.Run{Scale: o.scale, Report: report.New(o.seed), Random: rand.New(rand.NewPCG(o.seed, 0)),
		Folder: folder, Progress: stderr, Profiles: o.profiles}
	fmt.Fprintf(stderr, "seed %d\n", o.seed)
	if err := r.Do(ctx, func(name string) bool { return slices.Contains(o.scenarios, name) }); err != nil {
		return err
	}
	if o.json {
		err = r.Report.WriteJSON(stdout)
	} else {
		err = r.Report.WriteTable(stdout)
	}
	if err == nil && o.strict && !r.Report.Kept() {
		return errMissed
	}
	return err
}
