// Command dcvsm is the client of the broker's API.
package main

import (
	"context"
	"os"
	"os/signal"
	"runtime"

	"opensessionmanager/cmd/dcvsm/internal/cli"
	"opensessionmanager/cmd/dcvsm/internal/settings"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	go func() {
		<-ctx.Done()
		stop() // a second interrupt ends the program at once
	}()
	executable, err := os.Executable()
	if err != nil {
		executable = "" // then no configuration file stands beside it
	}
	app := cli.App{
		Stdout: os.Stdout, Stderr: os.Stderr, Terminal: isTerminal(os.Stderr),
		Env: settings.Environment{Getenv: os.Getenv, Executable: executable, Windows: runtime.GOOS == "windows"},
	}
	code := app.Run(ctx, os.Args[1:])
	stop()
	os.Exit(code)
}

func isTerminal(f *os.File) bool {
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
