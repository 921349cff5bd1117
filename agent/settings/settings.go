// Package settings reads agent.conf, the vendor's TOML file with a few keys of our
// own (contract section 7).
//
// A wrong value stops the agent and names file, line, key and cure. An unknown key
// is only a warning, with the nearest known one: operators' files carry some.
package settings

import (
	"os"
	"path/filepath"
	"runtime"
	"time"
)

// Settings is everything an administrator can choose. The tags are the only
// spelling of a key; own marks keys that the vendor's agent does not have.
type Settings struct {
	// File is the file that was read.
	File string `toml:"-"`
	// Version is the version of the file's format, which the vendor's agent requires
	// at the top of the file.
	Version any   `toml:"version"`
	Agent   Agent `toml:"agent"`
	Log     Log   `toml:"log"`
}

// Agent is the [agent] table.
type Agent struct {
	BrokerHost                string   `toml:"broker_host" doc:"DNS name or address of the broker or of the load balancer before the brokers; required."`
	BrokerPort                int      `toml:"broker_port" doc:"Agent port of the broker."`
	AlternativeBrokers        []string `toml:"alternative_brokers" own:"yes" doc:"More brokers of the same fleet, as host or host:port, for fleets without a load balancer."`
	CAFile                    string   `toml:"ca_file" doc:"PEM file with the authority that signed the broker's certificate; if absent the one that enrolment brought, else the system's authorities."`
	TLSStrict                 bool     `toml:"tls_strict" doc:"Whether the broker's certificate is verified."`
	SoftwareStatementPath     string   `toml:"software_statement_path" doc:"File with the broker's software statement, presented at registration. If the default file is absent the agent registers without."`
	EnrolmentTokenPath        string   `toml:"enrolment_token_path" own:"yes" doc:"File with an enrolment token, with which the agent enrols by itself if it has not yet: for images and cloud-init."`
	TagsFolder                string   `toml:"tags_folder" doc:"Folder with *.toml files of key=\"value\" lines: the host's tags."`
	InitFolder                string   `toml:"init_folder" doc:"Folder of the init scripts that sessions may name; absolute."`
	AutorunFolder             string   `toml:"autorun_folder" doc:"Folder of the programs that sessions may start; absolute."`
	MaxVirtualSessions        int      `toml:"max_virtual_sessions" doc:"Virtual sessions on this host; -1 for no limit."`
	MaxSessionsPerUser        int      `toml:"max_concurrent_sessions_per_user" doc:"Virtual sessions of one owner on this host; -1 for no limit."`
	BrokerUpdateInterval      int      `toml:"broker_update_interval" doc:"Seconds between full reports, 1 to 3600; more than 120 is not recommended."`
	EnableQueryLoggedInUsers  bool     `toml:"enable_query_logged_in_users" doc:"Windows: whether the names of logged-in users are reported; otherwise they are called unknown."`
	PreferredNetworkInterface string   `toml:"preferred_network_interface" doc:"Interface whose address is the host's; the first that is not loopback if absent or not found."`
	DcvRoot                   string   `toml:"dcv_root" doc:"Path of the dcv program."`
	DcvConf                   string   `toml:"dcv_conf" own:"yes" doc:"Path of dcv.conf, read only if dcv cannot list its endpoints."`
	DataFolder                string   `toml:"data_folder" own:"yes" doc:"Folder of the agent's identity, credentials and short-lived files; absolute."`
}

// Log is the [log] table.
type Log struct {
	Level       string `toml:"level" doc:"error, warning, info or debug."`
	Directory   string `toml:"directory" doc:"Folder of agent.log."`
	Rotation    string `toml:"rotation" doc:"hourly or daily."`
	MaxFileSize int    `toml:"max-file-size" doc:"Bytes after which a new file is begun."`
	Rotate      int    `toml:"rotate" doc:"Older files kept."`
}

// DefaultPath is where the agent looks when no file is named (contract section 7).
func DefaultPath() string {
	if runtime.GOOS == "windows" {
		return windowsProgram + `\conf\agent.conf`
	}
	return unixConfig + "/agent.conf"
}

// DefaultBrokerPort is the vendor's (contract section 7).
const DefaultBrokerPort = 8445

const (
	unixConfig     = "/etc/dcv-session-manager-agent"
	unixData       = "/var/lib/dcv-session-manager-agent"
	windowsProgram = `C:\Program Files\NICE\DCVSessionManagerAgent`
	windowsData    = `C:\ProgramData\NICE\DcvSessionManagerAgent`
)

// Default returns the settings of an empty file on the given system (a GOOS).
func Default(system string) Settings {
	s := Settings{
		Agent: Agent{
			BrokerPort:               DefaultBrokerPort,
			TLSStrict:                true,
			SoftwareStatementPath:    unixConfig + "/software-statement",
			TagsFolder:               unixConfig + "/tags",
			InitFolder:               unixData + "/init",
			AutorunFolder:            unixData + "/autorun",
			MaxVirtualSessions:       -1,
			MaxSessionsPerUser:       1,
			BrokerUpdateInterval:     30,
			EnableQueryLoggedInUsers: true,
			DcvRoot:                  "/usr/bin/dcv",
			DcvConf:                  "/etc/dcv/dcv.conf",
			DataFolder:               unixData,
		},
		Log: Log{
			Level:       "info",
			Directory:   "/var/log/dcv-session-manager-agent/",
			Rotation:    "daily",
			MaxFileSize: 10 << 20,
			Rotate:      9,
		},
	}
	if system == "windows" {
		s.Agent.SoftwareStatementPath = windowsProgram + `\conf\software-statement`
		s.Agent.TagsFolder = windowsProgram + `\conf\tags`
		s.Agent.InitFolder = windowsData + `\init`
		s.Agent.AutorunFolder = windowsData + `\autorun`
		s.Agent.DcvRoot = `C:\Program Files\NICE\DCV\Server\bin\dcv.exe`
		s.Agent.DcvConf = ""
		s.Agent.DataFolder = windowsData
		s.Log.Directory = windowsData + `\log`
	}
	return s
}

// EnrolledCAFile is the authority that enrolment brought, which is trusted if no ca_file
// is configured.
const EnrolledCAFile = "broker-ca.pem"

// EnrolledCA is the path of EnrolledCAFile.
func (a Agent) EnrolledCA() string { return filepath.Join(a.DataFolder, EnrolledCAFile) }

// TrustedCA is the file of the authority to trust, "" for the system's.
func (a Agent) TrustedCA() string {
	if a.CAFile != "" {
		return a.CAFile
	}
	if _, err := os.Stat(a.EnrolledCA()); err == nil {
		return a.EnrolledCA()
	}
	return ""
}

// Interval is the time between reports.
func (a Agent) Interval() time.Duration {
	return time.Duration(a.BrokerUpdateInterval) * time.Second
}
