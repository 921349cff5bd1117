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

// Bounds of a file. Every line may name an alias that holds all others, so the
// work to answer a question is at most lines times alias members.
const (
	MaxBytes        = 256 << 10
	maxLines        = 2000
	maxAliasMembers = 1000 // of all aliases together
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
	groups       map[string][]string
	aliases      map[string][]string
	aliasMembers int
	rules        []rule
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
		_, err := define(f.groups, line)
		return err
	case "[aliases]":
		n, err := define(f.aliases, line)
		if f.aliasMembers += n; f.aliasMembers > maxAliasMembers {
			return fmt.Errorf("more than %d members of aliases", maxAliasMembers)
		}
		return err
	case "[permissions]":
		return f.addRule(line)
	}
	return errors.New("text before the first section")
}

// define reads `name=member, member` and returns how many members there are.
func define(into map[string][]string, line string) (int, error) {
	name, list, found := strings.Cut(line, "=")
	name = strings.TrimSpace(name)
	if !found || name == "" {
		return 0, errors.New("want name=member, member")
	}
	var members []string
	for m := range strings.SplitSeq(list, ",") {
		if m = strings.TrimSpace(m); m != "" {
			members = append(members, m)
		}
	}
	into[name] = members
	return len(members), nil
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
	groups := f.groupsOf(user, owner)
	for _, r := range f.rules {
		if group, isGroup := strings.CutPrefix(r.actor, "group:"); isGroup && !groups[group] ||
			!isGroup && !isActor(r.actor, user, owner) {
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

// groupsOf finds the groups a user is in, directly or through other groups.
func (f File) groupsOf(user, owner string) map[string]bool {
	holders := map[string][]string{} // group → groups it is a member of
	var pending []string
	for name, members := range f.groups {
		for _, member := range members {
			if group, isGroup := strings.CutPrefix(member, "group:"); isGroup {
				holders[group] = append(holders[group], name)
			} else if isActor(member, user, owner) {
				pending = append(pending, name)
			}
		}
	}
	in := map[string]bool{}
	for len(pending) > 0 {
		name := pending[len(pending)-1]
		pending = pending[:len(pending)-1]
		if !in[name] {
			in[name] = true
			pending = append(pending, holders[name]...)
		}
	}
	return in
}

// isActor says whether an actor that is no group is this user.
func isActor(actor, user, owner string) bool {
	switch {
	case actor == "%any%":
		return true
	case actor == "%owner%":
		return user == owner
	case strings.HasPrefix(actor, "osgroup:"):
		return false
	}
	return strings.TrimPrefix(actor, "user:") == user
}

// expand replaces aliases by what they stand for; each is followed once.
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
