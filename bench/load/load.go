// Package load sends requests over TLS connections that stay open, either as fast as
// the answers come or at a fixed rate, and measures how long each took. It does as
// little as possible itself, because it shares the machine with what it measures.
package load

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/valyala/fasthttp"
)

// Request is a whole HTTP request as bytes.
func Request(method, path, token, body string) []byte {
	return fmt.Appendf(nil, "%s %s HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer %s\r\n"+
		"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", method, path, token, len(body), body)
}

// Plan says what to send.
type Plan struct {
	Requests [][]byte // sent in turn, each connection beginning elsewhere
	Duration time.Duration
	// Rate is requests per second over all connections, sent when they are due; 0
	// sends the next as soon as the answer is there.
	Rate float64
	// Count is a text to count in the answers' bodies; "" counts nothing.
	Count string
	// Keep returns every latency, not only percentiles of them.
	Keep bool
}

// Outcome is what came of a plan.
type Outcome struct {
	Requests  int
	Elapsed   time.Duration
	Counted   int
	Latencies []time.Duration // of all requests, unordered
}

// Client is a number of connections to one server.
type Client struct{ conns []*conn }

type conn struct {
	tls      *tls.Conn
	reader   *bufio.Reader
	response fasthttp.Response
}

// Dial opens n connections to a server whose certificate the CA file vouches for, or
// spread over several servers, whose addresses are separated by commas.
func Dial(addr, caFile string, n int) (*Client, error) {
	pem, err := os.ReadFile(caFile)
	if err != nil {
		return nil, fmt.Errorf("load: %w", err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("load: %s holds no certificate", caFile)
	}
	c, addrs := &Client{}, strings.Split(addr, ",")
	for i := range n {
		raw, err := tls.Dial("tcp", addrs[i%len(addrs)], &tls.Config{RootCAs: roots, ServerName: "localhost", MinVersion: tls.VersionTLS12})
		if err != nil {
			return nil, errors.Join(fmt.Errorf("load: %w", err), c.Close())
		}
		c.conns = append(c.conns, &conn{tls: raw, reader: bufio.NewReaderSize(raw, 64<<10)})
	}
	return c, nil
}

// Close closes all connections.
func (c *Client) Close() error {
	var errs []error
	for _, one := range c.conns {
		errs = append(errs, one.tls.Close())
	}
	return errors.Join(errs...)
}

// Do sends one request and returns the body of its answer.
func (c *Client) Do(request []byte) ([]byte, error) {
	if err := c.conns[0].exchange(request); err != nil {
		return nil, err
	}
	return bytes.Clone(c.conns[0].response.Body()), nil
}

// Run carries out a plan. Any answer but 200 ends it with an error.
func (c *Client) Run(plan Plan) (Outcome, error) {
	ctx, cancel := context.WithTimeout(context.Background(), plan.Duration)
	defer cancel()
	parts := make([]Outcome, len(c.conns))
	errs := make([]error, len(c.conns))
	var all sync.WaitGroup
	began := time.Now()
	for i, one := range c.conns {
		all.Go(func() {
			w := worker{conn: one, plan: plan, number: i, of: len(c.conns), began: began}
			errs[i] = w.run(ctx)
			parts[i] = w.out
			if errs[i] != nil {
				cancel()
			}
		})
	}
	all.Wait()
	out := Outcome{Elapsed: time.Since(began)}
	for _, part := range parts {
		out.Requests += part.Requests
		out.Counted += part.Counted
		out.Latencies = append(out.Latencies, part.Latencies...)
	}
	return out, errors.Join(errs...)
}

// worker sends a connection's share of a plan.
type worker struct {
	conn       *conn
	plan       Plan
	number, of int
	began      time.Time
	out        Outcome
}

func (w *worker) run(ctx context.Context) error {
	count := []byte(w.plan.Count)
	offset := w.number * len(w.plan.Requests) / w.of
	for k := 0; ; k++ {
		begin, ok := w.next(ctx, k)
		if !ok {
			return nil
		}
		if err := w.conn.exchange(w.plan.Requests[(offset+k)%len(w.plan.Requests)]); err != nil {
			return err
		}
		w.out.Latencies = append(w.out.Latencies, time.Since(begin))
		w.out.Requests++
		if len(count) > 0 {
			w.out.Counted += bytes.Count(w.conn.response.Body(), count)
		}
	}
}

// next waits until request k is due and says from when its latency counts: from when
// it was due if an earlier answer was late, so that a stall is not counted only once.
func (w *worker) next(ctx context.Context, k int) (begin time.Time, ok bool) {
	now := time.Now()
	if w.plan.Rate == 0 {
		return now, ctx.Err() == nil
	}
	due := w.began.Add(time.Duration(float64(w.number+k*w.of) / w.plan.Rate * float64(time.Second)))
	if due.Sub(w.began) >= w.plan.Duration {
		return now, false
	}
	if !due.After(now) {
		return due, ctx.Err() == nil
	}
	timer := time.NewTimer(due.Sub(now))
	defer timer.Stop()
	select {
	case <-timer.C:
		return time.Now(), true
	case <-ctx.Done():
		return now, false
	}
}

func (c *conn) exchange(request []byte) error {
	if _, err := c.tls.Write(request); err != nil {
		return fmt.Errorf("load: send: %w", err)
	}
	if err := c.response.Read(c.reader); err != nil {
		return fmt.Errorf("load: answer: %w", err)
	}
	if status := c.response.StatusCode(); status != fasthttp.StatusOK {
		body := c.response.Body()
		return fmt.Errorf("load: status %d: %s", status, body[:min(len(body), 300)])
	}
	return nil
}

// Shuffled returns the requests in another order, the same for the same swap.
func Shuffled(requests [][]byte, shuffle func(n int, swap func(i, j int))) [][]byte {
	mixed := slices.Clone(requests)
	shuffle(len(mixed), func(i, j int) { mixed[i], mixed[j] = mixed[j], mixed[i] })
	return mixed
}
