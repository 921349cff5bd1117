package settings

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const complete = `
[output]
output-format = table
debug = True
[security]
no-verify-ssl = yes
ca-bundle = /etc/ca.pem
[authentication]
auth-server-url = https://auth:8443/oauth2/token?grant_type=client_credentials
client-id = file-id
client-password = p#a;s%(x)s"s==
[broker]
url = https://file:8443/
`

func env(values map[string]string) Environment {
	return Environment{Getenv: func(name string) string { return values[name] }}
}

func write(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), fileName)
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	return path
}

func TestResolve_ReadsTheFile(t *testing.T) {
	t.Parallel()
	s, err := Resolve(Flags{Conf: write(t, complete)}, env(nil))
	require.NoError(t, err)
	require.Equal(t, "https://file:8443", s.BrokerURL.String())
	require.Equal(t, "https://auth:8443/oauth2/token?grant_type=client_credentials", s.AuthServerURL.String())
	require.Equal(t, "file-id", s.ClientID)
	require.Equal(t, `p#a;s%(x)s"s==`, s.ClientPassword, "nothing in a password is special")
	require.Equal(t, Table, s.OutputFormat)
	require.Equal(t, "/etc/ca.pem", s.CABundle)
	require.True(t, s.Debug && s.NoVerifySSL)
	require.Empty(t, s.Warnings)
}

func TestResolve_CommandLineThenEnvironmentThenFile(t *testing.T) {
	t.Parallel()
	conf := write(t, complete)
	no := false
	variables := env(map[string]string{"DCV_SM_AUTH_SERVER_URL": "https://env/token", "DCV_SM_CLIENT_ID": "env-id", "DCV_SM_CLIENT_PASSWORD": "env-pass"})
	s, err := Resolve(Flags{Conf: conf}, variables)
	require.NoError(t, err)
	require.Equal(t, []string{"https://env/token", "env-id", "env-pass"}, []string{s.AuthServerURL.String(), s.ClientID, s.ClientPassword})

	s, err = Resolve(Flags{Conf: conf, AuthServerURL: "https://flag/token", BrokerURL: "https://flag", OutputFormat: "JSON", CABundle: "c", Debug: &no, NoVerifySSL: &no}, variables)
	require.NoError(t, err)
	require.Equal(t, []string{"https://flag/token", "https://flag", JSON, "c"}, []string{s.AuthServerURL.String(), s.BrokerURL.String(), s.OutputFormat, s.CABundle})
	require.False(t, s.Debug || s.NoVerifySSL)
}

func TestResolve_ATokenNeedsNoAuthorizationServer(t *testing.T) {
	t.Parallel()
	s, err := Resolve(Flags{BrokerURL: "https://b"}, env(map[string]string{"DCV_SM_OAUTH2_TOKEN": "abc\n"}))
	require.NoError(t, err)
	require.Equal(t, "abc", s.Token)
	require.Nil(t, s.AuthServerURL)
}

func TestResolve_LooksForTheFile(t *testing.T) {
	t.Parallel()
	user, home, program := t.TempDir(), t.TempDir(), t.TempDir()
	put := func(url string, parts ...string) {
		path := filepath.Join(parts...)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o700))
		require.NoError(t, os.WriteFile(path, []byte("[broker]\nurl = https://"+url+"\n"), 0o600))
	}
	put("program", program, "conf", fileName)
	broker := func(values map[string]string, windows bool) string {
		values["DCV_SM_OAUTH2_TOKEN"] = "t"
		e := env(values)
		e.Executable, e.Windows = filepath.Join(program, "dcvsm"), windows
		s, err := Resolve(Flags{}, e)
		require.NoError(t, err)
		return s.BrokerURL.Host
	}
	require.Equal(t, "program", broker(map[string]string{"XDG_CONFIG_HOME": user}, false))
	put("user", user, fileName)
	put("home", home, ".config", fileName)
	require.Equal(t, "user", broker(map[string]string{"XDG_CONFIG_HOME": user, "HOME": home}, false))
	require.Equal(t, "home", broker(map[string]string{"HOME": home}, false))
	require.Equal(t, "user", broker(map[string]string{"UserProfile": user, "HOME": home}, true))
}

// Contract section 9: which exit code for which mistake.
func TestResolve_ErrorsAndTheirCodes(t *testing.T) {
	t.Parallel()
	token := map[string]string{"DCV_SM_OAUTH2_TOKEN": "t"}
	for _, c := range []struct {
		name  string
		flags Flags
		env   map[string]string
		code  int
		text  string
	}{
		{"named file missing", Flags{Conf: "/nowhere/x"}, token, 1, "no such file"},
		{"file corrupt", Flags{Conf: write(t, "[broker\nurl")}, token, 1, "is no configuration file"},
		{"bad value in the file", Flags{Conf: write(t, "[broker]\nurl=https://b\n[output]\ndebug=maybe")}, token, 1, `[output] debug: "maybe" is neither`},
		{"bad URL in the file", Flags{Conf: write(t, "[broker]\nurl = broker:8443")}, token, 1, "[broker] url"},
		{"no broker", Flags{}, token, 253, "no broker: give --broker-url"},
		{"no authorization server", Flags{BrokerURL: "https://b"}, nil, 253, "no authorization server"},
		{"no id", Flags{BrokerURL: "https://b", AuthServerURL: "https://a"}, nil, 253, "no client id: set DCV_SM_CLIENT_ID"},
		{"no password", Flags{BrokerURL: "https://b", AuthServerURL: "https://a"}, map[string]string{"DCV_SM_CLIENT_ID": "i"}, 253, "no client password"},
		{"bad URL in the environment", Flags{BrokerURL: "https://b"}, map[string]string{"DCV_SM_CLIENT_ID": "i", "DCV_SM_CLIENT_PASSWORD": "p", "DCV_SM_AUTH_SERVER_URL": "a"}, 253, "DCV_SM_AUTH_SERVER_URL"},
		{"bad URL on the command line", Flags{BrokerURL: "http://b"}, token, 252, `option --broker-url: "http://b" is not an https URL`},
		{"bad format", Flags{BrokerURL: "https://b", OutputFormat: "xml"}, token, 252, "write json or table"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			_, err := Resolve(c.flags, env(c.env))
			problem := new(Error)
			require.ErrorAs(t, err, &problem)
			require.Equal(t, c.code, problem.Code)
			require.Contains(t, problem.Text, c.text)
		})
	}
}

// C28: the vendor's program had bugs here.
func TestParseURL(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"https://broker.example:8443":         "https://broker.example:8443",
		" https://broker/ ":                   "https://broker/",
		"HTTPS://Broker_1:8443":               "https://Broker_1:8443",
		"https://[fd00::1]:8443/sm":           "https://[fd00::1]:8443/sm",
		"https://10.0.0.1:8446/t?grant_type=": "https://10.0.0.1:8446/t?grant_type=",
		"broker:8443":                         "",
		"http://broker:8443":                  "",
		"https://:8443":                       "",
		"https://":                            "",
		"https://u:hush@broker":               "",
		"https://broker:port":                 "",
		"https://broker/#x":                   "",
		"https://bro ker":                     "",
		"file:///etc/passwd":                  "",
		"":                                    "",
	} {
		u, err := parseURL(sourced{text, "url", 252})
		if want == "" {
			require.Error(t, err, text)
			require.NotContains(t, err.Error(), "hush")
			continue
		}
		require.NoError(t, err, text)
		require.Equal(t, want, u.String())
	}
}

func TestResolve_WarnsOfUnknownKeysAndOpenPasswords(t *testing.T) {
	t.Parallel()
	path := write(t, "[broker]\nurl = https://b\nport = 1\n[authentication]\nclient-password = x\n")
	require.NoError(t, os.Chmod(path, 0o644))
	s, err := Resolve(Flags{Conf: path}, env(map[string]string{"DCV_SM_OAUTH2_TOKEN": "t"}))
	require.NoError(t, err)
	require.Contains(t, strings.Join(s.Warnings, "\n"), `unknown key "port" in section "broker"`)
	require.Contains(t, strings.Join(s.Warnings, "\n"), "chmod 600")
}

func FuzzParseFile(f *testing.F) {
	f.Add([]byte(complete))
	f.Add([]byte("[a\n=\x00%(x)s"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if file, err := parseFile("f", data); err == nil {
			_ = file.get("broker", "url")
		}
	})
}
