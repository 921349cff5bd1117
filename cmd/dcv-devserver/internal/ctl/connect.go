package ctl

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"opensessionmanager/internal/devhost/viewer"
)

type connectOptions struct {
	stay       time.Duration
	caFile     string
	insecure   bool
	screenshot string
	out        io.Writer
}

func connect() *cobra.Command {
	var o connectOptions
	cmd := &cobra.Command{
		Use:   "connect URL",
		Short: "Connect to a session as a client and print what there is to see",
		Long: `Connect to a session with the URL a user gets, and print what there is to see until
interrupted or until --for is over.

Exit codes: 0 as wished, 1 failure, 3 the host refused, 4 the host cut the connection.`,
		Example: `  dcv-devserver connect --insecure --for 2s 'https://127.0.0.1:18443/?authToken=TOKEN#SESSION-ID'
  dcv-devserver connect --ca-file /tmp/hosts/host-1/dcv.pem --screenshot screen.jpeg URL`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.out = cmd.OutOrStdout()
			return o.run(cmd.Context(), args[0])
		},
	}
	f := cmd.Flags()
	f.DurationVar(&o.stay, "for", 0, "how long to stay connected, such as 2s (default: until interrupted)")
	f.StringVar(&o.caFile, "ca-file", "", "PEM file to check the host's certificate with (default: the system's)")
	f.BoolVar(&o.insecure, "insecure", false, "accept any certificate")
	f.StringVar(&o.screenshot, "screenshot", "", "file to keep the latest picture in (JPEG)")
	cmd.MarkFlagsMutuallyExclusive("ca-file", "insecure")
	return cmd
}

func (o *connectOptions) run(ctx context.Context, clientURL string) error {
	trust, err := o.trust()
	if err != nil {
		return err
	}
	v, err := viewer.Connect(ctx, clientURL, trust)
	if err != nil {
		return err
	}
	defer v.Close()
	w := v.Welcome()
	fmt.Fprintf(o.out, "Connected to session %s on %s as %s (connection %d).\n", w.Session, w.Host, w.User, w.Connection)
	if o.stay > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, o.stay)
		defer cancel()
	}
	over := context.AfterFunc(ctx, func() { _ = v.Close() })
	defer over()
	err = o.watch(v)
	if ctx.Err() != nil && !errors.Is(err, viewer.ErrEnded) {
		fmt.Fprintln(o.out, "Disconnected.")
		return nil
	}
	return err
}

func (o *connectOptions) trust() (*tls.Config, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: o.insecure}
	if o.caFile != "" {
		pem, err := os.ReadFile(o.caFile)
		if err != nil {
			return nil, fmt.Errorf("CA file: %w", err)
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("no certificate in %s", o.caFile)
		}
	}
	return config, nil
}

// watch prints events until the connection is over.
func (o *connectOptions) watch(v *viewer.Viewer) error {
	for {
		event, picture, err := v.Next()
		if err != nil {
			return err
		}
		if picture == nil {
			fmt.Fprintf(o.out, "Session %q of %s (%s), connected: %s\n", event.Name, event.Owner, event.Kind, strings.Join(event.Users, ", "))
			continue
		}
		fmt.Fprintf(o.out, "Picture of %d bytes.\n", len(picture))
		if o.screenshot != "" {
			if err := os.WriteFile(o.screenshot, picture, 0o600); err != nil {
				return fmt.Errorf("screenshot: %w", err)
			}
		}
	}
}
