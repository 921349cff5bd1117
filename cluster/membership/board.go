package membership

import (
	"slices"
	"sync"
	"sync/atomic"
)

// Board shows the current view, and each new one to those who watch. The zero value
// shows an empty view.
type Board struct {
	view atomic.Pointer[View]

	mu       sync.Mutex // held while watchers are called, which keeps the order
	watchers []*func(*View)
}

var empty View

// Current is the view shown last.
func (b *Board) Current() *View {
	if v := b.view.Load(); v != nil {
		return v
	}
	return &empty
}

// Show makes v current and returns when all watchers have seen it. A view whose epoch
// is not higher than the current one's is ignored.
func (b *Board) Show(v *View) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if v.Epoch <= b.Current().Epoch {
		return
	}
	b.view.Store(v)
	for _, f := range b.watchers {
		(*f)(v)
	}
}

// Watch is as Source's. After stop has returned f is not called.
func (b *Board) Watch(f func(*View)) (stop func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	entry := &f
	b.watchers = append(b.watchers, entry)
	f(b.Current())
	return func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.watchers = slices.DeleteFunc(b.watchers, func(w *func(*View)) bool { return w == entry })
	}
}
