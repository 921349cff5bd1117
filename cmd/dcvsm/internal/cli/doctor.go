package cli

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"opensessionmanager/cmd/dcvsm/internal/api"
	"opensessionmanager/cmd/dcvsm/internal/settings"
)

// doctor tries what every other command needs, step by step, and stops at the first
// step that fails, with its cure (C32).
func (a App) doctor(f *settings.Flags) *cobra.Command {
	return &cobra.Command{
		Use: "doctor", Short: "Find out why the broker cannot be used.", Args: noArguments,
		Example: "  dcvsm doctor --broker-url https://broker.example:8443",
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, client, err := a.connect(cmd, f)
			if err != nil {
				return err
			}
			for _, step := range []struct {
				name string
				try  func(context.Context, *settings.Settings, *api.Client) (string, error)
			}{
				{"settings", describeSettings}, {"address", dial}, {"certificate", handshake},
				{"health", health}, {"access token", fetchToken}, {"servers", countServers},
			} {
				found, err := step.try(cmd.Context(), s, client)
				if err != nil {
					fmt.Fprintf(a.Stdout, "FAIL  %-13s %s\n", step.name, printable(err.Error()))
					return fmt.Errorf("%s: %w", step.name, explainTransport(err))
				}
				fmt.Fprintf(a.Stdout, "ok    %-13s %s\n", step.name, printable(found))
			}
			return nil
		},
	}
}

func describeSettings(_ context.Context, s *settings.Settings, _ *api.Client) (string, error) {
	file := s.File
	if file == "" {
		file = "no file"
	}
	return fmt.Sprintf("%s, broker %s", file, s.BrokerURL), nil
}

// hostPort is the address behind a URL.
func hostPort(u *url.URL) string {
	if port := u.Port(); port != "" {
		return net.JoinHostPort(u.Hostname(), port)
	}
	return net.JoinHostPort(u.Hostname(), "443")
}

const stepTimeout = 15 * time.Second

func dial(ctx context.Context, s *settings.Settings, _ *api.Client) (string, error) {
	conn, err := (&net.Dialer{Timeout: stepTimeout}).DialContext(ctx, "tcp", hostPort(s.BrokerURL))
	if err != nil {
		return "", err
	}
	defer conn.Close()
	return "connected to " + conn.RemoteAddr().String(), nil
}

func handshake(ctx context.Context, s *settings.Settings, _ *api.Client) (string, error) {
	config, err := tlsConfig(s)
	if err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(ctx, stepTimeout)
	defer cancel()
	conn, err := (&tls.Dialer{Config: config}).DialContext(ctx, "tcp", hostPort(s.BrokerURL))
	if err != nil {
		return "", err
	}
	defer conn.Close()
	leaf := conn.(*tls.Conn).ConnectionState().PeerCertificates[0] // a TLS client always has one
	names := append([]string{}, leaf.DNSNames...)
	for _, ip := range leaf.IPAddresses {
		names = append(names, ip.String())
	}
	checked := "trusted"
	if s.NoVerifySSL {
		checked = "NOT checked"
	}
	return fmt.Sprintf("%s, for %s, until %s", checked, strings.Join(names, " "), leaf.NotAfter.UTC().Format(time.DateOnly)), nil
}

func health(ctx context.Context, s *settings.Settings, c *api.Client) (string, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, s.BrokerURL.String()+"/health", nil)
	if err != nil {
		return "", err
	}
	response, err := c.HTTP.Do(request)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, 4096))
	if err != nil {
		return "", err
	}
	text := strings.TrimSpace(string(body))
	if response.StatusCode != http.StatusOK {
		return "", &api.ServiceError{Status: response.StatusCode, Text: "the broker is not ready: " + text}
	}
	return text, nil
}

func fetchToken(ctx context.Context, s *settings.Settings, c *api.Client) (string, error) {
	if s.Token != "" {
		return "from DCV_SM_OAUTH2_TOKEN", nil
	}
	token, err := c.FetchToken(ctx)
	if err != nil {
		return "", err
	}
	c.Token = &token
	return "from " + s.AuthServerURL.Host, nil
}

func countServers(ctx context.Context, _ *settings.Settings, c *api.Client) (string, error) {
	page, err := c.DescribeServers(ctx, api.DescribeServersRequest{})
	if err != nil {
		return "", err
	}
	available, reasons := 0, map[string]int{}
	for _, server := range page.Servers {
		if api.Text(server.Availability) == "AVAILABLE" {
			available++
		} else {
			reasons[api.Text(server.UnavailabilityReason)]++
		}
	}
	text := fmt.Sprintf("%d of %d available", available, len(page.Servers))
	for _, reason := range []string{"SERVER_FULL", "SERVER_CLOSED", "UNREACHABLE_AGENT", "UNHEALTHY_DCV_SERVER", "EXISTING_LOGGED_IN_USER", "UNKNOWN"} {
		if n := reasons[reason]; n > 0 {
			text += fmt.Sprintf(", %d %s", n, reason)
		}
	}
	return text, nil
}
