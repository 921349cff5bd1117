package circle

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"opensessionmanager/cluster/membership"
)

// question is a call of the registry, as it goes to the leader.
type question struct {
	Term     uint64            `json:"term"`
	Call     string            `json:"call"`
	Entry    *membership.Entry `json:"entry,omitempty"`
	ID       string            `json:"id,omitempty"`
	After    uint64            `json:"after,omitempty"`
	WaitMS   int64             `json:"wait_ms,omitempty"`
	Version  uint64            `json:"version,omitempty"`
	Document json.RawMessage   `json:"document,omitempty"`
	Clear    []string          `json:"clear,omitempty"`
}

// reply is what the leader says.
type reply struct {
	Error    string             `json:"error,omitempty"`
	Unknown  bool               `json:"unknown,omitempty"` // membership.ErrNotRegistered
	Entries  []membership.Entry `json:"entries,omitempty"`
	Index    uint64             `json:"index,omitempty"`
	Version  uint64             `json:"version,omitempty"`
	Document json.RawMessage    `json:"document,omitempty"`
	Left     []string           `json:"left,omitempty"`
	Swapped  bool               `json:"swapped,omitempty"`
}

const (
	maxQuestion = 512 << 10
	maxReply    = 1 << 20
	longestWait = 10 * time.Second
	// termShift: versions and indexes of the registry carry the leader's term, so that
	// what one leader said means nothing to the next.
	termShift = 32
)

// registry is the membership.Registry that the leader keeps, as this broker reaches it.
type registry struct{ c *Circle }

// Registry returns it.
func (c *Circle) Registry() membership.Registry { return registry{c} }

// ask has the leader answer, whoever that is.
func (r registry) ask(ctx context.Context, q question) (reply, error) {
	c := r.c
	c.mu.Lock()
	role, acting := c.role, c.acting
	c.mu.Unlock()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(acting, cancel)() // with the role ends what it asked
	q.Term = role.Term
	var a reply
	var err error
	switch role.Leader {
	case "":
		return reply{}, cmp.Or(c.reason(), ErrNoLeader)
	case c.self:
		a, err = c.answer(ctx, q)
	default:
		a, err = c.askLeader(ctx, role.Leader, q)
	}
	switch {
	case err != nil:
		return reply{}, err
	case a.Unknown:
		return reply{}, membership.ErrNotRegistered
	case a.Error != "":
		return reply{}, errors.New(a.Error)
	}
	a.Index, a.Version = stamp(role.Term, a.Index), stamp(role.Term, a.Version)
	return a, nil
}

// reason is what this broker waits for.
func (c *Circle) reason() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, p := range c.peers {
		if !c.settled && isForeign(p.err) {
			return fmt.Errorf("%s: %w", p.address, p.err)
		}
	}
	return c.permit
}

func (c *Circle) askLeader(ctx context.Context, leader string, q question) (reply, error) {
	address := c.addressOf(leader)
	if address == "" {
		return reply{}, ErrNoLeader
	}
	body, err := json.Marshal(q)
	if err != nil {
		return reply{}, fmt.Errorf("circle: encode: %w", err)
	}
	data, err := c.post(ctx, address, pathRegistry, body, maxReply)
	if err != nil {
		return reply{}, err
	}
	var a reply
	if err := json.Unmarshal(data, &a); err != nil {
		return reply{}, fmt.Errorf("circle: %s does not answer as a leader does: %w", address, err)
	}
	return a, nil
}

func stamp(term, n uint64) uint64 {
	if n == 0 {
		return 0
	}
	return term<<termShift | n&(1<<termShift-1)
}

// unstamp is what a version or index means in a term; false: it is of another one.
func unstamp(term, n uint64) (uint64, bool) {
	if n == 0 {
		return 0, true
	}
	return n & (1<<termShift - 1), n>>termShift == term
}

func (c *Circle) serveRegistry(w http.ResponseWriter, r *http.Request) {
	body := read(w, r, maxQuestion)
	if body == nil {
		return
	}
	var q question
	if err := json.Unmarshal(body, &q); err != nil {
		http.Error(w, "not a question", http.StatusBadRequest)
		return
	}
	c.mu.Lock()
	acting := c.acting
	c.mu.Unlock()
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	defer context.AfterFunc(acting, cancel)()
	a, err := c.answer(ctx, q)
	if err != nil {
		a = reply{Error: shorten(err.Error())}
	}
	data, err := json.Marshal(a)
	if err != nil {
		http.Error(w, "no answer", http.StatusInternalServerError)
		return
	}
	_, _ = w.Write(data)
}

// answer serves the registry from this broker's memory, while it leads and may act.
func (c *Circle) answer(ctx context.Context, q question) (reply, error) {
	if err := c.Permit(); err != nil {
		return reply{}, err
	}
	c.mu.Lock()
	line, term := c.line, c.role.Term
	c.mu.Unlock()
	if line == nil || q.Term != term {
		return reply{}, fmt.Errorf("%w in term %d", ErrNoLeader, q.Term)
	}
	a, err := c.serveCall(ctx, line, q)
	if errors.Is(err, membership.ErrNotRegistered) {
		return reply{Unknown: true}, nil
	}
	if err == nil {
		err = c.Permit() // it may have stood still meanwhile
	}
	return a, err
}

func (c *Circle) serveCall(ctx context.Context, line *membership.Line, q question) (a reply, err error) {
	wait := min(max(time.Duration(q.WaitMS)*time.Millisecond, 0), longestWait)
	after, current := unstamp(q.Term, q.After)
	if !current {
		after = 0
	}
	switch q.Call {
	case "register":
		if q.Entry == nil {
			return a, errors.New("circle: no entry")
		}
		return a, line.Register(ctx, *q.Entry)
	case "beat":
		return a, line.Beat(ctx, q.ID)
	case "withdraw":
		return a, line.Withdraw(ctx, q.ID)
	case "left":
		return a, line.MarkLeft(ctx, q.ID)
	case "healthy":
		a.Entries, a.Index, err = line.Healthy(ctx, after, wait)
		return a, err
	case "fleet":
		var place membership.Stored
		place, a.Index, err = line.Fleet(ctx, after, wait)
		a.Document, a.Version, a.Left = place.Document, place.Version, place.Left
		return a, err
	case "swap":
		version, current := unstamp(q.Term, q.Version)
		if !current {
			return a, nil
		}
		if version == 0 { // of fleets that were here one after the other each has higher epochs
			if q.Document, err = membership.Succeed(q.Document, uint64(time.Now().UnixMilli())); err != nil {
				return a, err
			}
		}
		a.Swapped, err = line.Swap(ctx, version, q.Document, q.Clear)
		return a, err
	}
	return a, fmt.Errorf("circle: no call %.20q", q.Call)
}

// Register implements membership.Registry.
func (r registry) Register(ctx context.Context, e membership.Entry) error {
	_, err := r.ask(ctx, question{Call: "register", Entry: &e})
	return err
}

// Beat implements membership.Registry.
func (r registry) Beat(ctx context.Context, id string) error {
	_, err := r.ask(ctx, question{Call: "beat", ID: id})
	return err
}

// Withdraw implements membership.Registry.
func (r registry) Withdraw(ctx context.Context, id string) error {
	_, err := r.ask(ctx, question{Call: "withdraw", ID: id})
	return err
}

// MarkLeft implements membership.Registry.
func (r registry) MarkLeft(ctx context.Context, id string) error {
	_, err := r.ask(ctx, question{Call: "left", ID: id})
	return err
}

// Healthy implements membership.Registry.
func (r registry) Healthy(ctx context.Context, after uint64, wait time.Duration) ([]membership.Entry, uint64, error) {
	a, err := r.ask(ctx, question{Call: "healthy", After: after, WaitMS: wait.Milliseconds()})
	return a.Entries, a.Index, err
}

// Fleet implements membership.Registry.
func (r registry) Fleet(ctx context.Context, after uint64, wait time.Duration) (membership.Stored, uint64, error) {
	a, err := r.ask(ctx, question{Call: "fleet", After: after, WaitMS: wait.Milliseconds()})
	if err != nil {
		return membership.Stored{}, 0, err
	}
	r.c.mu.Lock()
	r.c.keep(a.Document)
	r.c.mu.Unlock()
	return membership.Stored{Document: a.Document, Version: a.Version, Left: a.Left}, a.Index, nil
}

// Swap implements membership.Registry.
func (r registry) Swap(ctx context.Context, version uint64, document []byte, clear []string) (bool, error) {
	a, err := r.ask(ctx, question{Call: "swap", Version: version, Document: document, Clear: clear})
	return a.Swapped, err
}

// Close implements membership.Registry: the circle is closed by who started it.
func (r registry) Close() {}

// Place implements membership.Registry.
func (r registry) Place() string { return "the memory of the broker that leads" }
