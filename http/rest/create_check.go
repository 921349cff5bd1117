package rest

import (
	"encoding/base64"
	"errors"
	"fmt"
	"math"
	"strings"
	"unicode"
	"unicode/utf8"

	"opensessionmanager/actors/requirements"
	"opensessionmanager/messages"
)

// Bounds of what a session may be asked with, in bytes unless it says otherwise.
const (
	maxName        = 256
	maxOwner       = 256
	maxPath        = 1024
	maxPermissions = 64 << 10
	homeVariable   = "%home%"
)

// sessionSpec checks one item of CreateSessions and turns it into a command, or
// says what is wrong with it (contract section 1.5; F29, F30, F31). Hosts check
// again: this is the first of two gates, not the only one.
func (s *Server) sessionSpec(item *createSessionRequest) (*messages.SessionSpec, *messages.Refusal) {
	spec := &messages.SessionSpec{
		Name: item.Name, Owner: item.Owner,
		InitFile: item.InitFile, AutorunFile: item.AutorunFile, AutorunFileArguments: item.AutorunFileArguments,
		MaxConcurrentClients: item.MaxConcurrentClients, DcvGlEnabled: item.DcvGlEnabled,
		EnqueueRequest:        item.EnqueueRequest != nil && *item.EnqueueRequest,
		DisableRetryOnFailure: item.DisableRetryOnFailure != nil && *item.DisableRetryOnFailure,
		StorageRoot:           item.StorageRoot,
	}
	if spec.InitFile == "" {
		spec.InitFile = item.InitFilePath // what old clients send
	}
	problem := firstProblem(
		func() string { return nameProblem(item.Name) },
		func() string { return userProblem("Owner", item.Owner) },
		func() (p string) { spec.Type, p = sessionType(item.Type); return p },
		func() string { return initFileProblem(item, spec) },
		func() string { return s.autorunProblem(spec) },
		func() string { return limitsProblem(spec) },
		func() string { return storageProblem(item.StorageRoot) },
		func() (p string) { spec.PermissionsFile, p = optionalPermissions(item.PermissionsFile); return p },
	)
	if problem != "" {
		return nil, badItem(problem)
	}
	if strings.TrimSpace(item.Requirements) != "" {
		if refusal := requirementsProblem(item.Requirements); refusal != nil {
			return nil, refusal
		}
		spec.Requirements = item.Requirements
	}
	return spec, nil
}

// requirementsProblem has the parser's text, with the place of the mistake (C23, F32).
func requirementsProblem(expression string) *messages.Refusal {
	_, err := requirements.Parse(expression)
	if err == nil {
		return nil
	}
	refusal := &messages.Refusal{Code: messages.CodeRequirements}
	if syntax, ok := errors.AsType[*requirements.SyntaxError](err); ok {
		refusal.Text, refusal.Detail = syntax.Text+" at "+syntax.Detail(), syntax.Detail()
	}
	return refusal
}

// firstProblem runs checks until one has something to say.
func firstProblem(checks ...func() string) string {
	for _, check := range checks {
		if problem := check(); problem != "" {
			return problem
		}
	}
	return ""
}

func nameProblem(name string) string {
	switch {
	case strings.TrimSpace(name) == "":
		return "Name is required"
	case len(name) > maxName:
		return fmt.Sprintf("Name must have at most %d bytes", maxName)
	}
	return controlProblem("Name", name)
}

// userProblem checks the name of a user of a host: plain, DOMAIN\user or
// user@domain. A leading '-' would read as an option of a command, a slash as a path.
func userProblem(field, user string) string {
	domain, account, isDomain := strings.Cut(user, `\`)
	if !isDomain {
		domain, account = "", user
	}
	switch {
	case user == "":
		return field + " is required"
	case len(user) > maxOwner:
		return fmt.Sprintf("%s must have at most %d bytes", field, maxOwner)
	case strings.TrimSpace(user) != user:
		return field + " must not begin or end with a space"
	case isDomain && (domain == "" || account == "" || strings.Contains(account, `\`)):
		return field + ` with a domain must be DOMAIN\user`
	case strings.HasPrefix(user, "-") || strings.HasPrefix(account, "-"):
		return field + " must not begin with '-'"
	case strings.Contains(user, "/") || user == "." || user == "..":
		return field + " is not the name of a user"
	case !utf8.ValidString(user):
		return field + " is not UTF-8"
	}
	return controlProblem(field, user)
}

func controlProblem(field, text string) string {
	if strings.IndexFunc(text, unicode.IsControl) >= 0 {
		return field + " must not contain control characters"
	}
	return ""
}

func sessionType(name string) (messages.SessionType, string) {
	switch {
	case name == "":
		return 0, "Type is required"
	case strings.EqualFold(name, "CONSOLE"):
		return messages.SessionType_SESSION_TYPE_CONSOLE, ""
	case strings.EqualFold(name, "VIRTUAL"):
		return messages.SessionType_SESSION_TYPE_VIRTUAL, ""
	}
	return 0, "Type must be CONSOLE or VIRTUAL"
}

func isVirtual(spec *messages.SessionSpec) bool {
	return spec.GetType() == messages.SessionType_SESSION_TYPE_VIRTUAL
}

func initFileProblem(item *createSessionRequest, spec *messages.SessionSpec) string {
	switch {
	case spec.InitFile == "":
		return ""
	case item.InitFile != "" && item.InitFilePath != "" && item.InitFile != item.InitFilePath:
		return "InitFile and InitFilePath differ; InitFilePath is the old name of InitFile"
	case !isVirtual(spec):
		return "InitFile is for VIRTUAL sessions only"
	}
	return pathProblem("InitFile", spec.InitFile)
}

func (s *Server) autorunProblem(spec *messages.SessionSpec) string {
	arguments := spec.GetAutorunFileArguments()
	switch {
	case len(arguments) == 0 && spec.AutorunFile == "":
		return ""
	case len(arguments) > 0 && spec.AutorunFile == "":
		return "AutorunFileArguments needs AutorunFile"
	case len(arguments) > 0 && !isVirtual(spec):
		return "AutorunFileArguments is for VIRTUAL sessions only"
	case len(arguments) > s.opt.AutorunMaxArguments:
		return fmt.Sprintf("AutorunFileArguments must have at most %d arguments", s.opt.AutorunMaxArguments)
	}
	for i, argument := range arguments {
		if utf8.RuneCountInString(argument) > s.opt.AutorunMaxArgumentLength {
			return fmt.Sprintf("AutorunFileArguments[%d] must have at most %d characters", i, s.opt.AutorunMaxArgumentLength)
		}
		if strings.ContainsRune(argument, 0) {
			return fmt.Sprintf("AutorunFileArguments[%d] must not contain NUL", i)
		}
	}
	return pathProblem("AutorunFile", spec.AutorunFile)
}

// pathProblem takes a file name or a path below a folder of the host, and nothing
// that could lead out of it. A backslash separates on Windows only, so it is
// never needed and always suspect.
func pathProblem(field, path string) string {
	switch {
	case len(path) > maxPath:
		return fmt.Sprintf("%s must have at most %d bytes", field, maxPath)
	case strings.HasPrefix(path, "/") || isDrive(path):
		return field + " must be a relative path"
	case strings.Contains(path, `\`):
		return field + " must not contain a backslash; separate folders with '/'"
	case hasParent(path):
		return field + " must not contain '..'"
	}
	return controlProblem(field, path)
}

func storageProblem(path string) string {
	rest, atHome := strings.CutPrefix(path, homeVariable)
	switch {
	case path == "":
		return ""
	case len(path) > maxPath:
		return fmt.Sprintf("StorageRoot must have at most %d bytes", maxPath)
	case atHome && rest != "" && rest[0] != '/' && rest[0] != '\\':
		return "StorageRoot must continue with a separator after %home%"
	case !atHome && !strings.HasPrefix(path, "/") && !(isDrive(path) && len(path) > 2 && strings.ContainsRune(`/\`, rune(path[2]))):
		return "StorageRoot must be an absolute path or begin with %home%"
	case strings.HasPrefix(path, "//"):
		return "StorageRoot must not be a network path"
	case hasParent(path):
		return "StorageRoot must not contain '..'"
	}
	return controlProblem("StorageRoot", path)
}

// isDrive recognises the C: of Windows.
func isDrive(path string) bool {
	return len(path) >= 2 && path[1] == ':' && (path[0]|0x20) >= 'a' && (path[0]|0x20) <= 'z'
}

func hasParent(path string) bool {
	for part := range strings.FieldsFuncSeq(path, func(r rune) bool { return r == '/' || r == '\\' }) {
		// Windows drops trailing dots and spaces of a name, so ".. ." is a parent too.
		if strings.HasPrefix(part, "..") && strings.Trim(part, ". ") == "" {
			return true
		}
	}
	return false
}

func limitsProblem(spec *messages.SessionSpec) string {
	if n := spec.MaxConcurrentClients; n != nil && (*n < 1 || *n > math.MaxInt32) {
		return fmt.Sprintf("MaxConcurrentClients must be between 1 and %d", math.MaxInt32)
	}
	if spec.GetDcvGlEnabled() && !isVirtual(spec) {
		return "DcvGlEnabled is for VIRTUAL sessions only"
	}
	return ""
}

func optionalPermissions(encoded *string) ([]byte, string) {
	if encoded == nil {
		return nil, ""
	}
	return decodePermissions(*encoded)
}

// decodePermissions returns the file, never nil without a problem: an empty file
// is one that permits nothing, no file is the host's default.
func decodePermissions(encoded string) ([]byte, string) {
	if len(encoded) > base64.StdEncoding.EncodedLen(maxPermissions)*2 {
		return nil, fmt.Sprintf("PermissionsFile must have at most %d bytes", maxPermissions)
	}
	file, err := base64.StdEncoding.DecodeString(encoded) // skips line ends
	switch {
	case err != nil:
		return nil, "PermissionsFile is not base64"
	case len(file) > maxPermissions:
		return nil, fmt.Sprintf("PermissionsFile must have at most %d bytes", maxPermissions)
	case !utf8.Valid(file) || strings.ContainsRune(string(file), 0):
		return nil, "PermissionsFile is not a text in UTF-8"
	}
	return append([]byte{}, file...), ""
}
