package consul

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
)

const (
	// maxAnswer is the most bytes read of an answer: 64 of the largest values in
	// base64 are 22 MiB, the keys of 500,000 records about 50 MiB.
	maxAnswer = 64 << 20
	// maxReason is how much of a refusal's text is kept.
	maxReason = 512
)

// answerError is an answer of Consul that is neither a result (200), nor an absent
// key (404), nor a transaction that was rolled back (409).
type answerError struct {
	status int
	text   string
}

func (e *answerError) Error() string {
	if e.status == http.StatusForbidden {
		return fmt.Sprintf("the ACL token may not read and write the keys under the prefix (403: %s)", e.text)
	}
	return fmt.Sprintf("consul answered %d: %s", e.status, e.text)
}

var errAnswerSize = fmt.Errorf("the answer is longer than %d MiB", maxAnswer>>20)

// judge turns unusual answers into an answerError, because the client library
// drops the status of a refused transaction, and bounds all others.
type judge struct{ next http.RoundTripper }

func (j judge) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := j.next.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	switch resp.StatusCode {
	case http.StatusOK, http.StatusNotFound, http.StatusConflict:
		resp.Body = &bounded{body: resp.Body, left: maxAnswer}
		return resp, nil
	}
	defer resp.Body.Close()
	text, _ := io.ReadAll(io.LimitReader(resp.Body, maxReason)) // a part of the reason is better than none
	return nil, &answerError{resp.StatusCode, strings.ToValidUTF8(strings.TrimSpace(string(text)), "?")}
}

type bounded struct {
	body io.ReadCloser
	left int64
}

func (b *bounded) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, errAnswerSize
	}
	n, err := b.body.Read(p[:min(int64(len(p)), b.left)])
	b.left -= int64(n)
	return n, err
}

func (b *bounded) Close() error { return b.body.Close() }

// nothingDone are texts in Consul's 500 and 503 answers that it gives before a
// write enters the replicated log (agent/structs/errors.go, agent/pool/pool.go,
// agent/consul/rate, and hashicorp/raft for the third). A forwarding agent repeats
// them behind "rpc error making call: ". "leadership lost while committing log" is
// not among them: such an entry may well be committed by the next leader.
var nothingDone = []string{
	"No cluster leader",
	"No known Consul servers",
	"raft apply failed: node is not the leader",
	"rpc error getting client:",
	"rate limit exceeded",
}

// harmless reports whether Consul's answer says that it did nothing.
func harmless(err error) bool {
	var answer *answerError
	if !errors.As(err, &answer) {
		return false
	}
	if answer.status != http.StatusInternalServerError && answer.status != http.StatusServiceUnavailable {
		return answer.status >= 400 && answer.status < 500 && answer.status != http.StatusRequestTimeout
	}
	for _, text := range nothingDone {
		if strings.Contains(answer.text, text) {
			return true
		}
	}
	return false
}

// refused reports whether the request itself is at fault: every agent will say so.
func refused(err error) bool {
	var answer *answerError
	return errors.As(err, &answer) && answer.status >= 400 && answer.status < 500 &&
		answer.status != http.StatusTooManyRequests
}

// tooLarge reports whether Consul is configured to take smaller requests.
func tooLarge(err error) bool {
	var answer *answerError
	return errors.As(err, &answer) && answer.status == http.StatusRequestEntityTooLarge
}
