package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"opensessionmanager/http/admin/adminclient"
	"opensessionmanager/internal/config"
)

// printer writes an answer in the form that --output asks for.
type printer struct {
	out  io.Writer
	json bool
}

func newPrinter(out io.Writer, form string) (printer, error) {
	switch form {
	case "text", "json":
		return printer{out, form == "json"}, nil
	default:
		return printer{}, usageError{fmt.Errorf("--output %q: write text or json", form)}
	}
}

func (p printer) print(text string, value any) error {
	if !p.json {
		_, err := io.WriteString(p.out, text)
		return err
	}
	encoder := json.NewEncoder(p.out)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	return encoder.Encode(value)
}

// statement is a software statement as it is printed (contract section 8).
type statement struct {
	Text     string `json:"software-statement"`
	IssuedAt string `json:"issued-at"`
	Active   string `json:"is-active"` // a text, not a boolean
}

func prettyStatements(statements []statement) string {
	items := make([]string, len(statements))
	for i, s := range statements {
		items[i] = prettyObject("software-statement", quoted(s.Text), "issued-at", quoted(s.IssuedAt), "is-active", quoted(s.Active))
	}
	return prettyList(items)
}

func prettyClients(clients []adminclient.Client) string {
	items := make([]string, len(clients))
	for i, c := range clients {
		items[i] = prettyObject("name", quoted(c.Name), "id", quoted(c.ID), "active", fmt.Sprint(c.Active))
	}
	return prettyList(items)
}

// prettyList and prettyObject have the vendor's pretty-printed form (contract
// section 8): objects open on the line where the one before closes, and a blank
// stands before a colon.
func prettyList(items []string) string {
	if len(items) == 0 {
		return "[ ]\n"
	}
	return "[ " + strings.Join(items, ", ") + " ]\n"
}

func prettyObject(members ...string) string {
	if len(members) == 0 {
		return "{ }"
	}
	var lines []string
	for i := 0; i < len(members); i += 2 {
		lines = append(lines, "  "+quoted(members[i])+" : "+members[i+1])
	}
	return "{\n" + strings.Join(lines, ",\n") + "\n}"
}

// indented puts an object inside another one.
func indented(object string) string { return strings.ReplaceAll(object, "\n", "\n  ") }

// noNull makes an empty list "[]" in JSON, never "null".
func noNull(clients []adminclient.Client) []adminclient.Client {
	if clients == nil {
		return []adminclient.Client{}
	}
	return clients
}

func quoted(text string) string {
	var b strings.Builder
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(text); err != nil {
		return `""` // a string always encodes
	}
	return strings.TrimSuffix(b.String(), "\n")
}

func (a App) configCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "config", Short: "Print what the configuration file may hold", Args: noArguments,
		RunE: func(*cobra.Command, []string) error {
			return usageError{fmt.Errorf("write config reference or config sample")}
		},
	}
	for _, page := range []struct {
		name, short string
		write       func(io.Writer) error
	}{
		{"reference", "Print the page that explains every key (Markdown)", config.Reference},
		{"sample", "Print a configuration file with every key at its default", config.Sample},
	} {
		cmd.AddCommand(&cobra.Command{
			Use: page.name, Short: page.short, Args: noArguments,
			RunE: func(*cobra.Command, []string) error { return page.write(a.Stdout) },
		})
	}
	return cmd
}
