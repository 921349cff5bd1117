package cli

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"opensessionmanager/http/admin/adminclient"
	"opensessionmanager/http/oauth/authserver"
	"opensessionmanager/internal/config"
)

// fakeBroker answers the admin commands from memory.
type fakeBroker struct {
	clients    []adminclient.Client
	statements []adminclient.Statement
	mappings   []adminclient.DNSMapping
	loaded     string
	servers    []adminclient.AuthServer
	enrolments []adminclient.Enrolment
	err        error
}

const password = "MmZlOWM0YjktODZkYy00YzlhLWExYzItNDdkNzA4Y2I0YjZh"

func (f *fakeBroker) RegisterAPIClient(_ context.Context, name string) (adminclient.Credentials, error) {
	f.clients = append(f.clients, adminclient.Client{Name: name, ID: "id-" + name, Active: true})
	return adminclient.Credentials{ClientID: "id-" + name, ClientPassword: password}, f.err
}

func (f *fakeBroker) DescribeAPIClients(context.Context) ([]adminclient.Client, error) {
	return f.clients, f.err
}

func (f *fakeBroker) UnregisterAPIClient(context.Context, string) error { return f.err }

func (f *fakeBroker) GenerateSoftwareStatement(context.Context) (string, error) {
	return "c3RhdGVtZW50", f.err
}

func (f *fakeBroker) DescribeSoftwareStatements(context.Context) ([]adminclient.Statement, error) {
	return f.statements, f.err
}

func (f *fakeBroker) DeactivateSoftwareStatement(_ context.Context, _ string, withAgents bool) (int, error) {
	if withAgents {
		return 7, f.err
	}
	return 0, f.err
}

func (f *fakeBroker) RotateAPIClientSecret(_ context.Context, id string, overlapSeconds int64) (adminclient.RotatedSecret, error) {
	return adminclient.RotatedSecret{Credentials: adminclient.Credentials{ClientID: id, ClientPassword: password},
		PreviousUntil: time.Unix(1_800_000_000+overlapSeconds, 0)}, f.err
}

func (f *fakeBroker) DescribeAgentClients(context.Context) ([]adminclient.Client, error) {
	return f.clients, f.err
}

func (f *fakeBroker) UnregisterAgentClient(context.Context, string) error { return f.err }

func (f *fakeBroker) RegisterServerDNSMappings(_ context.Context, _ string, content []byte) (int, error) {
	f.loaded = string(content)
	return 2, f.err
}

func (f *fakeBroker) DescribeServerDNSMappings(context.Context) ([]adminclient.DNSMapping, error) {
	return f.mappings, f.err
}

func (f *fakeBroker) RegisterAuthServer(_ context.Context, s authserver.Server) error {
	f.servers = append(f.servers, adminclient.AuthServer{Server: s})
	return f.err
}

func (f *fakeBroker) ListAuthServers(context.Context) ([]adminclient.AuthServer, error) {
	return f.servers, f.err
}

func (f *fakeBroker) UnregisterAuthServer(context.Context, string) error { return f.err }

func (f *fakeBroker) RenewKeys(context.Context) error { return f.err }

func (f *fakeBroker) Close() {}

type result struct {
	code        int
	out, errors string
}

// run executes a command line against a fake broker and an empty configuration file.
func run(t *testing.T, broker *fakeBroker, args ...string) result {
	t.Helper()
	file := filepath.Join(t.TempDir(), "broker.properties")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	var out, errs bytes.Buffer
	app := App{
		Stdout: &out, Stderr: &errs,
		Connect: func(*config.Config) (AdminAPI, error) { return broker, nil },
		Serve:   func(context.Context, *config.Config, *slog.Logger) error { return errors.New("not in this test") },
	}
	code := app.Run(t.Context(), append([]string{"--config", file}, args...))
	return result{code, out.String(), errs.String()}
}

// Contract section 8: all three spellings, and the regular expression of the wizard.
func TestRegisterAPIClient_PrintsWhatScriptsCut(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{
		{"--client-name", "portal"}, {"--client-name=portal"}, {"--name", "portal"}, {"-cn", "portal"}, {"-cn=portal"},
	} {
		r := run(t, &fakeBroker{}, append([]string{"register-api-client"}, args...)...)
		require.Equal(t, result{0, "client-id: id-portal\nclient-password: " + password + "\n", ""}, r, "%v", args)
		require.Regexp(t, regexp.MustCompile(`client-id: (.*?)\n.*?client-password: (.*?)\n`), r.out)
	}
}

func TestDescribeAPIClients_PrintsTheVendorsForm(t *testing.T) {
	t.Parallel()
	broker := &fakeBroker{clients: []adminclient.Client{{Name: "a \"<b>\"\n", ID: "1", Active: true}, {Name: "c", ID: "2"}}}
	require.Equal(t, result{0, `Api clients
[ {
  "name" : "a \"<b>\"\n",
  "id" : "1",
  "active" : true
}, {
  "name" : "c",
  "id" : "2",
  "active" : false
} ]
`, ""}, run(t, broker, "describe-api-clients"))
	require.Equal(t, result{0, "Api clients\n[ ]\n", ""}, run(t, &fakeBroker{}, "describe-api-clients"))
}

func TestOtherCommands_PrintTheVendorsText(t *testing.T) {
	t.Parallel()
	require.Equal(t, result{0, "Client 17 unregistered.\n", ""}, run(t, &fakeBroker{}, "unregister-api-client", "--client-id", "17"))
	require.Equal(t, result{0, "Client 17 unregistered.\n", ""}, run(t, &fakeBroker{}, "unregister-api-client", "--client", "-id", "17"), "as the guide prints it")
	require.Equal(t, result{0, "software-statement: c3RhdGVtZW50\n", ""}, run(t, &fakeBroker{}, "generate-software-statement"))
	require.Equal(t, result{0, "Software statement c3R= deactivated\n", ""}, run(t, &fakeBroker{}, "deactivate-software-statement", "--software-statement", "c3R="))
	require.Equal(t, result{0, "agent client 18 unregistered\n", ""}, run(t, &fakeBroker{}, "unregister-agent-client", "--client-id", "18"))
	require.Equal(t, result{0, "Software statement c3R= deactivated\n7 agent clients unregistered\n", ""}, run(t, &fakeBroker{}, "deactivate-software-statement", "--software-statement", "c3R=", "--with-agents"))
	require.Equal(t, result{0, "client-id: 17\nclient-password: " + password + "\nprevious-password-until: 2027-01-15T09:00:00Z\n", ""}, run(t, &fakeBroker{}, "rotate-api-client-secret", "--client-id", "17"))
	agents := &fakeBroker{clients: []adminclient.Client{{Name: "test", ID: "1", Active: true}}}
	require.Equal(t, result{0, "Session manager agent clients\n[ {\n  \"name\" : \"test\",\n  \"id\" : \"1\",\n  \"active\" : true\n} ]\n", ""}, run(t, agents, "describe-agent-clients"))
	statements := &fakeBroker{statements: []adminclient.Statement{{SoftwareStatement: "c3R=", IssuedAt: time.Date(2020, 8, 5, 17, 38, 32, 5, time.FixedZone("", 7200)), Active: true}}}
	require.Equal(t, result{0, "Software Statements\n[ {\n  \"software-statement\" : \"c3R=\",\n  \"issued-at\" : \"2020.08.05 15:38:32 +0000\",\n  \"is-active\" : \"true\"\n} ]\n", ""}, run(t, statements, "describe-software-statements"))
}

// C27: scripts need not cut text.
func TestOutputJSON_OfEachCommand(t *testing.T) {
	t.Parallel()
	broker := &fakeBroker{}
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"describe-api-clients"}, `[]`},
		{[]string{"register-api-client", "-cn", "x"}, `{"client-id":"id-x","client-password":"` + password + `"}`},
		{[]string{"describe-api-clients"}, `[{"name":"x","id":"id-x","active":true}]`},
		{[]string{"unregister-api-client", "--client-id", "id-x"}, `{"client-id":"id-x"}`},
		{[]string{"describe-agent-clients"}, `[{"name":"x","id":"id-x","active":true}]`},
		{[]string{"unregister-agent-client", "--client-id", "1"}, `{"client-id":"1"}`},
		{[]string{"describe-software-statements"}, `[]`},
		{[]string{"deactivate-software-statement", "--software-statement", "s"}, `{"software-statement":"s"}`},
		{[]string{"deactivate-software-statement", "--software-statement", "s", "--with-agents"}, `{"software-statement":"s","unregistered-agent-clients":7}`},
		{[]string{"rotate-api-client-secret", "--client-id", "1", "--overlap-seconds", "0"}, `{"client-id":"1","client-password":"` + password + `","previous-password-until":"2027-01-15T08:00:00Z"}`},
		{[]string{"generate-software-statement"}, `{"software-statement":"c3RhdGVtZW50"}`},
	} {
		r := run(t, broker, append(c.args, "--output", "json")...)
		require.Zero(t, r.code, r.errors)
		require.JSONEq(t, c.want, r.out)
	}
}

// Contract section 17: 0 ok, 1 error on stderr, 2 usage.
func TestExitCodes(t *testing.T) {
	t.Parallel()
	down := &fakeBroker{err: errors.New("the broker does not run")}
	for _, c := range []struct {
		name   string
		broker *fakeBroker
		args   []string
		code   int
		errors string
	}{
		{"broker refuses", down, []string{"describe-api-clients"}, 1, "error: the broker does not run\n"},
		{"service fails", down, nil, 1, "error: not in this test"},
		{"no name", down, []string{"register-api-client"}, 2, "error: option --client-name is required\nTry 'dcv-session-manager-broker --help'.\n"},
		{"no id", down, []string{"unregister-api-client"}, 2, "option --client-id is required"},
		{"no agent", down, []string{"unregister-agent-client"}, 2, "option --client-id is required"},
		{"no statement", down, []string{"deactivate-software-statement"}, 2, "option --software-statement is required"},
		{"unknown option", down, []string{"describe-api-clients", "--loud"}, 2, "unknown flag: --loud"},
		{"unknown command", down, []string{"register-api-clientt"}, 2, `unknown command "register-api-clientt"; did you mean register-api-client?`},
		{"argument", down, []string{"describe-api-clients", "x"}, 2, `unexpected argument "x"`},
		{"unknown output", down, []string{"describe-api-clients", "--output", "xml"}, 2, `--output "xml": write text or json`},
		{"no page", down, []string{"config"}, 2, "write config reference or config sample"},
		{"help", down, []string{"register-api-client", "--help"}, 0, ""},
		{"version", down, []string{"--version"}, 0, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r := run(t, c.broker, c.args...)
			require.Equal(t, c.code, r.code)
			require.Contains(t, r.errors, c.errors)
			require.NotContains(t, r.errors, "Usage:", "an error is not buried under the help")
		})
	}
}

func TestHelp_HasExamples(t *testing.T) {
	t.Parallel()
	for _, command := range []string{"", "register-api-client", "describe-api-clients", "unregister-api-client", "generate-software-statement", "describe-software-statements",
		"deactivate-software-statement", "describe-agent-clients", "unregister-agent-client", "register-server-dns-mappings", "describe-server-dns-mappings", "rotate-api-client-secret",
		"generate-enrolment-token", "describe-enrolment-tokens", "revoke-enrolment-token"} {
		r := run(t, &fakeBroker{}, strings.Fields(command+" --help")...)
		require.Contains(t, r.out, "Examples:\n  dcv-session-manager-broker", command)
	}
}

// F48: the check names file, line, key and cure, and starts nothing.
func TestCheckConfig(t *testing.T) {
	t.Parallel()
	check := func(text string) result {
		file := filepath.Join(t.TempDir(), "broker.properties")
		require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
		var out, errs bytes.Buffer
		code := App{Stdout: &out, Stderr: &errs}.Run(t.Context(), []string{"--config", file, "--check-config"})
		return result{code, strings.ReplaceAll(out.String(), file, "FILE"), strings.ReplaceAll(errs.String(), file, "FILE")}
	}
	require.Equal(t, result{0, "FILE: the broker would start\n", ""}, check("log-level = debug\n"))
	require.Equal(t, result{0, "warning: FILE:1: log-levle: unknown key, ignored; did you mean log-level?\nFILE: the broker would start\n", ""}, check("log-levle = debug\n"))
	require.Equal(t, result{1, "", "error: FILE:2: log-level: \"loud\" is not a known value; write debug or info or warning or error\n"}, check("\nlog-level = loud\n"))
}

func TestServe_GetsTheConfigurationAndLogsItsWarnings(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	file := filepath.Join(folder, "broker.properties")
	require.NoError(t, os.WriteFile(file, []byte("log-directory = logs\nenable-authorization = false\ncli-to-broker-port = 1234\n"), 0o600))
	served := 0
	code := App{Stdout: &bytes.Buffer{}, Stderr: &bytes.Buffer{}, Serve: func(_ context.Context, cfg *config.Config, logger *slog.Logger) error {
		served = cfg.Admin.Port
		logger.Info("in service")
		return nil
	}}.Run(t.Context(), []string{"--config", file})
	require.Zero(t, code)
	require.Equal(t, 1234, served)
	log, err := os.ReadFile(filepath.Join(folder, "logs", "broker.log"))
	require.NoError(t, err)
	require.Regexp(t, `(?s)INFO broker - starting .*WARN config - .*:2: enable-authorization: anybody.*INFO broker - in service\n.*stopped`, string(log))
}

func TestConfigPages(t *testing.T) {
	t.Parallel()
	require.Contains(t, run(t, &fakeBroker{}, "config", "reference").out, "| `enable-authorization` | `true` |")
	require.Contains(t, run(t, &fakeBroker{}, "config", "sample").out, "#enable-authorization = true\n")
}
