package cli

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"opensessionmanager/cmd/dcvsm/internal/settings"
)

// trust gets the broker's CA certificate, so that checking is easier than switching
// the check off (C16). It saves nothing until the operator has named the fingerprint,
// which must come from elsewhere: the connection itself proves nothing yet.
func (a App) trust(f *settings.Flags) *cobra.Command {
	var fingerprint, file string
	cmd := &cobra.Command{
		Use: "trust", Short: "Get the broker's CA certificate for --ca-bundle.", Args: noArguments,
		Long: "Without --fingerprint: show the fingerprint of the broker's CA certificate. Compare it with the one\n" +
			"on the broker's host (openssl x509 -noout -fingerprint -sha256 -in dcvsmbroker_ca.pem).\n" +
			"With it: save the certificate if it is the one.",
		Example: "  dcvsm trust --broker-url https://broker.example:8443\n" +
			"  dcvsm trust --broker-url https://broker.example:8443 --fingerprint 3F:A0:... --save-to broker-ca.pem",
		RunE: func(cmd *cobra.Command, _ []string) error {
			given := *f
			given.Debug, given.NoVerifySSL = nil, nil
			broker, err := settings.BrokerURL(given, a.Env)
			if err != nil {
				return err
			}
			ca, err := presentedCA(cmd.Context(), hostPort(broker))
			if err != nil {
				return err
			}
			return a.keep(ca, fingerprint, file)
		},
	}
	cmd.Flags().StringVar(&fingerprint, "fingerprint", "", "SHA-256 fingerprint that the certificate must have.")
	cmd.Flags().StringVar(&file, "save-to", "", "`FILE` Where to write the certificate.")
	return cmd
}

// presentedCA is the last certificate of the chain that the broker shows, if it is a CA's.
func presentedCA(ctx context.Context, address string) (*x509.Certificate, error) {
	ctx, cancel := context.WithTimeout(ctx, stepTimeout)
	defer cancel()
	// Nothing is sent over this connection, and what it shows is compared by hand.
	conn, err := (&tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS12}}).DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	chain := conn.(*tls.Conn).ConnectionState().PeerCertificates
	last := chain[len(chain)-1] // a TLS client always has one
	if !last.IsCA {
		return nil, errors.New("the broker does not show its CA certificate; copy security/dcvsmbroker_ca.pem from the broker's working path")
	}
	return last, nil
}

func (a App) keep(ca *x509.Certificate, fingerprint, file string) error {
	sum := sha256.Sum256(ca.Raw)
	have := hex.EncodeToString(sum[:])
	if fingerprint == "" {
		fmt.Fprintf(a.Stdout, "Subject:     %s\nValid until: %s\nFingerprint: %s\n", printable(ca.Subject.String()), ca.NotAfter.UTC().Format("2006-01-02"), colons(have))
		return nil
	}
	if strings.ToLower(strings.ReplaceAll(fingerprint, ":", "")) != have {
		return fmt.Errorf("the CA certificate has another fingerprint: %s; somebody may stand between you and the broker", colons(have))
	}
	if file == "" {
		return usageError("Missing option '--save-to'.")
	}
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ca.Raw}), 0o644); err != nil {
		return err
	}
	fmt.Fprintf(a.Stdout, "Saved %s. Use it with --ca-bundle, or as ca-bundle in section [security] of the configuration file.\n", file)
	return nil
}

// colons writes a fingerprint as openssl does.
func colons(digits string) string {
	var parts []string
	for i := 0; i < len(digits); i += 2 {
		parts = append(parts, strings.ToUpper(digits[i:i+2]))
	}
	return strings.Join(parts, ":")
}
