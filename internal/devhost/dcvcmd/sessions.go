package dcvcmd

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/user"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"opensessionmanager/internal/devhost/control"
	"opensessionmanager/internal/devhost/permfile"
)

func (c *command) createSession() *cobra.Command {
	cmd := &cobra.Command{Use: "create-session SESSION-ID", Short: "Create a session", Args: cobra.ExactArgs(1)}
	var n control.NewSession
	var permissions string
	f := cmd.Flags()
	f.StringVar(&n.Type, "type", "virtual", "console or virtual")
	f.StringVar(&n.Name, "name", "", "name, up to 256 characters")
	f.StringVar(&n.Owner, "owner", "", "owner (default: the user)")
	f.StringVar(&n.User, "user", "", "user who runs a virtual session (default: the owner)")
	f.StringVar(&permissions, "permissions-file", "", "file with the session's permissions (default: everything for the owner)")
	f.StringVar(&n.StorageRoot, "storage-root", "", "folder for file transfer; %home% is the owner's home")
	f.StringVar(&n.GL, "gl", "", "on or off: hardware OpenGL in a virtual session")
	f.StringVar(&n.GLDisplay, "gl-display", "", "X display that does hardware OpenGL")
	f.IntVar(&n.MaxConcurrentClients, "max-concurrent-clients", -1, "most clients at a time; -1 means no limit")
	f.StringVar(&n.Init, "init", "", "script that starts the desktop of a virtual session")
	f.Bool("disable-login-monitor", false, "accepted, has no effect")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := complete(&n, permissions, f.Changed("permissions-file")); err != nil {
			return refused(control.CreateSession, err)
		}
		return c.do(cmd.Context(), control.Request{Command: control.CreateSession, Session: args[0], Create: &n})
	}
	return cmd
}

// complete adds what only the caller's side knows: who calls, what its files hold
// and where relative paths begin.
func complete(n *control.NewSession, permissions string, permissionsGiven bool) error {
	switch {
	case n.MaxConcurrentClients == -1:
		n.MaxConcurrentClients = 0
	case n.MaxConcurrentClients < 1:
		return errors.New("--max-concurrent-clients must be at least 1, or -1")
	}
	if account, err := user.Current(); err == nil {
		n.Caller = account.Username
	}
	if permissionsGiven {
		text, err := readPermissions(permissions)
		if err != nil {
			return err
		}
		n.Permissions = &text
	}
	if n.Init == "" {
		return nil
	}
	path, err := filepath.Abs(n.Init)
	n.Init = path
	return err
}

// readPermissions reads with the caller's rights, which the host need not have.
func readPermissions(path string) (string, error) {
	file, err := os.Open(path)
	if err != nil {
		return "", fmt.Errorf("the permissions file cannot be read: %w", err)
	}
	defer file.Close()
	data, err := io.ReadAll(io.LimitReader(file, permfile.MaxBytes+1))
	if err != nil {
		return "", fmt.Errorf("the permissions file cannot be read: %w", err)
	}
	if len(data) > permfile.MaxBytes {
		return "", fmt.Errorf("the permissions file is larger than %d bytes", permfile.MaxBytes)
	}
	return string(data), nil
}

func (c *command) closeSession() *cobra.Command {
	cmd := &cobra.Command{
		Use: "close-session SESSION-ID", Short: "Close a session", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.do(cmd.Context(), control.Request{Command: control.CloseSession, Session: args[0]})
		},
	}
	cmd.Flags().Bool("logout-user", false, "accepted, has no effect")
	return cmd
}

func (c *command) setPermissions() *cobra.Command {
	cmd := &cobra.Command{Use: "set-permissions", Short: "Change the permissions of a session", Args: cobra.NoArgs}
	f := cmd.Flags()
	session := f.String("session", "", "session ID")
	none := f.Bool("none", false, "revoke everything")
	reset := f.Bool("reset-builtin", false, "back to everything for the owner")
	file := f.String("file", "", "permissions file; an empty one revokes everything")
	cmd.MarkFlagsMutuallyExclusive("none", "reset-builtin", "file")
	cmd.MarkFlagsOneRequired("none", "reset-builtin", "file")
	cobra.CheckErr(cmd.MarkFlagRequired("session"))
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		change := control.PermissionChange{Reset: *reset}
		if !*none && !*reset {
			var err error
			if change.File, err = readPermissions(*file); err != nil {
				return refused(control.SetPermissions, err)
			}
		}
		return c.do(cmd.Context(), control.Request{Command: control.SetPermissions, Session: *session, Permissions: &change})
	}
	return cmd
}

func (c *command) setDisplayLayout() *cobra.Command {
	cmd := &cobra.Command{
		Use: "set-display-layout --session SESSION-ID WIDTHxHEIGHT+X+Y,...", Short: "Change the screens of a session",
		Args: cobra.ExactArgs(1),
	}
	session := cmd.Flags().String("session", "", "session ID")
	cobra.CheckErr(cmd.MarkFlagRequired("session"))
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return c.do(cmd.Context(), control.Request{Command: control.SetDisplayLayout, Session: *session, Layout: args[0]})
	}
	return cmd
}

func (c *command) setName() *cobra.Command {
	cmd := &cobra.Command{Use: "set-name --session SESSION-ID NAME", Short: "Rename a session", Args: cobra.ExactArgs(1)}
	session := cmd.Flags().String("session", "", "session ID")
	cobra.CheckErr(cmd.MarkFlagRequired("session"))
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return c.do(cmd.Context(), control.Request{Command: control.SetName, Session: *session, Name: args[0]})
	}
	return cmd
}

func (c *command) setConfig() *cobra.Command {
	cmd := &cobra.Command{Use: "set-config --section S --key K VALUE", Short: "Remember a setting", Args: cobra.ExactArgs(1)}
	section := cmd.Flags().String("section", "", "section of dcv.conf")
	key := cmd.Flags().String("key", "", "key in the section")
	cobra.CheckErr(cmd.MarkFlagRequired("section"))
	cobra.CheckErr(cmd.MarkFlagRequired("key"))
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		setting := control.Setting{Section: *section, Key: *key, Value: args[0]}
		return c.do(cmd.Context(), control.Request{Command: control.SetConfig, Setting: &setting})
	}
	return cmd
}

func (c *command) getScreenshot() *cobra.Command {
	cmd := &cobra.Command{Use: "get-screenshot SESSION-ID", Short: "Take a picture of a session", Args: cobra.ExactArgs(1)}
	var r control.ScreenshotRequest
	f := cmd.Flags()
	f.IntVar(&r.MaxWidth, "max-width", 0, "pixels; 0 means the session's own")
	f.IntVar(&r.MaxHeight, "max-height", 0, "pixels; 0 means the session's own")
	f.StringVar(&r.Format, "format", "", "png or jpeg (default: as the output file's name says, or png)")
	f.BoolVar(&r.Primary, "primary", false, "the primary display only; otherwise all displays in one picture")
	output := f.StringP("output", "o", "", "file to write (default: standard output)")
	asJSON := jsonFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if r.Format == "" {
			r.Format = strings.TrimPrefix(filepath.Ext(*output), ".")
		}
		a, err := c.call(cmd.Context(), control.Request{Command: control.GetScreenshot, Session: args[0], Screenshot: &r})
		if err != nil {
			return err
		}
		if a.Image == nil {
			return errors.New("dcv: the host sent no picture")
		}
		if *output != "" && !*asJSON {
			return os.WriteFile(*output, a.Image.Base64, 0o600)
		}
		return c.show(a, *asJSON, a.Image, string(a.Image.Base64))
	}
	return cmd
}
