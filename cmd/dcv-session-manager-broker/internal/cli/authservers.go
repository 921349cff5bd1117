package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"opensessionmanager/http/admin/adminclient"
	"opensessionmanager/http/oauth/authserver"
	"opensessionmanager/internal/config"
)

// The commands about external authorization servers and about our own keys.

func (a App) registerAuthServer(f *flags) *cobra.Command {
	var s authserver.Server
	cmd := &cobra.Command{
		Use:   "register-auth-server --url URL",
		Short: "Accept access tokens of an external authorization server",
		Long: "Accept access tokens of an external authorization server, whose key set (JWKS) is at URL.\n" +
			"The URL must end in " + authserver.KeySetPath + " and begin with https://; --any-path lets it end in something else.\n" +
			"Algorithms: " + strings.Join(authserver.Algorithms(), ", ") + ".\n" +
			"Registering a URL again replaces what was said about it. While no broker runs, the\n" +
			"registration waits in the working path, and the broker takes it in when it starts.",
		Example: "  dcv-session-manager-broker register-auth-server --url https://cognito-idp.eu-west-1.amazonaws.com/eu-west-1_AbCdEf/.well-known/jwks.json \\\n" +
			"      --issuer https://cognito-idp.eu-west-1.amazonaws.com/eu-west-1_AbCdEf --scope dcv-session-manager/sm_scope\n" +
			"  dcv-session-manager-broker register-auth-server --url https://login.microsoftonline.com/TENANT/discovery/v2.0/keys --any-path \\\n" +
			"      --algorithm RS256 --issuer https://login.microsoftonline.com/TENANT/v2.0 --audience api://dcv",
		Args: noArguments,
	}
	flags := cmd.Flags()
	flags.StringVarP(&s.URL, "url", "u", "", "URL of the server's key set (required)")
	flags.StringVar(&s.Algorithm, "algorithm", "", "what its tokens are signed with, if its keys do not say (default RS256 for RSA keys)")
	flags.StringVar(&s.Issuer, "issuer", "", "what a token must name as its issuer (iss)")
	flags.StringVar(&s.Audience, "audience", "", "what must be in a token's audience (aud)")
	flags.StringVar(&s.Scope, "scope", "", "what must be in a token's scope, scp or roles")
	flags.BoolVar(&s.AnyPath, "any-path", false, "the URL need not end in "+authserver.KeySetPath)
	for _, alias := range []string{"alg", "signing-algorithm"} { // the vendor's name is on no page
		flags.StringVar(&s.Algorithm, alias, "", "same as --algorithm")
		_ = flags.MarkHidden(alias) // fails only for a flag that does not exist
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if s.URL == "" {
			return missing("url")
		}
		if err := s.Check(); err != nil {
			return usageError{err}
		}
		return a.registerServer(cmd, f, s)
	}
	return cmd
}

func (a App) registerServer(cmd *cobra.Command, f *flags, s authserver.Server) error {
	register := a.admin(f, func(ctx context.Context, api AdminAPI, p printer) error {
		if err := api.RegisterAuthServer(ctx, s); err != nil {
			return err
		}
		a.adviseOn(s)
		return p.print("Jwk url registered.\n", s)
	})
	err := register(cmd, nil)
	if !errors.Is(err, adminclient.ErrNotRunning) {
		return err
	}
	cfg, _, err := config.Load(f.config)
	if err != nil {
		return err
	}
	dir := string(cfg.Storage.WorkingPath)
	if err := a.makeWorkingPath(dir); err != nil {
		return err
	}
	if err := authserver.Pend(dir, s); err != nil {
		return err
	}
	// A broker that started meanwhile may have looked for notes before this one was there.
	if err := register(cmd, nil); !errors.Is(err, adminclient.ErrNotRunning) {
		_, withdrawErr := authserver.Withdraw(dir, s.URL)
		return errors.Join(err, withdrawErr)
	}
	fmt.Fprintf(a.Stderr, "note: no broker runs; the one of %s takes the server in when it starts\n", dir)
	a.adviseOn(s)
	p, err := newPrinter(a.Stdout, f.output)
	if err != nil {
		return err
	}
	return p.print("Jwk url registered.\n", s)
}

// adviseOn says what is open, on the stream that scripts do not cut up.
func (a App) adviseOn(s authserver.Server) {
	if s.Issuer == "" || s.Audience == "" && s.Scope == "" {
		fmt.Fprintln(a.Stderr, "note: without --issuer, and --audience or --scope, tokens that this server issues for other purposes open the API, too")
	}
}

// makeWorkingPath makes the folder before the broker does, unless it is a guess that
// depends on where the command was typed.
func (a App) makeWorkingPath(dir string) error {
	if _, err := os.Stat(dir); err == nil || !filepath.IsAbs(dir) && !os.IsNotExist(err) {
		return err
	}
	if !filepath.IsAbs(dir) {
		return fmt.Errorf("no broker runs, and its working path %s does not exist; start the broker once, or set session-manager-working-path", dir)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	fmt.Fprintf(a.Stderr, "note: made the working path %s; the broker's user must own it\n", dir)
	return nil
}

func (a App) listAuthServers(f *flags) *cobra.Command {
	return &cobra.Command{
		Use:     "list-auth-servers",
		Short:   "List the external authorization servers",
		Long:    "List the external authorization servers. With --output json also what was said about each, and how its keys are.",
		Example: "  dcv-session-manager-broker list-auth-servers --output json",
		Args:    noArguments,
		RunE: a.admin(f, func(ctx context.Context, api AdminAPI, p printer) error {
			servers, err := api.ListAuthServers(ctx)
			if err != nil {
				return err
			}
			urls := make([]string, len(servers))
			for i, s := range servers {
				urls[i] = quoted(s.URL)
			}
			return p.print("Urls: "+prettyList(urls), append([]adminclient.AuthServer{}, servers...))
		}),
	}
}

func (a App) unregisterAuthServer(f *flags) *cobra.Command {
	var url string
	cmd := &cobra.Command{
		Use:     "unregister-auth-server --url URL",
		Short:   "Refuse access tokens of an external authorization server",
		Example: "  dcv-session-manager-broker unregister-auth-server --url https://auth.example.com/.well-known/jwks.json",
		Args:    noArguments,
	}
	cmd.Flags().StringVarP(&url, "url", "u", "", "URL that list-auth-servers shows (required)")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if url == "" {
			return missing("url")
		}
		err := a.admin(f, func(ctx context.Context, api AdminAPI, p printer) error {
			if err := api.UnregisterAuthServer(ctx, url); err != nil {
				return err
			}
			return p.print(unregistered(url))
		})(cmd, args)
		if !errors.Is(err, adminclient.ErrNotRunning) {
			return err
		}
		return a.withdrawServer(f, url, err)
	}
	return cmd
}

// withdrawServer takes back what register-auth-server left for the start of the broker.
func (a App) withdrawServer(f *flags, url string, notRunning error) error {
	cfg, _, err := config.Load(f.config)
	if err != nil {
		return err
	}
	was, err := authserver.Withdraw(string(cfg.Storage.WorkingPath), url)
	if err != nil || !was {
		return errors.Join(err, notRunning)
	}
	p, err := newPrinter(a.Stdout, f.output)
	if err != nil {
		return err
	}
	return p.print(unregistered(url))
}

// unregistered is the vendor's text: no blank before the URL, no dot at the end.
func unregistered(url string) (text string, value map[string]string) {
	return "Jwk url" + url + " unregistered\n", map[string]string{"url": url}
}

func (a App) renewKeys(f *flags) *cobra.Command {
	return &cobra.Command{
		Use:   "renew-auth-server-api-key",
		Short: "Replace the keys that sign tokens",
		Long: "Replace the keys with which the broker signs tokens. Tokens that clients have stay good\n" +
			"until they expire; the old keys are dropped then.",
		Example: "  dcv-session-manager-broker renew-auth-server-api-key",
		Args:    noArguments,
		RunE: a.admin(f, func(ctx context.Context, api AdminAPI, p printer) error {
			if err := api.RenewKeys(ctx); err != nil {
				return err
			}
			return p.print("Keys renewed.\n", map[string]bool{"renewed": true})
		}),
	}
}
