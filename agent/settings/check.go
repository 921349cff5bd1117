package settings

import (
	"cmp"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"opensessionmanager/internal/config"
	"opensessionmanager/internal/enrolment"
)

// formatVersion is the only version of the file's format there has been.
const formatVersion = "0.1"

// check judges values that are well-formed.
func (d document) check(s *Settings) (config.Problems, []config.Warning) {
	var problems config.Problems
	var warnings []config.Warning
	bad := func(key, text, fix string) { problems = append(problems, d.problem(key, text, fix)) }
	warn := func(key, text, fix string) {
		warnings = append(warnings, config.Warning{Level: slog.LevelWarn, Problem: d.problem(key, text, fix)})
	}
	d.checkVersion(s, bad, warn)
	d.checkBroker(&s.Agent, bad)
	d.checkTrust(&s.Agent, bad, warn)
	d.checkFolders(&s.Agent, bad, warn)
	d.checkNumbers(s, bad, warn)
	slices.SortFunc(problems, inOrder)
	slices.SortFunc(warnings, func(a, b config.Warning) int { return inOrder(a.Problem, b.Problem) })
	return problems, warnings
}

// inOrder is the order of the file.
func inOrder(a, b config.Problem) int {
	return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Key, b.Key))
}

type complain func(key, text, fix string)

var commentedVersion = regexp.MustCompile(`^\s*#+\s*version\s*=`)

// checkVersion insists on the key the vendor's agent insists on, and says where
// it went: it dies with "Error: Aborted" when the line is a comment (C31).
func (d document) checkVersion(s *Settings, bad, warn complain) {
	fix := "write version = '" + formatVersion + "' above the first [table]"
	if s.Version == nil {
		text := "this key is required"
		below := d.line("agent.version") + d.line("log.version")
		commented := slices.IndexFunc(d.lines, commentedVersion.MatchString) + 1
		switch {
		case below > 0:
			text = fmt.Sprintf("this key is required; line %d is inside a table", below)
		case commented > 0:
			text = fmt.Sprintf("this key is required; line %d is a comment", commented)
			fix = "remove the # in front of it; it must stand above the first [table]"
		}
		bad("version", text, fix)
		return
	}
	switch v := s.Version.(type) {
	case string:
		if v == formatVersion {
			return
		}
	case float64:
		if v == 0.1 {
			return
		}
	}
	warn("version", "this agent knows version '"+formatVersion+"' of the file only", fix)
}

func (d document) checkBroker(a *Agent, bad complain) {
	if a.BrokerHost == "" {
		bad("agent.broker_host", "this key is required", `write the broker's name, as in broker_host = "broker.example.com"`)
	} else if !hostName(a.BrokerHost) {
		bad("agent.broker_host", "this is not a host name or an address", "write the name only, without https:// and port; the port has a key of its own, broker_port")
	}
	if !port(a.BrokerPort) {
		bad("agent.broker_port", "ports are 1 to 65535", "write broker_port = 8445")
	}
	for _, b := range a.AlternativeBrokers {
		if host, _, err := a.split(b); err != nil || !hostName(host) {
			bad("agent.alternative_brokers", printable(b)+" is not a host or host:port", `write ["broker-2.example.com", "broker-3.example.com:8445"]`)
		}
	}
}

// hostName accepts DNS names, IPv4 and IPv6 addresses.
func hostName(s string) bool {
	return s != "" && len(s) <= 253 && (net.ParseIP(s) != nil || !strings.ContainsFunc(s, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '.' || r == '_')
	}))
}

func port(n int) bool { return n >= 1 && n <= 65535 }

// Brokers returns every broker as host:port, the configured one first.
func (a Agent) Brokers() []string {
	all := []string{net.JoinHostPort(a.BrokerHost, strconv.Itoa(a.BrokerPort))}
	for _, b := range a.AlternativeBrokers {
		if host, number, err := a.split(b); err == nil {
			all = append(all, net.JoinHostPort(host, number))
		}
	}
	return all
}

// split reads host or host:port.
func (a Agent) split(broker string) (host, number string, err error) {
	host, number, err = net.SplitHostPort(broker)
	if err != nil {
		return strings.Trim(broker, "[]"), strconv.Itoa(a.BrokerPort), nil
	}
	if n, err := strconv.Atoi(number); err != nil || !port(n) {
		return "", "", errors.New("settings: not a port")
	}
	return host, number, nil
}

func (d document) checkTrust(a *Agent, bad, warn complain) {
	if !a.TLSStrict {
		warn("agent.tls_strict", "the broker's certificate is not verified: whoever is on the network can command this host",
			"set ca_file to the broker's CA and remove tls_strict = false")
	}
	if a.CAFile != "" {
		content, err := os.ReadFile(a.CAFile)
		switch {
		case err != nil && a.TLSStrict:
			bad("agent.ca_file", reason(err), "copy the broker's dcvsmbroker_ca.pem there")
		case err == nil && !x509.NewCertPool().AppendCertsFromPEM(content):
			bad("agent.ca_file", "this file holds no PEM certificate", "copy the broker's dcvsmbroker_ca.pem there")
		}
	}
	d.checkEnrolment(a, bad, warn)
	if d.line("agent.software_statement_path") > 0 {
		if _, err := os.Stat(a.SoftwareStatementPath); err != nil {
			bad("agent.software_statement_path", reason(err), "put the output of the broker's generate-software-statement there, or remove the key")
		}
	}
}

// checkEnrolment reads the token: one that was cut is found before the host is. A file that
// is not there may come yet, or has done its work.
func (d document) checkEnrolment(a *Agent, bad, warn complain) {
	if a.EnrolmentTokenPath == "" {
		return
	}
	const key = "agent.enrolment_token_path"
	info, err := os.Stat(a.EnrolmentTokenPath)
	if err != nil {
		warn(key, reason(err), "write the output of the broker's generate-enrolment-token there, or remove the key if the host has enrolled")
		return
	}
	if _, err := ReadEnrolmentToken(a.EnrolmentTokenPath); err != nil {
		bad(key, strings.TrimPrefix(err.Error(), "enrolment: "), "write the output of the broker's generate-enrolment-token there")
		return
	}
	if runtime.GOOS != "windows" && info.Mode().Perm()&0o077 != 0 {
		warn(key, "others may read this file, and enrol with what is in it", "chmod 600 "+printable(a.EnrolmentTokenPath))
	}
}

// ReadEnrolmentToken reads a token from a file, which may have the words in front of it
// that the broker prints.
func ReadEnrolmentToken(path string) (enrolment.Token, error) {
	file, err := os.Open(path)
	if err != nil {
		return enrolment.Token{}, err
	}
	defer file.Close()
	content, err := io.ReadAll(io.LimitReader(file, enrolment.MaxText+1))
	if err != nil {
		return enrolment.Token{}, err
	}
	text, _ := strings.CutPrefix(string(content), "enrolment-token: ")
	return enrolment.Parse(text)
}

func reason(err error) string {
	var path *os.PathError
	if errors.As(err, &path) {
		return "the file cannot be read: " + path.Err.Error()
	}
	return "the file cannot be read"
}

func (d document) checkFolders(a *Agent, bad, warn complain) {
	for key, value := range map[string]string{
		"agent.init_folder":    a.InitFolder,
		"agent.autorun_folder": a.AutorunFolder,
		"agent.data_folder":    a.DataFolder,
		"agent.dcv_root":       a.DcvRoot,
	} {
		if !filepath.IsAbs(value) {
			bad(key, "this must be an absolute path", "write the whole path")
		}
	}
	if info, err := os.Stat(a.DcvRoot); err == nil && info.IsDir() {
		bad("agent.dcv_root", "this is a folder", "write the path of the dcv program, as in dcv_root = '/usr/bin/dcv'")
	}
	if d.line("agent.tags_folder") > 0 {
		if _, err := os.Stat(a.TagsFolder); err != nil {
			warn("agent.tags_folder", "this folder cannot be read; the host has no tags", "create it or remove the key")
		}
	}
}

func (d document) checkNumbers(s *Settings, bad, warn complain) {
	const most = 100_000
	for key, value := range map[string]int{
		"agent.max_virtual_sessions":             s.Agent.MaxVirtualSessions,
		"agent.max_concurrent_sessions_per_user": s.Agent.MaxSessionsPerUser,
	} {
		if value < -1 || value > most {
			bad(key, fmt.Sprintf("limits are -1 to %d", most), "write -1 for no limit")
		}
	}
	switch n := s.Agent.BrokerUpdateInterval; {
	case n < 1 || n > 3600:
		bad("agent.broker_update_interval", "seconds are 1 to 3600", "write broker_update_interval = 30")
	case n > 120:
		warn("agent.broker_update_interval", "more than 120 seconds make the broker's picture of this host old", "write broker_update_interval = 30")
	}
	if !slices.Contains([]string{"error", "warning", "info", "debug"}, s.Log.Level) {
		bad("log.level", "this level is not known", "write error, warning, info or debug")
	}
	if s.Log.Rotation != "hourly" && s.Log.Rotation != "daily" {
		bad("log.rotation", "this rotation is not known", "write hourly or daily")
	}
	if s.Log.MaxFileSize < 1 || s.Log.MaxFileSize > 1<<40 {
		bad("log.max-file-size", "bytes are 1 to 1099511627776", "write max-file-size = 10485760")
	}
	if s.Log.Rotate < 0 || s.Log.Rotate > most {
		bad("log.rotate", fmt.Sprintf("files are 0 to %d", most), "write rotate = 9")
	}
	if s.Log.Directory == "" {
		bad("log.directory", "a folder is required", "write the folder of agent.log")
	}
}
