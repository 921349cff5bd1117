package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"opensessionmanager/internal/config"
	"opensessionmanager/internal/logging"
	"opensessionmanager/internal/version"
)

// flushTime is how long the last log lines may take to be written.
const flushTime = 2 * time.Second

func (a App) runRoot(ctx context.Context, f flags) error {
	cfg, warnings, err := config.Load(f.config)
	if f.check {
		return a.reportCheck(cfg, warnings, err)
	}
	if err != nil {
		return err
	}
	log, err := a.openLog(cfg)
	if err != nil {
		return err
	}
	err = a.serve(ctx, cfg, warnings, log.Logger())
	hurry, cancel := context.WithTimeout(context.WithoutCancel(ctx), flushTime)
	defer cancel()
	return errors.Join(err, log.Close(hurry))
}

func (a App) serve(ctx context.Context, cfg *config.Config, warnings []config.Warning, logger *slog.Logger) error {
	logger.Info("starting", "version", version.String(), "config", cfg.File, "working_path", string(cfg.Storage.WorkingPath))
	for _, w := range warnings {
		logger.With(logging.ComponentKey, "config").Log(ctx, w.Level, w.String())
	}
	if err := a.Serve(ctx, cfg, logger); err != nil {
		logger.Error("stopped", "error", err)
		return err
	}
	logger.Info("stopped")
	return nil
}

func (a App) openLog(cfg *config.Config) (*logging.Log, error) {
	level, ok := logging.ParseLevel(cfg.Logging.Level)
	if !ok {
		return nil, fmt.Errorf("unknown log level %q", cfg.Logging.Level)
	}
	return logging.Open(logging.Options{
		Output: a.Stderr, Level: level, Directory: string(cfg.Logging.Directory), FileName: "broker.log",
		Rotation: cfg.Logging.Rotation, MaxSizeMB: cfg.Logging.MaxFileSize, KeepFiles: cfg.Logging.KeepFiles,
	})
}

// reportCheck prints warnings on the output, so that only problems make noise.
func (a App) reportCheck(cfg *config.Config, warnings []config.Warning, err error) error {
	for _, w := range warnings {
		word := "note"
		if w.Level >= slog.LevelWarn {
			word = "warning"
		}
		fmt.Fprintf(a.Stdout, "%s: %s\n", word, w)
	}
	if err != nil {
		return err
	}
	file := cfg.File
	if file == "" {
		file = "defaults"
	}
	fmt.Fprintf(a.Stdout, "%s: the broker would start\n", file)
	return nil
}
