package api

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
)

// Credentials get an access token (client credentials grant).
type Credentials struct {
	AuthServerURL  *url.URL
	ClientID       string
	ClientPassword string
}

func (c *Client) token(ctx context.Context) (string, error) {
	if c.Token != nil {
		return *c.Token, nil
	}
	token, err := c.FetchToken(ctx)
	if err != nil {
		return "", fmt.Errorf("access token: %w", err)
	}
	c.Token = &token
	return token, nil
}

// FetchToken asks the authorization server for a token. The grant type stands in
// the configured URL, as the vendor's documentation has it; if it does not, it is
// sent in the body.
func (c *Client) FetchToken(ctx context.Context) (string, error) {
	target := c.Credentials.AuthServerURL
	body := ""
	if !target.Query().Has("grant_type") {
		body = "grant_type=client_credentials"
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, target.String(), strings.NewReader(body))
	if err != nil {
		return "", err
	}
	request.SetBasicAuth(c.Credentials.ClientID, c.Credentials.ClientPassword)
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	request.Header.Set("Accept", "application/json")
	answer, err := c.do(request, maxToken)
	if err != nil {
		return "", err
	}
	var token struct {
		AccessToken string `json:"access_token"`
	}
	if err := json.Unmarshal(answer, &token); err != nil || token.AccessToken == "" {
		return "", fmt.Errorf("%w: no access_token in it", ErrAnswer)
	}
	if strings.ContainsFunc(token.AccessToken, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return "", fmt.Errorf("%w: the access_token has characters that no token has", ErrAnswer)
	}
	return token.AccessToken, nil
}
