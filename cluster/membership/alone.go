package membership

import "context"

// Alone is the source of a fleet of one: it needs no other process and never changes.
type Alone struct{ view View }

// NewAlone returns the source of a broker that has no company.
func NewAlone() *Alone { return &Alone{} }

// Join implements Source.
func (a *Alone) Join(_ context.Context, self Member, _ Probe) error {
	a.view = View{Epoch: 1, Protocol: Protocol, Members: []Member{self}}
	return nil
}

// Current implements Source.
func (a *Alone) Current() *View { return &a.view }

// Watch implements Source.
func (a *Alone) Watch(f func(*View)) (stop func()) { f(&a.view); return func() {} }

// Suspect implements Source: there is nobody to suspect.
func (a *Alone) Suspect(string) {}

// Contact implements Source.
func (a *Alone) Contact() error { return nil }

// Removed implements Source: nobody is there who could.
func (a *Alone) Removed() <-chan struct{} { return nil }

// Leave implements Source.
func (a *Alone) Leave(context.Context) error { return nil }
