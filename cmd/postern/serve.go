package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/spf13/cobra"

	"postern/internal/app"
	"postern/internal/logfile"
)

func (c *cli) serveCommand() *cobra.Command {
	return &cobra.Command{
		Use: "serve [--config F]", Short: "Run the relay", Args: cobra.NoArgs,
		Long: "Run the relay until SIGTERM or SIGINT, which let sessions and deliveries end first; a second one\n" +
			"ends it at once (what was accepted is safe). SIGHUP and SIGUSR1 open the log file anew. The\n" +
			"configuration is that of --config, or " + configName + " of --data-dir, or " + defaultConfig + ".",
		RunE: func(cmd *cobra.Command, _ []string) error { return c.serve(cmd.Context()) },
	}
}

func (c *cli) serve(ctx context.Context) error {
	conf, err := c.configuration()
	if err != nil {
		return err
	}
	tuneMemory(conf)
	level := new(slog.LevelVar)
	if err := level.UnmarshalText([]byte(conf.Log.Level)); err != nil {
		return fmt.Errorf("log level: %w", err)
	}
	var out io.Writer = c.err
	var file *logfile.File
	if conf.Log.File != "" {
		if file, err = logfile.Open(conf.Log.File); err != nil {
			return err
		}
		defer file.Close()
		out = file
	}
	log := newLogger(out, conf.Log.Format, level)
	a, err := app.New(ctx, app.Options{
		Config: conf, Version: version, Logger: log, Level: level, LogFile: file, KeyPrefix: conf.Keys.Prefix,
	})
	if err != nil {
		return err
	}
	stop := reopenOnSignal(file, log)
	defer stop()
	defer context.AfterFunc(ctx, func() { notify(daemon.SdNotifyStopping, log) })()
	return a.Run(ctx, func() { notify(daemon.SdNotifyReady, log) })
}

// notify tells systemd, where that started us (Type=notify).
func notify(state string, log *slog.Logger) {
	if _, err := daemon.SdNotify(false, state); err != nil {
		log.Warn("systemd not notified", "state", state, "error", err)
	}
}

func newLogger(out io.Writer, format string, level slog.Leveler) *slog.Logger {
	o := &slog.HandlerOptions{Level: level}
	if format == "text" {
		return slog.New(slog.NewTextHandler(out, o))
	}
	return slog.New(slog.NewJSONHandler(out, o))
}

// reopenOnSignal goes on in a new log file on SIGHUP and SIGUSR1. Without a log
// file the signals are ignored: their default would end the process.
func reopenOnSignal(file *logfile.File, log *slog.Logger) (stop func()) {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGHUP, syscall.SIGUSR1)
	done := make(chan struct{})
	go func() {
		for {
			select {
			case <-done:
				return
			case <-signals:
				if file == nil {
					continue
				}
				if err := file.Reopen(); err != nil {
					log.Error("log not opened anew; the old file stays in use", "error", err)
					continue
				}
				log.Info("log opened anew")
			}
		}
	}()
	return func() {
		signal.Stop(signals)
		close(done)
	}
}
