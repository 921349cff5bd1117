// Package permfile reads the part of DCV permissions files that a stand-in host
// needs: who may do what in a session.
//
// The format is contract section 11 (from the vendor's administrator guide):
// sections [groups], [aliases] and [permissions]; a permission is a line
// `actor allow|disallow|deny feature...`. Understood are user names (also as
// `user:name`), `group:name`, %owner%, %any%, groups of users and groups, aliases
// of features and aliases, the feature `builtin`, lines that are empty or start
// with `#` or `;`. Two things differ from the vendor's server: members of
// `osgroup:` actors are not looked up, so such a line applies to nobody, and
// `#import` is an error rather than a file read from who knows where.
package permfile

import (
	"errors"
	"fmt"
	"strings"
)

// Bounds of a file. Lists that a file repeats through groups and aliases cannot
// grow beyond these, since every name is followed once.
const (
	MaxBytes = 256 << 10
	maxLines = 10_000
)

// Default is what a session without a permissions file has: everything for its
// owner, nothing for anybody else.
const Default = "[permissions]\n%owner% allow builtin\n"

// ErrSyntax reports a file that cannot be understood; its text names the line.
var ErrSyntax = errors.New("permfile: bad permissions file")

// features are the vendor's, what `builtin` stands for.
func features() []string {
	return []string{
		"audio-in", "audio-out", "clipboard-copy", "clipboard-paste", "display", "extensions-client",
		"extensions-server", "file-download", "file-upload", "gamepad", "keyboard", "keyboard-sas", "mouse",
		"pointer", "printer", "screenshot", "smartcard", "stylus", "touch", "unsupervised-access", "usb",
		"webauthn-redirection", "webcam",
	}
}

// File is a parsed permissions file. The zero value allows nothing.
type File struct {
	groups  map[string][]string
	aliases map[string][]string
	rules   []rule
}

type rule struct {
	actor    string
	verb     string
	features []string
}

// Parse reads a file. An empty one is valid and allows nothing.
func Parse(text string) (File, error) {
	f := File{groups: map[string][]string{}, aliases: map[string][]string{}}
	if len(text) > MaxBytes {
		return File{}, fmt.Errorf("%w: larger than %d bytes", ErrSyntax, MaxBytes)
	}
	section, number := "", 0
	for line := range strings.Lines(text) {
		number++
		line = strings.TrimSpace(line)
		if number > maxLines {
			return File{}, fmt.Errorf("%w: more than %d lines", ErrSyntax, maxLines)
		}
		var err error
		switch {
		case strings.HasPrefix(line, "#import"):
			err = errors.New("#import is not supported by a stand-in host")
		case line == "" || line[0] == '#' || line[0] == ';':
		case line[0] == '[':
			section = strings.ToLower(line)
			if section != "[groups]" && section != "[aliases]" && section != "[permissions]" {
				err = fmt.Errorf("unknown section %.80q", line)
			}
		default:
			err = f.add(section, line)
		}
		if err != nil {
			return File{}, fmt.Errorf("%w: line %d: %w", ErrSyntax, number, err)
		}
	}
	return f, nil
}

func (f *File) add(section, line string) error {
	switch section {
	case "[groups]":
		return define(f.groups, line)
	case "[aliases]":
		return define(f.aliases, line)
	case "[permissions]":
		return f.addRule(line)
	}
	return errors.New("text before the first section")
}

func define(into map[string][]string, line string) error {
	name, list, found := strings.Cut(line, "=")
	name = strings.TrimSpace(name)
	if !found || name == "" {
		return errors.New("want name=member, member")
	}
	var members []string
	for m := range strings.SplitSeq(list, ",") {
		if m = strings.TrimSpace(m); m != "" {
			members = append(members, m)
		}
	}
	into[name] = members
	return nil
}

func (f *File) addRule(line string) error {
	words := strings.Fields(line)
	if len(words) < 3 {
		return errors.New("want actor, allow|disallow|deny, features")
	}
	switch words[1] {
	case "allow", "disallow", "deny":
	default:
		return fmt.Errorf("unknown rule %.80q", words[1])
	}
	f.rules = append(f.rules, rule{actor: words[0], verb: words[1], features: words[2:]})
	return nil
}

// Allowed returns the features a user has in a session of the given owner. Later
// lines win over earlier ones, except that what is denied stays denied.
func (f File) Allowed(user, owner string) map[string]bool {
	allowed, denied := map[string]bool{}, map[string]bool{}
	for _, r := range f.rules {
		if !f.applies(r.actor, user, owner, map[string]bool{}) {
			continue
		}
		for feature := range f.expand(r.features) {
			switch r.verb {
			case "allow":
				allowed[feature] = true
			case "disallow":
				delete(allowed, feature)
			case "deny":
				denied[feature] = true
			}
		}
	}
	for feature := range denied {
		delete(allowed, feature)
	}
	return allowed
}

// applies follows groups; seen keeps it from following one twice.
func (f File) applies(actor, user, owner string, seen map[string]bool) bool {
	switch {
	case actor == "%any%":
		return true
	case actor == "%owner%":
		return user == owner
	case strings.HasPrefix(actor, "osgroup:"):
		return false
	case strings.HasPrefix(actor, "group:"):
		name := strings.TrimPrefix(actor, "group:")
		if seen[name] {
			return false
		}
		seen[name] = true
		for _, member := range f.groups[name] {
			if f.applies(member, user, owner, seen) {
				return true
			}
		}
		return false
	}
	return strings.TrimPrefix(actor, "user:") == user
}

func (f File) expand(names []string) map[string]bool {
	found, seen := map[string]bool{}, map[string]bool{}
	pending := append([]string(nil), names...)
	for len(pending) > 0 {
		name := pending[len(pending)-1]
		pending = pending[:len(pending)-1]
		if seen[name] {
			continue
		}
		seen[name] = true
		if members, isAlias := f.aliases[name]; isAlias {
			pending = append(pending, members...)
		} else if name == "builtin" {
			pending = append(pending, features()...)
		} else {
			found[name] = true
		}
	}
	return found
}
