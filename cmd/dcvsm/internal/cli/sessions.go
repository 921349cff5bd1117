package cli

import (
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"opensessionmanager/cmd/dcvsm/internal/api"
	"opensessionmanager/cmd/dcvsm/internal/settings"
)

// maxPermissionsFile bounds a permissions file in bytes.
const maxPermissionsFile = 1 << 20

func (a App) createSession(f *settings.Flags) *cobra.Command {
	var (
		in          api.CreateSessionRequest
		clients     int64
		permissions string
		set         *pflag.FlagSet
	)
	text := func(to **string, name, usage string) {
		*to = set.String(name, "", usage)
	}
	cmd := a.command(f, "create-session", "Create a session.",
		"  dcvsm create-session --name work --owner alice --type Virtual --requirements \"tag:color='blue'\"",
		[]string{"name", "owner", "type"},
		func() (work, error) {
			request, err := creation(set, in, clients, permissions)
			return func(ctx context.Context, c *api.Client) (any, error) { return c.CreateSession(ctx, request) }, err
		})
	set = cmd.Flags()
	text(&in.Name, "name", "Name of the session, for display. [required]")
	text(&in.Owner, "owner", "User of the host who will own the session. [required]")
	text(&in.Type, "type", "`[Console|Virtual]` Type of the session. [required]")
	text(&in.InitFilePath, "init-file-path", "Script that starts the session, below the agent's init folder.")
	text(&in.AutorunFile, "autorun-file", "File to run in the session, below the agent's autorun folder.")
	set.StringArrayVar(&in.AutorunFileArguments, "autorun-file-arguments", nil, "`TEXT` Argument of that file; repeat the option for more.")
	set.Int64Var(&clients, "max-concurrent-clients", 0, "`[1..100]` How many clients may be connected at once.")
	in.DcvGlEnabled = set.Bool("dcv-gl-enabled", false, "Hardware OpenGL in a virtual session.")
	set.StringVar(&permissions, "permissions-file", "", "Path of the permissions file, or its content in base64.")
	text(&in.Requirements, "requirements", "What the server must be like, as \"server:Host.Os.Family = 'linux'\".")
	text(&in.StorageRoot, "storage-root", "Folder for session storage.")
	in.EnqueueRequest = set.Bool("enqueue-request", false, "Wait for a server if none is free.")
	in.DisableRetryOnFailure = set.Bool("disable-retry-on-failure", false, "Do not try another host if creating fails.")
	return cmd
}

// creation keeps the options that were given and checks them.
func creation(set *pflag.FlagSet, in api.CreateSessionRequest, clients int64, permissions string) (api.CreateSessionRequest, error) {
	for name, member := range map[string]**string{
		"autorun-file": &in.AutorunFile, "requirements": &in.Requirements, "storage-root": &in.StorageRoot,
	} {
		if !set.Changed(name) {
			*member = nil
		}
	}
	for name, member := range map[string]**bool{
		"dcv-gl-enabled": &in.DcvGlEnabled, "enqueue-request": &in.EnqueueRequest, "disable-retry-on-failure": &in.DisableRetryOnFailure,
	} {
		if !set.Changed(name) {
			*member = nil
		}
	}
	if set.Changed("init-file-path") {
		in.InitFile = in.InitFilePath // the API's present name of it
	}
	in.InitFilePath = nil
	kind := strings.ToUpper(*in.Type)
	if kind != "CONSOLE" && kind != "VIRTUAL" {
		return in, valueError("type", "%q is not one of Console, Virtual.", *in.Type)
	}
	in.Type = &kind
	if set.Changed("max-concurrent-clients") {
		if clients < 1 || clients > 100 {
			return in, valueError("max-concurrent-clients", "%d is not in the range 1<=x<=100.", clients)
		}
		in.MaxConcurrentClients = &clients
	}
	if set.Changed("permissions-file") {
		encoded, err := permissionsOrBase64(permissions)
		in.PermissionsFile = &encoded
		return in, err
	}
	return in, nil
}

// permissionsOrBase64 reads the file if there is one of that name; else the text
// must be the content (contract section 17).
func permissionsOrBase64(value string) (string, error) {
	if _, err := os.Stat(value); err == nil {
		return readPermissions("permissions-file", value)
	}
	if _, err := base64.StdEncoding.DecodeString(value); err != nil {
		return "", valueError("permissions-file", "there is no file of this name, and it is not base64 either.")
	}
	return value, nil
}

func readPermissions(option, path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", valueError(option, "%w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxPermissionsFile+1))
	if err != nil {
		return "", valueError(option, "%w", err)
	}
	if len(data) > maxPermissionsFile {
		return "", valueError(option, "%s is larger than %d bytes.", path, maxPermissionsFile)
	}
	return base64.StdEncoding.EncodeToString(data), nil
}

func (a App) deleteSession(f *settings.Flags) *cobra.Command {
	var in api.DeleteSessionRequest
	cmd := a.command(f, "delete-session", "Delete a session.",
		"  dcvsm delete-session --session-id 6b1c6f2e-0c1f-4a3e-9d5b-0b9a2f7d8c11 --owner alice",
		[]string{"session-id", "owner"},
		func() (work, error) {
			return func(ctx context.Context, c *api.Client) (any, error) { return c.DeleteSession(ctx, in) }, nil
		})
	cmd.Flags().StringVar(&in.SessionID, "session-id", "", "Id of the session. [required]")
	cmd.Flags().StringVar(&in.Owner, "owner", "", "Owner of the session. [required]")
	cmd.Flags().BoolVar(&in.Force, "force", false, "Forget the session even if its host cannot be reached.")
	return cmd
}

func (a App) describeSessions(f *settings.Flags) *cobra.Command {
	var (
		in    api.DescribeSessionsRequest
		owner string
		page  pageFlags
	)
	cmd := a.command(f, "describe-sessions", "Describe sessions.",
		"  dcvsm describe-sessions --owner alice --output-format table", nil,
		func() (work, error) {
			if owner != "" {
				in.Filters = []api.KeyValuePair{{Key: new("owner"), Value: &owner}}
			}
			var err error
			in.MaxResults, in.NextToken, err = page.values()
			return func(ctx context.Context, c *api.Client) (any, error) { return c.DescribeSessions(ctx, in) }, err
		})
	idsFlag(cmd.Flags(), &in.SessionIDs, "session-ids", "`ID,ID` Only these sessions.")
	cmd.Flags().StringVar(&owner, "owner", "", "Only sessions of this owner.")
	page.add(cmd.Flags())
	return cmd
}

func (a App) connectionData(f *settings.Flags) *cobra.Command {
	var id, user string
	cmd := a.command(f, "get-session-connection-data", "Get what a user needs to connect to a session.",
		"  dcvsm get-session-connection-data --session-id 6b1c6f2e-0c1f-4a3e-9d5b-0b9a2f7d8c11 --user alice",
		[]string{"session-id", "user"},
		func() (work, error) {
			return func(ctx context.Context, c *api.Client) (any, error) { return c.ConnectionData(ctx, id, user) }, nil
		})
	cmd.Flags().StringVar(&id, "session-id", "", "Id of the session. [required]")
	cmd.Flags().StringVar(&user, "user", "", "User who will connect. [required]")
	return cmd
}

func (a App) updatePermissions(f *settings.Flags) *cobra.Command {
	var (
		in   api.UpdatePermissionsRequest
		path string
	)
	cmd := a.command(f, "update-session-permissions", "Replace the permissions of a session.",
		"  dcvsm update-session-permissions --session-id 6b1c6f2e-0c1f-4a3e-9d5b-0b9a2f7d8c11 --owner alice --permission-file ./team.perm",
		[]string{"session-id", "owner", "permission-file"},
		func() (work, error) {
			var err error
			in.PermissionsFile, err = readPermissions("permission-file", path)
			return func(ctx context.Context, c *api.Client) (any, error) { return c.UpdatePermissions(ctx, in) }, err
		})
	cmd.Flags().StringVar(&in.SessionID, "session-id", "", "Id of the session. [required]")
	cmd.Flags().StringVar(&in.Owner, "owner", "", "Owner of the session. [required]")
	cmd.Flags().StringVar(&path, "permission-file", "", "Path of the permissions file. [required]")
	return cmd
}

// pageFlags are the options of the two commands that list.
type pageFlags struct {
	set        *pflag.FlagSet
	maxResults int64
	nextToken  string
}

func (p *pageFlags) add(set *pflag.FlagSet) {
	p.set = set
	set.Int64Var(&p.maxResults, "max-results", 0, "`[1..1000]` How many entries at most.")
	set.StringVar(&p.nextToken, "next-token", "", "Where to go on: next_token of the answer before.")
}

func (p *pageFlags) values() (*int64, string, error) {
	if !p.set.Changed("max-results") {
		return nil, p.nextToken, nil
	}
	if p.maxResults < 1 || p.maxResults > 1000 {
		return nil, "", valueError("max-results", "%d is not in the range 1<=x<=1000.", p.maxResults)
	}
	return &p.maxResults, p.nextToken, nil
}

// idsFlag takes ids with commas between them; the option may be repeated too.
func idsFlag(set *pflag.FlagSet, to *[]string, name, usage string) {
	set.Var((*idList)(to), name, usage)
}

type idList []string

func (l *idList) String() string { return strings.Join(*l, ",") }

func (l *idList) Type() string { return "list" }

func (l *idList) Set(text string) error {
	for id := range strings.SplitSeq(text, ",") {
		if id = strings.TrimSpace(id); id == "" {
			return fmt.Errorf("an id is empty")
		}
		*l = append(*l, strings.TrimSpace(id))
	}
	return nil
}
