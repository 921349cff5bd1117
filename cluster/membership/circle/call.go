package circle

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"
)

// Paths of the discovery port. Everything is POST; the version is in the path, so that
// a broker that speaks another one is told 404 and not something wrong.
const (
	pathHello    = "/circle/1/hello"
	pathView     = "/circle/1/view"
	pathRegistry = "/circle/1/registry"
	pathStore    = "/circle/1/store"
	headerFrom   = "X-From"
)

// maxStore bounds what stores say to each other at once in bytes.
const maxStore = 32 << 20

func isForeign(err error) bool { return errors.Is(err, ErrOtherAuthority) }

// newClient dials other brokers and verifies that they are of this fleet.
func (c *Circle) newClient() *http.Client {
	return &http.Client{
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{
			DialTLSContext: func(ctx context.Context, _, address string) (net.Conn, error) {
				raw, err := c.cfg.Dial(ctx, address)
				if err != nil {
					return nil, err
				}
				conn := tls.Client(raw, c.cfg.ClientTLS)
				ctx, cancel := context.WithTimeout(ctx, c.cfg.Lease)
				defer cancel()
				if err := conn.HandshakeContext(ctx); err != nil {
					_ = raw.Close()
					return nil, judgeHandshake(err)
				}
				return conn, nil
			},
			MaxIdleConnsPerHost: 8,
			IdleConnTimeout:     time.Minute,
			DisableCompression:  true,
		},
	}
}

// judgeHandshake tells a certificate that was refused, here or there, from a broken
// connection.
func judgeHandshake(err error) error {
	var timeout net.Error
	if errors.Is(err, io.EOF) || errors.Is(err, context.Canceled) || errors.As(err, &timeout) && timeout.Timeout() {
		return err
	}
	var cut *net.OpError
	if errors.As(err, &cut) && cut.Op != "remote error" {
		return err
	}
	return fmt.Errorf("%w (%w)", ErrOtherAuthority, err)
}

// post sends a body and returns the answer, of which there may be at most most bytes.
func (c *Circle) post(ctx context.Context, address, path string, body []byte, most int64) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://"+address+path, bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("circle: %w", err)
	}
	request.Header.Set(headerFrom, c.self)
	response, err := c.client.Do(request)
	if err != nil {
		var alert tls.AlertError
		if errors.As(err, &alert) { // TLS 1.3: the other side looked at our certificate after we were done
			return nil, fmt.Errorf("%w (%w)", ErrOtherAuthority, err)
		}
		return nil, fmt.Errorf("circle: %w", err)
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(response.Body, most+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("circle: %s: %w", address, err)
	case int64(len(answer)) > most:
		return nil, fmt.Errorf("circle: %s answers more than %d bytes", address, most)
	case response.StatusCode != http.StatusOK:
		return nil, fmt.Errorf("circle: %s: status %d: %s", address, response.StatusCode, shorten(string(answer)))
	}
	return answer, nil
}

// shorten makes a text fit for a log.
func shorten(text string) string {
	text = strings.ToValidUTF8(strings.TrimSpace(text), "?")
	return text[:min(len(text), 200)]
}

// greet says hello.
func (c *Circle) greet(ctx context.Context, address string) (hello, error) {
	c.mu.Lock()
	mine := c.hello(c.cfg.Now())
	c.mu.Unlock()
	body, err := json.Marshal(mine)
	if err != nil {
		return hello{}, fmt.Errorf("circle: encode a hello: %w", err)
	}
	answer, err := c.post(ctx, address, pathHello, body, maxHello)
	if err != nil {
		return hello{}, err
	}
	return decodeHello(answer)
}

// maxView is more than a registry keeps.
const maxView = 300 << 10

func (c *Circle) fetchDocument(ctx context.Context, address string) ([]byte, error) {
	return c.post(ctx, address, pathView, nil, maxView)
}

// Call has another broker's store answer.
func (c *Circle) Call(ctx context.Context, to string, body []byte) ([]byte, error) {
	address := c.addressOf(to)
	if address == "" {
		return nil, fmt.Errorf("circle: broker %.40q does not answer", to)
	}
	return c.post(ctx, address, pathStore, body, maxStore)
}

func (c *Circle) addressOf(id string) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, p := range c.peers {
		if p.said.ID == id && p.alive(c.cfg.Now(), c.cfg.Lease) {
			return p.address
		}
	}
	return ""
}
