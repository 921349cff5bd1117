// Package settings finds out how dcvsm shall work: options of the command line
// win over environment variables, which win over the configuration file
// (contract section 9).
package settings

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
)

// Exit codes of contract section 9 that wrong settings lead to.
const (
	ExitConfig      = 1   // the configuration file is missing or corrupt
	ExitValue       = 252 // a bad value on the command line
	ExitEnvironment = 253 // something needed is set nowhere, or the environment is wrong
)

// Error is wrong settings; Code is the exit code.
type Error struct {
	Code int
	Text string
}

func (e *Error) Error() string { return e.Text }

// Output formats.
const (
	JSON  = "json"
	Table = "table"
)

// Flags are the global options as given; nil or "" means not given.
type Flags struct {
	Conf, BrokerURL, OutputFormat, CABundle, AuthServerURL string
	Debug, NoVerifySSL                                     *bool
}

// Settings is what the commands work with.
type Settings struct {
	BrokerURL      *url.URL
	AuthServerURL  *url.URL // nil if there is a Token
	ClientID       string
	ClientPassword string
	Token          string // bypasses the authorization server
	OutputFormat   string
	CABundle       string // "": the system's
	Debug          bool
	NoVerifySSL    bool

	File     string   // the configuration file that was read; "" if none
	Warnings []string // for the error stream
}

// Environment is the surroundings; a test makes its own.
type Environment struct {
	Getenv     func(string) string
	Executable string // path of the program; the file may stand beside it
	Windows    bool
}

// sourced is a value and where it came from, for the message and the exit code.
type sourced struct {
	value, from string
	code        int
}

// Resolve puts the settings together.
func Resolve(flags Flags, env Environment) (*Settings, error) {
	file, err := readFile(flags.Conf, env)
	if err != nil {
		return nil, err
	}
	s := &Settings{Warnings: file.warnings}
	if file.ini != nil {
		s.File = file.path
	}
	pick := func(option, flag, variable, section, key string) sourced {
		switch {
		case flag != "":
			return sourced{flag, "option " + option, ExitValue}
		case variable != "" && env.Getenv(variable) != "":
			return sourced{env.Getenv(variable), "environment variable " + variable, ExitEnvironment}
		default:
			return sourced{file.get(section, key), file.path + " [" + section + "] " + key, ExitConfig}
		}
	}
	s.Token = strings.TrimSpace(env.Getenv("DCV_SM_OAUTH2_TOKEN"))
	s.CABundle = pick("--ca-bundle", flags.CABundle, "", "security", "ca-bundle").value
	s.ClientID = pick("", "", "DCV_SM_CLIENT_ID", "authentication", "client-id").value
	s.ClientPassword = pick("", "", "DCV_SM_CLIENT_PASSWORD", "authentication", "client-password").value

	return s, errors.Join( // each of these is independent; the first one is reported
		s.setBroker(pick("--broker-url", flags.BrokerURL, "", "broker", "url")),
		s.setAuthServer(pick("--auth-server", flags.AuthServerURL, "DCV_SM_AUTH_SERVER_URL", "authentication", "auth-server-url")),
		s.setFormat(pick("--output-format", flags.OutputFormat, "", "output", "output-format")),
		setBool(&s.Debug, flags.Debug, sourced{file.get("output", "debug"), file.path + " [output] debug", ExitConfig}),
		setBool(&s.NoVerifySSL, flags.NoVerifySSL, sourced{file.get("security", "no-verify-ssl"), file.path + " [security] no-verify-ssl", ExitConfig}),
	)
}

func (s *Settings) setBroker(v sourced) error {
	if v.value == "" {
		return &Error{ExitEnvironment, "no broker: give --broker-url https://HOST:PORT, or url in section [broker] of the configuration file"}
	}
	u, err := parseURL(v)
	if err != nil {
		return err
	}
	if u.RawQuery != "" {
		return &Error{v.code, fmt.Sprintf("%s: %q has a query; write https://HOST:PORT", v.from, v.value)}
	}
	u.Path = strings.TrimRight(u.Path, "/")
	u.RawPath = ""
	s.BrokerURL = u
	return nil
}

func (s *Settings) setAuthServer(v sourced) (err error) {
	if s.Token != "" {
		return nil
	}
	for _, need := range []struct{ value, what string }{
		{v.value, "authorization server: give --auth-server, DCV_SM_AUTH_SERVER_URL, or auth-server-url"},
		{s.ClientID, "client id: set DCV_SM_CLIENT_ID, or client-id"},
		{s.ClientPassword, "client password: set DCV_SM_CLIENT_PASSWORD, or client-password"},
	} {
		if need.value == "" {
			return &Error{ExitEnvironment, "no " + need.what + " in section [authentication] of the configuration file; or set DCV_SM_OAUTH2_TOKEN"}
		}
	}
	s.AuthServerURL, err = parseURL(v)
	return err
}

func (s *Settings) setFormat(v sourced) error {
	s.OutputFormat = strings.ToLower(v.value)
	switch s.OutputFormat {
	case "":
		s.OutputFormat = JSON
	case JSON, Table:
	default:
		return &Error{v.code, fmt.Sprintf("%s: %q is unknown; write json or table", v.from, v.value)}
	}
	return nil
}

func setBool(to *bool, flag *bool, v sourced) error {
	if flag != nil {
		*to = *flag
		return nil
	}
	switch strings.ToLower(v.value) { // what Python's configuration reader takes
	case "", "false", "no", "off", "0":
		*to = false
	case "true", "yes", "on", "1":
		*to = true
	default:
		return &Error{v.code, fmt.Sprintf("%s: %q is neither true nor false", v.from, v.value)}
	}
	return nil
}

// parseURL takes https URLs with a host (C28). The secrets travel there, so plain
// HTTP is refused.
func parseURL(v sourced) (*url.URL, error) {
	refuse := func(why string) (*url.URL, error) {
		return nil, &Error{v.code, fmt.Sprintf("%s: %s; write https://HOST:PORT", v.from, why)}
	}
	text := strings.TrimSpace(v.value)
	u, err := url.Parse(text)
	switch {
	case !strings.Contains(text, "://"):
		return refuse(fmt.Sprintf("%q does not begin with https://", text))
	case err != nil:
		return refuse("is not a URL") // the error's text could repeat a password
	case u.Scheme != "https":
		return refuse(fmt.Sprintf("%q is not an https URL", u.Redacted()))
	case u.Hostname() == "":
		return refuse(fmt.Sprintf("%q names no host", u.Redacted()))
	case u.User != nil:
		return refuse("a URL with a user name is not taken")
	case u.Fragment != "":
		return refuse(fmt.Sprintf("%q has a fragment", text))
	}
	return u, nil
}

// BrokerURL finds the broker alone, for a command that needs no credentials.
func BrokerURL(flags Flags, env Environment) (*url.URL, error) {
	file, err := readFile(flags.Conf, env)
	if err != nil {
		return nil, err
	}
	s := &Settings{}
	value := sourced{flags.BrokerURL, "option --broker-url", ExitValue}
	if value.value == "" {
		value = sourced{file.get("broker", "url"), file.path + " [broker] url", ExitConfig}
	}
	err = s.setBroker(value)
	return s.BrokerURL, err
}
