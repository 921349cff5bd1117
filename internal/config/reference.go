package config

import (
	"bufio"
	"fmt"
	"io"
	"reflect"
	"strings"
)

// Reference writes the page that explains every key, in Markdown.
func Reference(w io.Writer) error {
	out := bufio.NewWriter(w)
	fmt.Fprint(out, `# Configuration of the broker

Generated from the program; do not edit by hand.

The file is `+"`"+DefaultPath+"`"+` or the one named by `+"`--config`"+`: Java properties
(`+"`key = value`"+`, `+"`#`"+` begins a comment), UTF-8. It must belong to root or to the broker's user, nobody else
may change it (mode 0640), and only they may read it once it holds a password. Changes need a restart.
`+"`dcv-session-manager-broker --check-config`"+` reads the file and says what is wrong with it.
A wrong value stops the broker; an unknown key is a warning.
`)
	group := ""
	for _, o := range newLoader("").options {
		if o.group != group {
			group = o.group
			fmt.Fprintf(out, "\n## %s\n\n| key | default | values | meaning |\n|---|---|---|---|\n", group)
		}
		fmt.Fprintf(out, "| `%s` | %s | %s | %s%s |\n", o.key, code(o.def), strings.ReplaceAll(o.values(), "|", "\\|"), o.remark(), o.doc)
	}
	return out.Flush()
}

// Sample writes a properties file that has every useful key, commented out, at its default.
func Sample(w io.Writer) error {
	out := bufio.NewWriter(w)
	fmt.Fprintf(out, `# Configuration of the broker: %s
# Owner root, group dcvsmbroker, mode 0640. Every line below shows the default.
# A "#" in front of a key means: not set here.
`, DefaultPath)
	group := ""
	for _, o := range newLoader("").options {
		if o.status != "" {
			continue
		}
		if o.group != group {
			group = o.group
			fmt.Fprintf(out, "\n# ---- %s ----\n", group)
		}
		fmt.Fprintf(out, "\n%s# %s\n#%s =%s\n", wrap(o.doc), o.values(), o.key, blankBefore(o.def))
	}
	return out.Flush()
}

// values says in words what may be written.
func (o *option) values() string {
	switch {
	case o.oneof != nil:
		return strings.Join(o.oneof, " or ")
	case o.field.Type() == secretType:
		return "password"
	case o.field.Type() == pathType:
		return "path"
	case o.field.CanInt():
		return fmt.Sprintf("%d to %d", o.min, o.max)
	case o.field.Kind() == reflect.Bool:
		return "true or false"
	default:
		return "text"
	}
}

func (o *option) remark() string {
	switch o.status {
	case statusIgnored:
		return "(accepted, no effect) "
	case statusDeprecated:
		return "(deprecated) "
	case statusLater:
		return "(not in this version) "
	default:
		return ""
	}
}

func code(text string) string {
	if text == "" {
		return "none"
	}
	return "`" + text + "`"
}

func blankBefore(text string) string {
	if text == "" {
		return ""
	}
	return " " + text
}

// wrap breaks a text into comment lines of at most 88 characters.
func wrap(text string) string {
	var b strings.Builder
	line := "#"
	for word := range strings.FieldsSeq(text) {
		if len(line)+1+len(word) > 88 {
			b.WriteString(line + "\n")
			line = "#"
		}
		line += " " + word
	}
	return b.String() + line + "\n"
}
