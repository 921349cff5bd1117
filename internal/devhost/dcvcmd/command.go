package dcvcmd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"opensessionmanager/internal/devhost/control"
)

// command is one run of `dcv`.
type command struct {
	socket string
	out    io.Writer
}

func (c *command) root() *cobra.Command {
	root := &cobra.Command{
		Use: "dcv", Short: "Control the sessions of a stand-in DCV host",
		SilenceUsage: true, SilenceErrors: true,
		CompletionOptions: cobra.CompletionOptions{DisableDefaultCmd: true},
	}
	root.AddCommand(c.createSession(), c.closeSession(), c.listSessions(), c.describeSession(), c.listConnections(),
		c.closeConnection(), c.setPermissions(), c.getScreenshot(), c.setDisplayLayout(), c.setName(), c.setConfig(),
		c.listEndpoints(), c.version())
	return root
}

// call asks the host. A host that is not there is a server that is not running.
func (c *command) call(ctx context.Context, r control.Request) (control.Answer, error) {
	answer, err := control.Call(ctx, c.socket, r)
	if ctx.Err() != nil {
		return answer, errors.New("dcv: interrupted")
	}
	if err != nil {
		return answer, refused(r.Command, errors.New(control.NotRunning))
	}
	if answer.Error != "" {
		return answer, errors.New(answer.Error)
	}
	return answer, nil
}

// refused says on this side what the host would say.
func refused(command string, err error) error { return errors.New(control.Sentence(command, err)) }

// show prints a result: as JSON, as text, or as the nonsense a fault asks for.
func (c *command) show(a control.Answer, asJSON bool, value any, text string) error {
	var output []byte
	var err error
	if asJSON {
		if output, err = json.MarshalIndent(value, "", "  "); err != nil {
			return fmt.Errorf("dcv: encode result: %w", err)
		}
		output = append(output, '\n')
	} else {
		output = []byte(text)
	}
	if a.Garbage != "" {
		return writeGarbage(c.out, a.Garbage, output)
	}
	if _, err := c.out.Write(output); err != nil {
		return fmt.Errorf("dcv: write result: %w", err)
	}
	return nil
}

// do carries out a command that prints nothing.
func (c *command) do(ctx context.Context, r control.Request) error {
	answer, err := c.call(ctx, r)
	if err != nil {
		return err
	}
	return c.show(answer, false, nil, "")
}

func jsonFlag(cmd *cobra.Command) *bool {
	return cmd.Flags().BoolP("json", "j", false, "print JSON")
}

func (c *command) listSessions() *cobra.Command {
	cmd := &cobra.Command{Use: "list-sessions", Short: "List the sessions", Args: cobra.NoArgs}
	asJSON := jsonFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		a, err := c.call(cmd.Context(), control.Request{Command: control.ListSessions})
		if err != nil {
			return err
		}
		return c.show(a, *asJSON, present(a.Sessions), sessionLines(a.Sessions))
	}
	return cmd
}

// present makes an empty list an empty list in JSON.
func present[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}

func sessionLines(sessions []control.Session) string {
	if len(sessions) == 0 {
		return "There are no sessions available.\n"
	}
	var b strings.Builder
	for _, s := range sessions {
		fmt.Fprintf(&b, "Session: '%s' (owner:%s type:%s", s.ID, s.Owner, s.Type)
		if s.Name != "" {
			fmt.Fprintf(&b, " name:'%s'", s.Name)
		}
		b.WriteString(")\n")
	}
	return b.String()
}

func (c *command) describeSession() *cobra.Command {
	cmd := &cobra.Command{Use: "describe-session SESSION-ID", Short: "Describe a session", Args: cobra.ExactArgs(1)}
	asJSON := jsonFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		a, err := c.call(cmd.Context(), control.Request{Command: control.DescribeSession, Session: args[0]})
		if err != nil {
			return err
		}
		if len(a.Sessions) != 1 {
			return errors.New("dcv: the host described no session")
		}
		return c.show(a, *asJSON, a.Sessions[0], description(a.Sessions[0]))
	}
	return cmd
}

func description(s control.Session) string {
	screens := make([]string, len(s.DisplayLayout))
	for i, d := range s.DisplayLayout {
		screens[i] = fmt.Sprintf("%dx%d%+d%+d", d.Width, d.Height, d.X, d.Y)
	}
	return fmt.Sprintf("Session: %s\n  owner: %s\n  name: %s\n  x display: %s\n  x authority: %s\n  display layout: %s\n",
		s.ID, s.Owner, s.Name, s.X11Display, s.X11Authority, strings.Join(screens, ","))
}

func (c *command) listConnections() *cobra.Command {
	cmd := &cobra.Command{
		Use: "list-connections [SESSION-ID]", Short: "List the connections of a session, or of all", Args: cobra.MaximumNArgs(1),
	}
	asJSON := jsonFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		r := control.Request{Command: control.ListConnections, Session: strings.Join(args, "")}
		a, err := c.call(cmd.Context(), r)
		if err != nil {
			return err
		}
		text := ""
		for _, n := range a.Connections {
			text += fmt.Sprintf("Connection: %d (username:%s address:%s)\n", n.ID, n.Username, n.ClientAddress)
		}
		if text == "" {
			text = "There are no connections.\n"
		}
		return c.show(a, *asJSON, present(a.Connections), text)
	}
	return cmd
}

func (c *command) closeConnection() *cobra.Command {
	return &cobra.Command{
		Use: "close-connection SESSION-ID CONNECTION-ID", Short: "Disconnect a client", Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			number, err := strconv.Atoi(args[1])
			if err != nil {
				return refused(control.CloseConnection, errors.New("the connection ID is not a number"))
			}
			return c.do(cmd.Context(), control.Request{Command: control.CloseConnection, Session: args[0], Connection: number})
		},
	}
}

func (c *command) listEndpoints() *cobra.Command {
	cmd := &cobra.Command{Use: "list-endpoints", Short: "List where clients connect", Args: cobra.NoArgs}
	asJSON := jsonFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		a, err := c.call(cmd.Context(), control.Request{Command: control.ListEndpoints})
		if err != nil {
			return err
		}
		text := ""
		for _, e := range a.Endpoints {
			text += fmt.Sprintf("Endpoint: %s:%d (protocol:%s web-url-path:%s)\n", e.IPAddress, e.Port, e.Protocol, e.WebURLPath)
		}
		return c.show(a, *asJSON, present(a.Endpoints), text)
	}
	return cmd
}

// version answers without the host, like the vendor's.
func (c *command) version() *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Print the version", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			_, err := fmt.Fprintf(c.out, "Amazon DCV %s\nThis is a stand-in for development and tests, not the product of that name.\n",
				control.Version)
			return err
		},
	}
}
