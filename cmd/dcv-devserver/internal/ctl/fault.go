package ctl

import (
	"errors"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"opensessionmanager/internal/devhost/control"
)

// faultCommand is `fault` and what its kinds share.
type faultCommand struct {
	target target
}

func fault() *cobra.Command {
	c := &faultCommand{}
	cmd := &cobra.Command{
		Use:   "fault KIND --dir DIR",
		Short: "Make something go wrong on a running host",
		Long: `Make something go wrong on a running host.

fail, stall, slow, reject, garbage and blank last until they have struck --times
times, or until "fault clear". lose-session, restart, stop and start happen once.`,
		Example: `  dcv-devserver fault fail --dir D --times 2 --message "no licences"
  dcv-devserver fault stall --dir D --command create-session --for 5s
  dcv-devserver fault lose-session --dir D --host 2 SESSION-ID
  dcv-devserver fault stop --dir D --host all
  dcv-devserver fault clear --dir D --host all`,
		Args: cobra.NoArgs, // anything but a kind below is an error, not a call for help
		RunE: func(*cobra.Command, []string) error { return errors.New("which fault? see dcv-devserver fault --help") },
	}
	c.target.flags(cmd, "1")
	cmd.AddCommand(
		c.lasting(control.Fail, "A command fails (create-session, unless --command says)", "command", "times", "message"),
		c.lasting(control.Stall, "A command takes as long as --for says, or forever", "command", "times", "for"),
		c.lasting(control.Slow, "Every command and every client connection takes as long as --for says", "times", "for"),
		c.lasting(control.Reject, "Clients are refused", "times", "message"),
		c.lasting(control.Garbage, "A command succeeds but prints nonsense", "command", "times", "form"),
		c.lasting(control.Blank, "Screenshots are black", "times"),
		c.once(control.Restart, "The server restarts: all sessions gone, all clients cut"),
		c.once(control.Stop, "The server stops: as restart, but it stays down"),
		c.once(control.Start, "The server starts after stop"),
		c.loseSession(), c.clear(),
	)
	return cmd
}

func (c *faultCommand) inject(cmd *cobra.Command, f control.Fault) error {
	if err := f.Check(); err != nil {
		return err
	}
	_, err := c.target.ask(cmd.Context(), control.Request{Command: control.InjectFault, Fault: &f})
	return err
}

// lasting is a fault with the given options.
func (c *faultCommand) lasting(kind control.FaultKind, short string, options ...string) *cobra.Command {
	f := control.Fault{Kind: kind}
	var delay time.Duration
	cmd := &cobra.Command{
		Use: string(kind), Short: short, Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if delay > 0 && delay < time.Millisecond {
				return errors.New("--for must be at least 1ms")
			}
			f.DelayMillis = delay.Milliseconds()
			return c.inject(cmd, f)
		},
	}
	if kind == control.Fail {
		cmd.Aliases = []string{"fail-create"}
	}
	for _, option := range options {
		switch option {
		case "command":
			cmd.Flags().StringVar(&f.Command, option, "", "only this dcv command, such as create-session")
		case "times":
			cmd.Flags().IntVar(&f.Times, option, 0, "how often; 0 means until cleared")
		case "message":
			cmd.Flags().StringVar(&f.Message, option, "", "what the error says")
		case "for":
			cmd.Flags().DurationVar(&delay, option, 0, "how long, such as 5s")
		case "form":
			cmd.Flags().StringVar(&f.Form, option, "text", strings.Join(control.Forms(), ", "))
		}
	}
	return cmd
}

func (c *faultCommand) once(kind control.FaultKind, short string) *cobra.Command {
	return &cobra.Command{
		Use: string(kind), Short: short, Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return c.inject(cmd, control.Fault{Kind: kind}) },
	}
}

func (c *faultCommand) loseSession() *cobra.Command {
	return &cobra.Command{
		Use: "lose-session SESSION-ID", Short: "A session is gone without a trace", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.inject(cmd, control.Fault{Kind: control.LoseSession, Session: args[0]})
		},
	}
}

func (c *faultCommand) clear() *cobra.Command {
	return &cobra.Command{
		Use: "clear", Short: "End all faults that last; stalled commands go on", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := c.target.ask(cmd.Context(), control.Request{Command: control.ClearFaults})
			return err
		},
	}
}
