package control

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"time"
)

// Sizes in bytes of what crosses the socket.
const (
	MaxRequest = 1 << 20
	MaxAnswer  = 128 << 20 // a screenshot of the largest layout, in base64
)

// ErrRequest reports a request that cannot be understood.
var ErrRequest = errors.New("control: bad request")

// Decode reads one request: a JSON object without unknown properties and with
// nothing after it.
func Decode(line []byte) (Request, error) {
	var r Request
	if len(line) > MaxRequest {
		return r, fmt.Errorf("%w: longer than %d bytes", ErrRequest, MaxRequest)
	}
	d := json.NewDecoder(bytes.NewReader(line))
	d.DisallowUnknownFields()
	if err := d.Decode(&r); err != nil {
		return Request{}, fmt.Errorf("%w: %w", ErrRequest, err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return Request{}, fmt.Errorf("%w: more than one value", ErrRequest)
	}
	if r.Command == "" {
		return Request{}, fmt.Errorf("%w: no command", ErrRequest)
	}
	return r, nil
}

// ReadRequest reads the one line a caller sends.
func ReadRequest(r io.Reader) (Request, error) {
	line, err := bufio.NewReader(io.LimitReader(r, MaxRequest+1)).ReadBytes('\n')
	if err != nil {
		return Request{}, fmt.Errorf("%w: no complete line of at most %d bytes: %w", ErrRequest, MaxRequest, err)
	}
	return Decode(line)
}

// Call sends a request to the host behind a socket and waits for its answer, for
// as long as the host takes: callers that cannot wait end ctx. A refused command
// is an Answer with Error set, not an error.
func Call(ctx context.Context, socket string, r Request) (Answer, error) {
	dialer := net.Dialer{Timeout: 5 * time.Second}
	conn, err := dialer.DialContext(ctx, "unix", socket)
	if err != nil {
		return Answer{}, fmt.Errorf("control: no host there: %w", err)
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	line, err := json.Marshal(r)
	if err != nil {
		return Answer{}, fmt.Errorf("control: encode request: %w", err)
	}
	if _, err := conn.Write(append(line, '\n')); err != nil {
		return Answer{}, fmt.Errorf("control: send request: %w", err)
	}
	body, err := io.ReadAll(io.LimitReader(conn, MaxAnswer+1))
	if err != nil {
		return Answer{}, fmt.Errorf("control: read answer: %w", err)
	}
	return decodeAnswer(body)
}

func decodeAnswer(body []byte) (Answer, error) {
	var a Answer
	if len(body) > MaxAnswer {
		return a, fmt.Errorf("control: answer longer than %d bytes", MaxAnswer)
	}
	if err := json.Unmarshal(body, &a); err != nil {
		return Answer{}, fmt.Errorf("control: answer is not complete: %w", err)
	}
	return a, nil
}
