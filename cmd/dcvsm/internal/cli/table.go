package cli

import (
	"fmt"
	"io"
	"strings"

	"github.com/jedib0t/go-pretty/v6/table"

	"opensessionmanager/cmd/dcvsm/internal/api"
)

// printTable writes an answer for people. What failed is on the error stream already.
func printTable(w io.Writer, answer any) error {
	t := table.NewWriter()
	t.SetStyle(table.StyleLight)
	t.Style().Options.DrawBorder = false
	t.Style().Options.SeparateColumns = false
	next := fill(t, answer)
	for line := range strings.Lines(t.Render() + "\n") {
		if _, err := fmt.Fprintln(w, strings.TrimRight(line, " \n")); err != nil {
			return err
		}
	}
	if next != nil {
		_, err := fmt.Fprintln(w, "More with --next-token "+printable(*next))
		return err
	}
	return nil
}

// fill puts the answer into the table and returns the token of the next page.
func fill(t table.Writer, answer any) (next *string) {
	switch answer := answer.(type) {
	case *api.SessionsPage:
		sessionRows(t, answer.Sessions)
		return answer.NextToken
	case *api.CreateAnswer:
		sessionRows(t, answer.SuccessfulList)
	case *api.ServersPage:
		serverRows(t, answer.Servers)
		return answer.NextToken
	case *api.ConnectionData:
		connectionRows(t, answer)
	case *api.DeleteAnswer:
		row(t.AppendHeader, "SESSION", "STATE")
		for _, item := range answer.SuccessfulList {
			row(t.AppendRow, item.SessionID, item.State)
		}
	case *api.PermissionsAnswer:
		row(t.AppendHeader, "SESSION")
		for _, item := range answer.SuccessfulList {
			row(t.AppendRow, item.SessionID)
		}
	case *api.OpenServersAnswer:
		serverItems(t, answer.SuccessfulList)
	case *api.CloseServersAnswer:
		serverItems(t, answer.SuccessfulList)
	case *api.ScreenshotsAnswer:
		screenshotRows(t, answer)
	}
	return nil
}

// row adds cells; a nil pointer is an empty cell.
func row(add func(table.Row, ...table.RowConfig), cells ...any) {
	var r table.Row
	for _, cell := range cells {
		r = append(r, cellText(cell))
	}
	add(r)
}

func cellText(cell any) string {
	switch cell := cell.(type) {
	case *string:
		return strings.ReplaceAll(printable(api.Text(cell)), "\n", " ")
	case *int64:
		if cell == nil {
			return ""
		}
		return fmt.Sprint(*cell)
	case *bool:
		if cell == nil {
			return ""
		}
		return fmt.Sprint(*cell)
	default:
		return fmt.Sprint(cell)
	}
}

func sessionRows(t table.Writer, sessions []api.Session) {
	row(t.AppendHeader, "ID", "NAME", "OWNER", "TYPE", "STATE", "CLIENTS", "SERVER", "CREATED")
	for _, s := range sessions {
		state := api.Text(s.State)
		if s.Substate != nil {
			state += "/" + *s.Substate
		}
		if s.StateReason != nil {
			state += " (" + *s.StateReason + ")"
		}
		var server *string
		if s.Server != nil {
			server = s.Server.Hostname
		}
		row(t.AppendRow, s.ID, s.Name, s.Owner, s.Type, &state, s.NumOfConnections, server, s.CreationTime)
	}
}

func serverRows(t table.Writer, servers []api.Server) {
	row(t.AppendHeader, "HOSTNAME", "IP", "AVAILABILITY", "OS", "CONSOLE", "VIRTUAL", "TAGS", "ID")
	for _, s := range servers {
		availability := api.Text(s.Availability)
		if s.UnavailabilityReason != nil {
			availability += "/" + *s.UnavailabilityReason
		}
		var os *string
		if s.Host != nil && s.Host.OS != nil {
			os = s.Host.OS.Name
		}
		var tags []string
		for _, tag := range s.Tags {
			tags = append(tags, api.Text(tag.Key)+"="+api.Text(tag.Value))
		}
		list := strings.Join(tags, " ")
		row(t.AppendRow, s.Hostname, s.IP, &availability, os, s.ConsoleSessionCount, s.VirtualSessionCount, &list, s.ID)
	}
}

func connectionRows(t table.Writer, data *api.ConnectionData) {
	row(t.AppendHeader, "SESSION", "STATE", "URL")
	if data.Session == nil {
		return
	}
	url := connectionURL(data)
	row(t.AppendRow, data.Session.ID, data.Session.State, &url)
}

// connectionURL is what a browser opens (contract section 1.8).
func connectionURL(data *api.ConnectionData) string {
	server := data.Session.Server
	if server == nil || server.IP == nil {
		return ""
	}
	port := api.Text(server.Port)
	for _, endpoint := range server.Endpoints {
		if api.Text(endpoint.Protocol) == "HTTP" && endpoint.Port != nil {
			port = fmt.Sprint(*endpoint.Port)
			break
		}
	}
	return fmt.Sprintf("https://%s:%s%s?authToken=%s#%s", *server.IP, port, api.Text(server.WebURLPath), api.Text(data.ConnectionToken), api.Text(data.Session.ID))
}

func serverItems(t table.Writer, items []api.ServerItem) {
	row(t.AppendHeader, "SERVER")
	for _, item := range items {
		row(t.AppendRow, item.ServerID)
	}
}

func screenshotRows(t table.Writer, answer *api.ScreenshotsAnswer) {
	row(t.AppendHeader, "SESSION", "FORMAT", "PRIMARY", "TAKEN")
	for _, item := range answer.SuccessfulList {
		if item.SessionScreenshot == nil {
			continue
		}
		for _, image := range item.SessionScreenshot.Images {
			row(t.AppendRow, item.SessionScreenshot.SessionID, image.Format, image.Primary, image.CreationTime)
		}
	}
}
