// Command dcv-session-manager-broker is the broker: without a command it runs the
// service in the foreground, with one it administers the running broker.
package main

import (
	"context"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"opensessionmanager/cluster/node"
	"opensessionmanager/cmd/dcv-session-manager-broker/internal/cli"
	"opensessionmanager/http/admin/adminclient"
	"opensessionmanager/internal/config"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	app := cli.App{
		Serve: func(ctx context.Context, cfg *config.Config, logger *slog.Logger) error {
			return node.Run(ctx, cfg, logger)
		},
		Connect: func(cfg *config.Config) (cli.AdminAPI, error) {
			return adminclient.Open(string(cfg.Storage.WorkingPath))
		},
		Stdout: os.Stdout, Stderr: os.Stderr,
	}
	os.Exit(app.Run(ctx, os.Args[1:]))
}
