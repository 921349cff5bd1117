package replicated

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"opensessionmanager/persistence"
)

// Bounds of one message.
const (
	maxBatch      = 2048
	maxBatchBytes = 4 << 20 // of Data
	digestPage    = 2000
)

// What brokers ask each other.
const (
	askApply  = "apply"  // a write that began at the sender, of the leader
	askAttach = "attach" // to be counted among the followers
	askDigest = "digest" // which records differ
	askOffer  = "offer"  // records of the follower that are newer
	askSynced = "synced" // the follower's copy is complete
	askBeat   = "beat"   // is this follower still one?
	askCopy   = "copy"   // changes, of a follower
)

// change is a record or a mark on the wire. Base is the version that a write replaces.
type change struct {
	Kind    string `json:"k"`
	ID      string `json:"i"`
	Version int64  `json:"v"`
	Base    int64  `json:"b,omitempty"`
	Data    []byte `json:"d,omitempty"`
	Gone    bool   `json:"g,omitempty"`
}

type key struct {
	Kind string `json:"k"`
	ID   string `json:"i"`
}

type request struct {
	Ask     string   `json:"ask"`
	Term    uint64   `json:"term"`
	Changes []change `json:"changes,omitempty"`
	// of attach
	Lineage string `json:"lineage,omitempty"`
	Empty   bool   `json:"empty,omitempty"`
	Newest  int64  `json:"newest,omitempty"`
	// of digest: which versions it has of the keys behind After, up to the last of
	// Changes, or to the end if there are no More
	After key  `json:"after,omitzero"`
	More  bool `json:"more,omitempty"`
}

type response struct {
	Term  uint64 `json:"term"`
	Error string `json:"error,omitempty"`
	Code  string `json:"code,omitempty"`

	Results []result `json:"results,omitempty"` // of apply, index-aligned
	Discard bool     `json:"discard,omitempty"` // of attach: the follower's copy is too old
	Changes []change `json:"changes,omitempty"` // of digest: what the follower lacks
	Want    []key    `json:"want,omitempty"`    // and what the leader does
	Upto    *key     `json:"upto,omitempty"`    // as far as this went; nil: all of the range
}

// result is that of one change.
type result struct {
	Version int64  `json:"v,omitempty"`
	Code    string `json:"c,omitempty"`
}

// Codes of a refusal.
const (
	codeNotLeading   = "not-leading" // nothing was done
	codeNotFollowing = "not-following"
	codeDetached     = "detached"
	codeOtherFleet   = "other-fleet"
	codeUncertain    = "uncertain"
	codeConflict     = "conflict"
	codeNotFound     = "not-found"
)

var errRefused = errors.New("replicated: refused")

func toWire(op persistence.Op) change {
	return change{Kind: op.Record.Key.Kind, ID: op.Record.Key.ID, Version: op.Record.Version, Data: op.Record.Data, Gone: op.Delete}
}

func allToWire(ops []persistence.Op) []change {
	out := make([]change, len(ops))
	for i, op := range ops {
		out[i] = toWire(op)
	}
	return out
}

func (c change) op() persistence.Op {
	return persistence.Op{Delete: c.Gone,
		Record: persistence.Record{Key: persistence.Key{Kind: c.Kind, ID: c.ID}, Version: c.Version, Data: c.Data}}
}

func (c change) check() error {
	if c.Version <= 0 {
		return fmt.Errorf("replicated: impossible version %d", c.Version)
	}
	return c.op().Record.Check()
}

func ops(changes []change) []persistence.Op {
	all := make([]persistence.Op, len(changes))
	for i, c := range changes {
		all[i] = c.op()
	}
	return all
}

func decode(body []byte) (request, error) {
	var r request
	if err := json.Unmarshal(body, &r); err != nil {
		return r, fmt.Errorf("replicated: not a request: %w", err)
	}
	if len(r.Changes) > max(maxBatch, digestPage) {
		return r, fmt.Errorf("replicated: %d changes at once", len(r.Changes))
	}
	for _, c := range r.Changes {
		if err := c.check(); err != nil {
			return r, err
		}
	}
	return r, nil
}

// ask sends a request. An error that wraps errRefused is the other's answer.
func (s *Store) ask(ctx context.Context, to string, r request) (response, error) {
	body, err := json.Marshal(r)
	if err != nil {
		return response{}, fmt.Errorf("replicated: encode: %w", err)
	}
	data, err := s.cfg.Call(ctx, to, body)
	if err != nil {
		return response{}, err
	}
	var a response
	if err := json.Unmarshal(data, &a); err != nil {
		return a, fmt.Errorf("replicated: not an answer: %w", err)
	}
	for _, c := range a.Changes {
		if err := c.check(); err != nil {
			return a, err
		}
	}
	if a.Code != "" {
		return a, fmt.Errorf("%w: %s: %.200s", errRefused, a.Code, a.Error)
	}
	return a, nil
}

// Serve answers what another broker's Store asks; from is its ID.
func (s *Store) Serve(ctx context.Context, from string, body []byte) ([]byte, error) {
	if err := s.begin(ctx); err != nil {
		return nil, err
	}
	defer s.running.Done()
	r, err := decode(body)
	if err != nil {
		return nil, err
	}
	a := s.answer(ctx, from, r)
	s.mu.Lock()
	a.Term = s.role.Term
	s.mu.Unlock()
	data, err := json.Marshal(a)
	if err != nil {
		return nil, fmt.Errorf("replicated: encode: %w", err)
	}
	return data, nil
}

func (s *Store) answer(ctx context.Context, from string, r request) response {
	switch r.Ask {
	case askApply:
		results, err := s.lead(ctx, from, r.Term, r.Changes)
		if err != nil {
			return refusal(err)
		}
		return response{Results: results}
	case askAttach:
		return s.attach(ctx, from, r)
	case askDigest:
		return s.compare(from, r)
	case askOffer:
		return s.accept(ctx, from, r)
	case askSynced, askBeat:
		return s.beat(from, r)
	case askCopy:
		return s.keep(ctx, from, r)
	}
	return response{Code: codeUncertain, Error: "no such question"}
}
