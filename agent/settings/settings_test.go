package settings

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"opensessionmanager/internal/config"
)

func load(t *testing.T, content string) (Settings, []config.Warning, error) {
	t.Helper()
	return parse("agent.conf", []byte(content))
}

// Contract section 7: every default, and every key of the vendor's file.
func TestLoad_SmallestFileHasTheVendorsDefaults(t *testing.T) {
	t.Parallel()
	s, warnings, err := load(t, "version = '0.1'\n[agent]\nbroker_host = \"b.example.com\"\n")
	require.NoError(t, err)
	require.Empty(t, warnings)
	require.Equal(t, 8445, s.Agent.BrokerPort)
	require.True(t, s.Agent.TLSStrict)
	require.True(t, s.Agent.EnableQueryLoggedInUsers)
	require.Equal(t, -1, s.Agent.MaxVirtualSessions)
	require.Equal(t, 1, s.Agent.MaxSessionsPerUser)
	require.Equal(t, 30, s.Agent.BrokerUpdateInterval)
	require.Equal(t, "/usr/bin/dcv", s.Agent.DcvRoot)
	require.Equal(t, "/var/lib/dcv-session-manager-agent/init", s.Agent.InitFolder)
	require.Equal(t, "/var/lib/dcv-session-manager-agent/autorun", s.Agent.AutorunFolder)
	require.Equal(t, Log{Level: "info", Directory: "/var/log/dcv-session-manager-agent/", Rotation: "daily", MaxFileSize: 10485760, Rotate: 9}, s.Log)
	require.Equal(t, []string{"b.example.com:8445"}, s.Agent.Brokers())
	require.Equal(t, "0", Default("windows").Agent.DcvConf+"0")
}

func TestLoad_EveryKeyIsRead(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	statement := filepath.Join(folder, "statement")
	require.NoError(t, os.WriteFile(statement, []byte("x"), 0o600))
	s, warnings, err := load(t, "\ufeffversion = 0.1\r\n[agent]\r\n"+strings.Join([]string{
		`broker_host = "2001:db8::1"`, `broker_port = 9445`, `alternative_brokers = ["b2", "b3:1", "[::1]:2"]`,
		`tls_strict = true`, `software_statement_path = '` + statement + `'`, `tags_folder = '` + folder + `'`,
		`init_folder = '/i'`, `autorun_folder = '/a'`, `max_virtual_sessions = 3`, `max_concurrent_sessions_per_user = 2`,
		`broker_update_interval = 15`, `enable_query_logged_in_users = false`, `preferred_network_interface = 'eth0'`,
		`dcv_root = '/opt/dcv'`, `dcv_conf = '/x'`, `data_folder = '/d'`,
		"[log]", `level = 'debug'`, `directory = '/l'`, `rotation = 'hourly'`, `max-file-size = 5`, `rotate = 0`,
	}, "\r\n"))
	require.NoError(t, err)
	require.Empty(t, warnings)
	require.Equal(t, Agent{
		BrokerHost: "2001:db8::1", BrokerPort: 9445, AlternativeBrokers: []string{"b2", "b3:1", "[::1]:2"}, TLSStrict: true,
		SoftwareStatementPath: statement, TagsFolder: folder, InitFolder: "/i", AutorunFolder: "/a",
		MaxVirtualSessions: 3, MaxSessionsPerUser: 2, BrokerUpdateInterval: 15, PreferredNetworkInterface: "eth0",
		DcvRoot: "/opt/dcv", DcvConf: "/x", DataFolder: "/d",
	}, s.Agent)
	require.Equal(t, Log{Level: "debug", Directory: "/l", Rotation: "hourly", MaxFileSize: 5, Rotate: 0}, s.Log)
	require.Equal(t, []string{"[2001:db8::1]:9445", "b2:9445", "b3:1", "[::1]:2"}, s.Agent.Brokers())
}

// C31, F48: bad files beside the message each must give.
func TestLoad_BadFilesSayWhatToDo(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/*.bad.conf")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			t.Parallel()
			want, err := os.ReadFile(strings.TrimSuffix(file, ".bad.conf") + ".message")
			require.NoError(t, err)
			_, _, err = Load(file)
			require.ErrorIs(t, err, config.ErrInvalid)
			require.Equal(t, strings.TrimSpace(string(want)), err.Error())
		})
	}
}

func TestLoad_UnknownKeysWarnWithTheNearest(t *testing.T) {
	t.Parallel()
	_, warnings, err := load(t, "version='0.1'\n[agent]\nbroker_host='b'\nbroker_prot=1\nmax_concurent_sessions_per_user=1\nzzz=1\n[log]\nmax_file_size=1\n[extra]\na=1\n")
	require.NoError(t, err)
	var texts []string
	for _, w := range warnings {
		require.Equal(t, slog.LevelWarn, w.Level)
		texts = append(texts, w.String())
	}
	const unknown = ": this key is not known and has no effect"
	require.Equal(t, []string{
		"agent.conf:4: agent.broker_prot" + unknown + "; did you mean agent.broker_port?",
		"agent.conf:5: agent.max_concurent_sessions_per_user" + unknown + "; did you mean agent.max_concurrent_sessions_per_user?",
		"agent.conf:6: agent.zzz" + unknown,
		"agent.conf:8: log.max_file_size" + unknown + "; did you mean log.max-file-size?",
		"agent.conf:9: extra" + unknown,
	}, texts)
}

func TestLoad_WarnsOfWhatWeakens(t *testing.T) {
	t.Parallel()
	_, warnings, err := load(t, "version='0.2'\n[agent]\nbroker_host='b'\ntls_strict=false\nbroker_update_interval=300\ntags_folder='/missing/folder'\n")
	require.NoError(t, err)
	var keys []string
	for _, w := range warnings {
		keys = append(keys, w.Key)
	}
	require.Equal(t, []string{"version", "agent.tls_strict", "agent.broker_update_interval", "agent.tags_folder"}, keys)
}

func TestLoad_MissingFile(t *testing.T) {
	t.Parallel()
	_, _, err := Load(filepath.Join(t.TempDir(), "agent.conf"))
	require.ErrorContains(t, err, "no such file")
}

func TestReference_NamesEveryKey(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	require.NoError(t, Reference(&out))
	for _, o := range known() {
		require.Contains(t, out.String(), "`"+o.key()+"`")
		require.NotEmpty(t, o.field.Tag.Get("doc"), o.key())
	}
	readme, err := os.ReadFile("../README.md")
	require.NoError(t, err)
	require.Contains(t, string(readme), out.String(), "the table in agent/README.md must be the generated one")
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("version='0.1'\n[agent]\nbroker_host='b'\nalternative_brokers=['x:1']\n[log]\nrotate=1\n"))
	f.Add([]byte("# version='0.1'\n[[agent]]\n[agent.x]\nbroker_port='1'"))
	f.Fuzz(func(t *testing.T, content []byte) {
		s, _, err := parse("agent.conf", content)
		if err != nil {
			require.ErrorIs(t, err, config.ErrInvalid)
			return
		}
		require.NotEmpty(t, s.Agent.Brokers())
	})
}
