package main

import (
	"context"

	"golang.org/x/sys/windows/svc"
)

// serviceName is the vendor's (contract section 12).
const serviceName = "DcvSessionManagerAgentService"

// asService answers the Windows service manager if it started the program.
func asService(run func(context.Context) error) func(context.Context) error {
	return func(ctx context.Context) error {
		if asked, err := svc.IsWindowsService(); err != nil || !asked {
			return run(ctx)
		}
		h := &handler{ctx: ctx, run: run}
		if err := svc.Run(serviceName, h); err != nil {
			return err
		}
		return h.err
	}
}

type handler struct {
	ctx context.Context
	run func(context.Context) error
	err error
}

// Execute implements svc.Handler.
func (h *handler) Execute(_ []string, requests <-chan svc.ChangeRequest, status chan<- svc.Status) (bool, uint32) {
	const accepted = svc.AcceptStop | svc.AcceptShutdown
	ctx, stop := context.WithCancel(h.ctx)
	defer stop()
	done := make(chan error, 1)
	go func() { done <- h.run(ctx) }()
	status <- svc.Status{State: svc.Running, Accepts: accepted}
	for {
		select {
		case h.err = <-done:
			if h.err != nil {
				return true, exitError
			}
			return false, exitOK
		case r := <-requests:
			switch r.Cmd {
			case svc.Interrogate:
				status <- r.CurrentStatus
			case svc.Stop, svc.Shutdown:
				status <- svc.Status{State: svc.StopPending}
				stop()
			}
		}
	}
}
