package load

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// Witness is clients of a fleet that send to any of its brokers and, when that fails,
// once more to another one, as clients behind a simple load balancer do. It notes what
// they see of a broker's death. Its methods may be called by many goroutines.
type Witness struct {
	addrs []string
	token string
	http  *http.Client

	victim atomic.Pointer[death]
	mu     sync.Mutex
	seen   Seen
	last   time.Time // of the latest successful read
}

type death struct {
	addr string
	at   time.Time
}

// Seen is what the clients saw since the death.
type Seen struct {
	// Requests is how many were sent, FailedTwice how many the second try did not save.
	Requests, FailedTwice int
	// Living is how many first tries went to brokers that lived, LivingFailed how many of
	// those failed, and Why.
	Living, LivingFailed int
	Why                  map[string]int
	// Pause is the longest time between two successful reads.
	Pause time.Duration
}

// errAbsent: a session that was accepted is not known.
var errAbsent = errors.New("load: an accepted session is absent")

// NewWitness makes clients of brokers that share an authority.
func NewWitness(addrs []string, caFile, token string) (*Witness, error) {
	pem, err := os.ReadFile(caFile)
	if err != nil {
		return nil, fmt.Errorf("load: %w", err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	transport := &http.Transport{MaxIdleConnsPerHost: 1000,
		TLSClientConfig: &tls.Config{RootCAs: roots, ServerName: "localhost", MinVersion: tls.VersionTLS12}}
	return &Witness{addrs: addrs, token: token, seen: Seen{Why: map[string]int{}},
		http: &http.Client{Transport: transport, Timeout: 30 * time.Second}}, nil
}

// Close closes the connections.
func (w *Witness) Close() { w.http.CloseIdleConnections() }

// Died tells which broker was killed just now; from here on everything is noted.
func (w *Witness) Died(addr string) {
	w.mu.Lock()
	w.last = time.Now()
	w.mu.Unlock()
	w.victim.Store(&death{addr, time.Now()})
}

// Seen is what was noted.
func (w *Witness) Seen() Seen {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.seen
}

// Create makes sessions, before the death, and returns their owners by id.
func (w *Witness) Create(ctx context.Context, n int) (map[string]string, error) {
	made := map[string]string{}
	for len(made) < n {
		var items []map[string]string
		for i := range min(50, n-len(made)) {
			items = append(items, map[string]string{"Name": "bench", "Owner": fmt.Sprintf("user%04d", len(made)+i), "Type": "VIRTUAL"})
		}
		var out results
		if err := w.send(ctx, w.addrs[0], "/createSessions", items, &out); err != nil {
			return nil, err
		}
		if len(out.UnsuccessfulList) > 0 {
			return nil, fmt.Errorf("load: create refused: %s", out.UnsuccessfulList[0].FailureCode)
		}
		for _, s := range out.SuccessfulList {
			made[s.ID] = s.Owner
		}
	}
	return made, nil
}

// Work reads and creates until ctx ends: some of it is under way at any moment.
func (w *Witness) Work(ctx context.Context, ids []string) {
	var workers sync.WaitGroup
	for i := range 8 {
		workers.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				if i < 4 {
					_ = w.Read(ctx, ids[rand.IntN(len(ids))])
					continue
				}
				owner := fmt.Sprintf("worker%d-%d", i, n)
				_ = w.twice(ctx, "/createSessions", []map[string]string{{"Name": "bench", "Owner": owner, "Type": "VIRTUAL"}}, &results{})
			}
		})
	}
	workers.Wait()
}

// Read looks at a session.
func (w *Witness) Read(ctx context.Context, id string) error {
	var out struct{ Sessions []struct{ State string } }
	if err := w.twice(ctx, "/describeSessions", map[string]any{"SessionIds": []string{id}}, &out); err != nil {
		return err
	}
	if len(out.Sessions) != 1 {
		return fmt.Errorf("%w: %s", errAbsent, id)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.last.IsZero() {
		w.seen.Pause = max(w.seen.Pause, time.Since(w.last))
		w.last = time.Now()
	}
	return nil
}

// Write deletes a session: the only change that needs no host.
func (w *Witness) Write(ctx context.Context, id, owner string) error {
	return w.twice(ctx, "/deleteSessions", []map[string]string{{"SessionId": id, "Owner": owner}}, &results{})
}

// Every does something with each session, all at once, until it succeeds, and returns
// how long after the death the last one did.
func (w *Witness) Every(ctx context.Context, sessions map[string]string, do func(ctx context.Context, id, owner string) error) (time.Duration, error) {
	var all sync.WaitGroup
	var mu sync.Mutex
	var failures []error
	for id, owner := range sessions {
		all.Go(func() {
			for {
				err := do(ctx, id, owner)
				if err == nil {
					return
				}
				if ctx.Err() != nil || errors.Is(err, errAbsent) {
					mu.Lock()
					defer mu.Unlock()
					failures = append(failures, err)
					return
				}
			}
		})
	}
	all.Wait()
	return time.Since(w.victim.Load().at), errors.Join(failures[:min(len(failures), 3)]...)
}

// twice sends to some broker, and once more to another.
func (w *Witness) twice(ctx context.Context, path string, in, out any) error {
	first := rand.IntN(len(w.addrs))
	err := w.send(ctx, w.addrs[first], path, in, out)
	failed := err != nil && ctx.Err() == nil
	if failed {
		err = w.send(ctx, w.addrs[(first+1+rand.IntN(len(w.addrs)-1))%len(w.addrs)], path, in, out)
	}
	if d := w.victim.Load(); d != nil && ctx.Err() == nil {
		w.note(d.addr != w.addrs[first], failed, err)
	}
	return err
}

func (w *Witness) note(living, failed bool, second error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.seen.Requests++
	if second != nil {
		w.seen.FailedTwice++
		w.seen.Why[second.Error()]++
	}
	if living {
		w.seen.Living++
		if failed {
			w.seen.LivingFailed++
		}
	}
}

// results are what changes answer with.
type results struct {
	SuccessfulList []struct {
		ID    string `json:"Id"`
		Owner string
	}
	UnsuccessfulList []struct{ FailureCode string }
}

// send is one try. A change that was refused has failed, unless it was done before: then
// only the answer of the first try was lost.
func (w *Witness) send(ctx context.Context, addr, path string, in, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://"+addr+path+"?explain=true", bytes.NewReader(body))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Authorization", "Bearer "+w.token)
	response, err := w.http.Do(request)
	if err != nil {
		return errors.New("no answer")
	}
	defer func() { _ = response.Body.Close() }()
	answer, err := io.ReadAll(response.Body)
	if err != nil {
		return errors.New("no answer")
	}
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("status %d %s", response.StatusCode, response.Header.Get("X-Error-Code"))
	}
	if err := json.Unmarshal(answer, out); err != nil {
		return err
	}
	if r, ok := out.(*results); ok && len(r.UnsuccessfulList) > 0 && path != "/createSessions" {
		if code := r.UnsuccessfulList[0].FailureCode; code != "SESSION_DELETED" {
			return errors.New(code)
		}
	} else if ok && len(r.UnsuccessfulList) > 0 {
		return errors.New(r.UnsuccessfulList[0].FailureCode)
	}
	return nil
}
