package scenario

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"net/http"
	"os"

	"opensessionmanager/bench/roles"
	"opensessionmanager/http/admin/adminclient"
)

// accessToken gets a token the way every client does.
func accessToken(ctx context.Context, at roles.BrokerAddresses, as adminclient.Credentials) (string, error) {
	pem, err := os.ReadFile(at.CAFile)
	if err != nil {
		return "", err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, ServerName: "localhost", MinVersion: tls.VersionTLS12}}
	defer transport.CloseIdleConnections()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://"+at.Client+"/oauth2/token?grant_type=client_credentials", nil)
	if err != nil {
		return "", err
	}
	request.SetBasicAuth(as.ClientID, as.ClientPassword)
	response, err := (&http.Client{Transport: transport}).Do(request)
	if err != nil {
		return "", err
	}
	defer func() { _ = response.Body.Close() }()
	var answer struct {
		AccessToken string `json:"access_token"`
	}
	if err := json.NewDecoder(response.Body).Decode(&answer); err != nil || answer.AccessToken == "" {
		return "", fmt.Errorf("no token: status %d", response.StatusCode)
	}
	return answer.AccessToken, nil
}
