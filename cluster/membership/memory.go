package membership

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"
)

// errCut: the line to the registry is cut.
var errCut = errors.New("membership: the line to the registry is cut")

// Memory is a registry inside one process, for fleets in tests. Each broker reaches it
// by a Line of its own.
type Memory struct {
	ttl time.Duration

	mu       sync.Mutex
	changed  chan struct{} // closed and made anew with each change
	index    uint64
	entries  map[string]beating
	document []byte
	version  uint64
	left     map[string]bool
}

type beating struct {
	Entry
	until time.Time
}

// NewMemory returns an empty registry that forgets who did not beat for ttl.
func NewMemory(ttl time.Duration) *Memory {
	return &Memory{ttl: ttl, changed: make(chan struct{}), entries: map[string]beating{}, left: map[string]bool{}}
}

// Connect makes a line that works until it is cut.
func (m *Memory) Connect() *Line { return &Line{memory: m, cut: make(chan struct{})} }

// Wipe loses all that is in the registry.
func (m *Memory) Wipe() {
	m.update(func() {
		clear(m.entries)
		clear(m.left)
		m.document, m.version = nil, 0
	})
}

// Put writes what it likes in the place of the document, as an operator might.
func (m *Memory) Put(document []byte) {
	m.update(func() { m.document, m.version = slices.Clone(document), m.index })
}

// Document is what is in the place of the document, nil if nothing is.
func (m *Memory) Document() []byte {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.document)
}

// update changes the registry and wakes who waits.
func (m *Memory) update(f func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.index++
	f()
	close(m.changed)
	m.changed = make(chan struct{})
}

// Line is one broker's way to a Memory. It implements Registry.
type Line struct {
	memory *Memory

	mu     sync.Mutex
	cut    chan struct{} // closed while it is cut
	broken bool
}

var _ Registry = (*Line)(nil)

// Cut makes all calls fail, also those under way.
func (l *Line) Cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.broken {
		l.broken = true
		close(l.cut)
	}
}

// Mend ends Cut.
func (l *Line) Mend() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.broken {
		l.broken, l.cut = false, make(chan struct{})
	}
}

func (l *Line) state() (cut <-chan struct{}, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.broken {
		return l.cut, errCut
	}
	return l.cut, nil
}

func (l *Line) change(ctx context.Context, f func()) error {
	if _, err := l.state(); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	l.memory.update(f)
	return nil
}

// Register implements Registry.
func (l *Line) Register(ctx context.Context, e Entry) error {
	m := l.memory
	return l.change(ctx, func() { m.entries[e.ID] = beating{e, time.Now().Add(m.ttl)} })
}

// Beat implements Registry.
func (l *Line) Beat(ctx context.Context, id string) error {
	if _, err := l.state(); err != nil {
		return err
	}
	m := l.memory
	m.mu.Lock()
	e, ok := m.entries[id]
	was := e.until
	e.until = time.Now().Add(m.ttl)
	if ok {
		m.entries[id] = e
	}
	m.mu.Unlock()
	switch {
	case !ok:
		return ErrNotRegistered
	case time.Now().After(was): // listed again
		return l.change(ctx, func() {})
	}
	return nil
}

// Withdraw implements Registry.
func (l *Line) Withdraw(ctx context.Context, id string) error {
	return l.change(ctx, func() { delete(l.memory.entries, id) })
}

// Healthy implements Registry.
func (l *Line) Healthy(ctx context.Context, after uint64, wait time.Duration) (list []Entry, index uint64, err error) {
	err = l.read(ctx, after, wait, func(m *Memory) {
		index = m.index
		for _, e := range m.entries {
			if time.Now().Before(e.until) {
				list = append(list, e.Entry)
			}
		}
	})
	return list, index, err
}

// Fleet implements Registry.
func (l *Line) Fleet(ctx context.Context, after uint64, wait time.Duration) (place Stored, index uint64, err error) {
	err = l.read(ctx, after, wait, func(m *Memory) {
		index = m.index
		place = Stored{Document: slices.Clone(m.document), Version: m.version, Left: slices.Collect(maps.Keys(m.left))}
	})
	return place, index, err
}

// read waits for a change after an index, at most wait, and looks.
func (l *Line) read(ctx context.Context, after uint64, wait time.Duration, look func(*Memory)) error {
	cut, err := l.state()
	if err != nil {
		return err
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	m := l.memory
	m.mu.Lock()
	for late := false; after != 0 && after == m.index && !late; {
		changed := m.changed
		m.mu.Unlock()
		select {
		case <-changed:
		case <-timer.C:
			late = true
		case <-cut:
			return errCut
		case <-ctx.Done():
			return ctx.Err()
		}
		m.mu.Lock()
	}
	look(m)
	m.mu.Unlock()
	return nil
}

// Swap implements Registry.
func (l *Line) Swap(ctx context.Context, version uint64, document []byte, clear []string) (swapped bool, err error) {
	m := l.memory
	err = l.change(ctx, func() {
		if swapped = m.version == version; !swapped {
			return
		}
		m.document, m.version = slices.Clone(document), m.index
		for _, id := range clear {
			delete(m.left, id)
		}
	})
	return swapped, err
}

// MarkLeft implements Registry.
func (l *Line) MarkLeft(ctx context.Context, id string) error {
	return l.change(ctx, func() { l.memory.left[id] = true })
}

// Close implements Registry.
func (l *Line) Close() {}

// Place implements Registry.
func (l *Line) Place() string { return "the memory of this process" }
