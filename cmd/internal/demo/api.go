package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"
)

const (
	callTime  = 10 * time.Second
	maxAnswer = 64 << 20 // bytes; screenshots are the largest
)

// api is the client API of the broker, as any program would use it.
type api struct {
	base   string // https://host:port
	token  string
	client *http.Client
}

func newAPI(base, caFile string) (*api, error) {
	pem, err := os.ReadFile(caFile)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("no certificate in %s", caFile)
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}}
	return &api{base: base, client: &http.Client{Transport: transport, Timeout: callTime}}, nil
}

// health fails while the broker is not ready.
func (a *api) health(ctx context.Context) error {
	return a.do(ctx, http.MethodGet, "/health", nil, nil, nil)
}

// login gets an access token with a registered client's credentials.
func (a *api) login(ctx context.Context, id, password string) error {
	var answer struct {
		Token string `json:"access_token"`
	}
	basic := func(r *http.Request) { r.SetBasicAuth(id, password) }
	err := a.do(ctx, http.MethodPost, "/oauth2/token?grant_type=client_credentials", nil, &answer, basic)
	if err == nil && answer.Token == "" {
		err = errors.New("the broker's answer holds no access token")
	}
	a.token = answer.Token
	return err
}

// call sends one request of the client API; in and out are JSON, or nil.
func (a *api) call(ctx context.Context, method, path string, in, out any) error {
	bearer := func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+a.token) }
	return a.do(ctx, method, path, in, out, bearer)
}

func (a *api) do(ctx context.Context, method, path string, in, out any, authorize func(*http.Request)) error {
	var body io.Reader
	if in != nil {
		data, err := json.Marshal(in)
		if err != nil {
			return err
		}
		body = bytes.NewReader(data)
	}
	request, err := http.NewRequestWithContext(ctx, method, a.base+path, body)
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/json")
	if authorize != nil {
		authorize(request)
	}
	response, err := a.client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	data, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if err != nil {
		return err
	}
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s %s: %s %s", method, path, response.Status, bytes.TrimSpace(data))
	}
	if out == nil {
		return nil
	}
	return json.Unmarshal(data, out)
}

// What of the API's types is used here (their names are the vendor's).
type (
	sessionRequest struct {
		Name, Owner, Type, Requirements string
	}
	session struct {
		ID               string `json:"Id"`
		Name             string
		Owner            string
		State            string
		StateReason      string
		NumOfConnections int
		Server           struct {
			ID        string `json:"Id"`
			IP        string `json:"Ip"`
			Endpoints []struct{ Port int }
		}
	}
	server struct {
		ID           string `json:"Id"`
		Availability string
		Reason       string `json:"UnavailabilityReason"`
		Tags         []struct{ Key, Value string }
	}
	refusedSession struct {
		FailureReason  string
		FailureDetails struct{ Detail string }
	}
	createAnswer struct {
		SuccessfulList   []session
		UnsuccessfulList []refusedSession
	}
	screenshotRequest struct {
		SessionID string `json:"SessionId"`
		MaxWidth  int
		MaxHeight int
	}
	screenshotAnswer struct {
		SuccessfulList []struct {
			SessionScreenshot struct {
				Images []struct {
					Data    []byte
					Primary bool
				}
			}
		}
		UnsuccessfulList []struct{ FailureReason string }
	}
	deleteRequest struct {
		SessionID string `json:"SessionId"`
		Owner     string
	}
	deleteAnswer struct {
		SuccessfulList   []struct{ State string }
		UnsuccessfulList []struct{ FailureReason string }
	}
	connectionData struct {
		Session         session
		ConnectionToken string
	}
)

// tag returns the value of a server's tag, "" if it has none.
func (s server) tag(key string) string {
	for _, tag := range s.Tags {
		if tag.Key == key {
			return tag.Value
		}
	}
	return ""
}

// isFull reports whether a server is up but has no room.
func (s server) isFull() bool { return s.Reason == "SERVER_FULL" }
