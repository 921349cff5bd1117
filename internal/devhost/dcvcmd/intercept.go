package dcvcmd

import (
	"context"
	"fmt"
	"io"
)

// Argument is the first argument of a program that is asked to be the `dcv`
// command; the second is the control socket, the others are the command's own.
const Argument = "as-dcv"

// Intercept runs the `dcv` command if args (os.Args) ask for that, and returns its
// exit code and true. A program whose path is in devhost.Config.Command calls it
// before it looks at its arguments:
//
//	if code, ran := dcvcmd.Intercept(ctx, os.Args, os.Stdout, os.Stderr); ran {
//		os.Exit(code)
//	}
func Intercept(ctx context.Context, args []string, stdout, stderr io.Writer) (code int, ran bool) {
	if len(args) < 3 || args[1] != Argument {
		return 0, false
	}
	return Run(ctx, args[2], args[3:], stdout, stderr), true
}

// Run is the `dcv` command of the host behind the socket.
func Run(ctx context.Context, socket string, args []string, stdout, stderr io.Writer) int {
	c := &command{socket: socket, out: stdout}
	root := c.root()
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	if err := root.ExecuteContext(ctx); err != nil {
		fmt.Fprintln(stderr, err)
		return 1
	}
	return 0
}
