package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	streamClients = 4
	streamRest    = 25 * time.Millisecond  // of a client after each request
	retryRest     = 100 * time.Millisecond // before it tries a second time
)

// stream is clients that use the API all the time, and try again once if they get no
// answer or are told to.
type stream struct {
	api     *api
	halt    context.CancelFunc
	workers sync.WaitGroup

	mu       sync.Mutex
	requests int
	retried  int
	failed   []string
	good     []time.Time
	accepted map[string]bool // session id; true once its deletion was asked
}

func (f *fleet) startStream(ctx context.Context) *stream {
	ctx, halt := context.WithCancel(ctx)
	s := &stream{api: f.api, halt: halt, accepted: map[string]bool{}}
	for i := range streamClients {
		s.workers.Go(func() { s.work(ctx, i) })
	}
	return s
}

func (s *stream) work(ctx context.Context, worker int) {
	for n := 0; ctx.Err() == nil; n++ {
		owner := fmt.Sprintf("guest-%d-%d", worker, n)
		var made createAnswer
		if !s.request(ctx, "/createSessions", []sessionRequest{{"visit", owner, "VIRTUAL", ""}}, &made) {
			continue
		}
		for _, refused := range made.UnsuccessfulList {
			s.fail(errors.New(refused.FailureReason))
		}
		for _, one := range made.SuccessfulList {
			s.note(one.ID, false)
			for range 6 {
				s.look(ctx, one.ID)
			}
			s.note(one.ID, true)
			var gone deleteAnswer
			s.request(ctx, "/deleteSessions", []deleteRequest{{one.ID, owner}}, &gone)
		}
	}
}

func (s *stream) look(ctx context.Context, id string) {
	var seen struct{ Sessions []session }
	if s.request(ctx, "/describeSessions", map[string][]string{"SessionIds": {id}}, &seen) && len(seen.Sessions) != 1 {
		s.fail(errors.New("session " + id + " was accepted and is absent"))
	}
}

// request sends one, and once more if there is no good answer.
func (s *stream) request(ctx context.Context, path string, in, out any) bool {
	err := s.api.call(ctx, http.MethodPost, path, in, out)
	again := err != nil && ctx.Err() == nil
	if again && pause(ctx, retryRest) == nil {
		err = s.api.call(ctx, http.MethodPost, path, in, out)
	}
	if ctx.Err() != nil {
		return false
	}
	s.mu.Lock()
	s.requests++
	if again {
		s.retried++
	}
	if err == nil {
		s.good = append(s.good, time.Now())
	}
	s.mu.Unlock()
	if err != nil {
		s.fail(err)
	}
	_ = pause(ctx, streamRest)
	return err == nil
}

func (s *stream) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failed = append(s.failed, err.Error())
}

func (s *stream) note(id string, over bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.accepted[id] = over
}

// await returns after so many more successes.
func (s *stream) await(ctx context.Context, stage *stage, more int) error {
	s.mu.Lock()
	before := len(s.good)
	s.mu.Unlock()
	return stage.await(ctx, "the stream of requests", func(context.Context) error {
		s.mu.Lock()
		defer s.mu.Unlock()
		if n := len(s.good) - before; n < more {
			return fmt.Errorf("%d of %d requests were answered, %d failed", n, more, len(s.failed))
		}
		return nil
	})
}

// sum is how the clients fared so far.
type sum struct {
	requests, retried, failed, accepted int
	pause                               time.Duration // longest without a success since a moment
	reason                              string
}

func (s *stream) sum(since time.Time) sum {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := sum{requests: s.requests, retried: s.retried, failed: len(s.failed), accepted: len(s.accepted)}
	if out.failed > 0 {
		out.reason = s.failed[0]
	}
	slices.SortFunc(s.good, time.Time.Compare)
	last := since
	for _, at := range s.good {
		if at.After(since) {
			out.pause = max(out.pause, at.Sub(last))
			last = at
		}
	}
	return out
}

// lost are the accepted sessions that nobody knows any more.
func (s *stream) lost(ctx context.Context, api *api) (lost []string, err error) {
	s.mu.Lock()
	var ids []string
	for id := range s.accepted {
		ids = append(ids, id)
	}
	s.mu.Unlock()
	for some := range slices.Chunk(ids, 50) {
		var seen struct{ Sessions []session }
		if err := api.call(ctx, http.MethodPost, "/describeSessions", map[string][]string{"SessionIds": some}, &seen); err != nil {
			return nil, err
		}
		known := map[string]bool{}
		for _, one := range seen.Sessions {
			known[one.ID] = true
		}
		lost = append(lost, slices.DeleteFunc(slices.Clone(some), func(id string) bool { return known[id] })...)
	}
	return lost, nil
}

// end stops the clients and fails if something went wrong for one of them.
func (s *stream) end(ctx context.Context, api *api) (sum, error) {
	s.stop()
	out := s.sum(time.Now())
	lost, err := s.lost(ctx, api)
	if err == nil && (out.failed > 0 || len(lost) > 0) {
		err = fmt.Errorf("%d requests failed twice, %d sessions are lost: %s", out.failed, len(lost), out.reason)
	}
	return out, err
}

func (s *stream) stop() {
	s.halt()
	s.workers.Wait()
}

func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// agentsAt counts the agents that are connected to a broker, by its log.
func (f *fleet) agentsAt(m *member) int {
	log, err := os.ReadFile(m.proc.log)
	if err != nil {
		return 0
	}
	return strings.Count(string(log), "agent connected") - strings.Count(string(log), "agent disconnected")
}
