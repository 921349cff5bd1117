package admin

import (
	"context"
	"fmt"
	"maps"
	"strings"
	"time"

	"opensessionmanager/http/admin/adminclient"
	"opensessionmanager/http/dnsmapping"
	"opensessionmanager/http/oauth"
	"opensessionmanager/http/oauth/authserver"
)

// maxOverlapSeconds bounds how long a replaced secret may count: 30 days.
const maxOverlapSeconds = 30 * 24 * 3600

var errOverlap = fmt.Errorf("admin: the overlap must be 0 to %d seconds", maxOverlapSeconds)

// table names every command as the vendor does (contract section 8).
func table(cfg Config) map[string]command {
	clients, agents, statements := cfg.OAuth.Clients(), cfg.OAuth.Agents(), cfg.OAuth.Statements()
	servers := cfg.OAuth.AuthServers()
	commands := map[string]command{
		"register-api-client": typed(func(ctx context.Context, in adminclient.RegisterAPIClient) (adminclient.Credentials, error) {
			id, password, err := clients.Register(ctx, in.Name)
			return adminclient.Credentials{ClientID: id, ClientPassword: password}, err
		}),
		"rotate-api-client-secret": typed(func(ctx context.Context, in adminclient.RotateSecret) (adminclient.RotatedSecret, error) {
			if in.OverlapSeconds < 0 || in.OverlapSeconds > maxOverlapSeconds {
				return adminclient.RotatedSecret{}, errOverlap
			}
			password, until, err := clients.Rotate(ctx, in.ClientID, time.Duration(in.OverlapSeconds)*time.Second)
			return adminclient.RotatedSecret{Credentials: adminclient.Credentials{ClientID: in.ClientID, ClientPassword: password}, PreviousUntil: until}, err
		}),
		"describe-api-clients":  listing(clients.Describe),
		"unregister-api-client": unregistering(clients.Unregister),
		"generate-software-statement": typed(func(ctx context.Context, _ adminclient.Empty) (adminclient.SoftwareStatement, error) {
			text, err := statements.Generate(ctx, cfg.BrokerVersion)
			return adminclient.SoftwareStatement{SoftwareStatement: text}, err
		}),
		"describe-software-statements": typed(func(ctx context.Context, _ adminclient.Empty) (adminclient.Statements, error) {
			all, err := statements.Describe(ctx)
			list := adminclient.Statements{Statements: make([]adminclient.Statement, len(all))}
			for i, s := range all {
				list.Statements[i] = adminclient.Statement{SoftwareStatement: s.Text, IssuedAt: s.IssuedAt, Active: s.Active}
			}
			return list, err
		}),
		"deactivate-software-statement": typed(func(ctx context.Context, in adminclient.DeactivateStatement) (adminclient.Count, error) {
			id, err := statements.Deactivate(ctx, in.SoftwareStatement)
			if err != nil || !in.WithAgents {
				return adminclient.Count{}, err
			}
			n, err := agents.UnregisterAll(ctx, id)
			return adminclient.Count{Count: n}, err
		}),
		"register-server-dns-mappings": typed(func(ctx context.Context, in adminclient.DNSMappingsFile) (adminclient.Count, error) {
			mappings, err := dnsmapping.Parse([]byte(in.Content))
			if err != nil {
				return adminclient.Count{}, err
			}
			return adminclient.Count{Count: len(mappings)}, cfg.DNSMappings.Register(ctx, mappings)
		}),
		"describe-server-dns-mappings": typed(func(ctx context.Context, _ adminclient.Empty) (adminclient.DNSMappings, error) {
			all, err := cfg.DNSMappings.Describe(ctx)
			list := adminclient.DNSMappings{Mappings: make([]adminclient.DNSMapping, len(all))}
			for i, m := range all {
				list.Mappings[i] = adminclient.DNSMapping{ServerIDType: string(m.Type), ServerID: m.ServerID,
					DNSNames: adminclient.DNSNames{Internal: m.Names.Internal, External: m.Names.External}}
			}
			return list, err
		}),
		"describe-agent-clients":  listing(agents.Describe),
		"unregister-agent-client": unregistering(agents.Unregister),
		"register-auth-server": typed(func(ctx context.Context, in authserver.Server) (adminclient.Empty, error) {
			return adminclient.Empty{}, servers.Register(ctx, in)
		}),
		"list-auth-servers": typed(func(ctx context.Context, _ adminclient.Empty) (adminclient.AuthServers, error) {
			return listAuthServers(ctx, servers)
		}),
		"unregister-auth-server": typed(func(ctx context.Context, in adminclient.URL) (adminclient.Empty, error) {
			return adminclient.Empty{}, servers.Unregister(ctx, in.URL)
		}),
		"renew-auth-server-api-key": typed(func(ctx context.Context, _ adminclient.Empty) (adminclient.Empty, error) {
			return adminclient.Empty{}, cfg.OAuth.RenewKeys(ctx)
		}),
	}
	maps.Copy(commands, enrolmentCommands(cfg))
	return commands
}

// subject is what a request and its answer are about, if they say so, without secrets.
func subject(in, out any) string {
	var about []string
	for _, thing := range []any{in, out} {
		if named, ok := thing.(interface{ Subject() string }); ok && named.Subject() != "" {
			about = append(about, named.Subject())
		}
	}
	return strings.Join(about, " ")
}

func listAuthServers(ctx context.Context, servers *oauth.AuthServers) (adminclient.AuthServers, error) {
	all, err := servers.Describe(ctx)
	list := adminclient.AuthServers{AuthServers: make([]adminclient.AuthServer, len(all))}
	for i, s := range all {
		list.AuthServers[i] = adminclient.AuthServer{Server: s.Server, Keys: s.Keys, Fetched: s.Fetched, Problem: s.Problem}
	}
	return list, err
}

// typed is the one place where a command meets JSON.
func typed[In, Out any](do func(context.Context, In) (Out, error)) command {
	return func(ctx context.Context, body []byte) (performed, error) {
		in, err := decode[In](body)
		if err != nil {
			return performed{}, err
		}
		out, err := do(ctx, in)
		return performed{out, subject(in, out)}, err
	}
}

func listing(describe func(context.Context) ([]oauth.Description, error)) command {
	return typed(func(ctx context.Context, _ adminclient.Empty) (adminclient.Clients, error) {
		all, err := describe(ctx)
		list := adminclient.Clients{Clients: make([]adminclient.Client, len(all))}
		for i, d := range all {
			list.Clients[i] = adminclient.Client{Name: d.Name, ID: d.ID, Active: d.Active}
		}
		return list, err
	})
}

func unregistering(unregister func(context.Context, string) error) command {
	return typed(func(ctx context.Context, in adminclient.ClientID) (adminclient.Empty, error) {
		return adminclient.Empty{}, unregister(ctx, in.ClientID)
	})
}
