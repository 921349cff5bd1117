// Package reconcile finds what the store and the rosters do not agree on, and wakes the
// grains concerned: they load, show what is stored, write back what the store lost, and
// take up what is owed.
//
// The two differ when a broker was killed between a save and its publication, when a
// grain was moved in that moment, when the store was away, and when somebody deleted
// its data. Every broker looks at the records that it owns in its present view: so the
// work is shared, nobody has to be chosen for it, and if one more dies the view changes
// and everybody looks again.
package reconcile

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"time"

	"opensessionmanager/messages"
	"opensessionmanager/persistence"
)

// Config is what an Auditor works with. Times that are zero become their defaults.
type Config struct {
	Store persistence.Store
	// Kinds are compared in this order.
	Kinds []Kind
	// Mine says whether this broker owns a grain in the present view.
	Mine func(kind, id string) bool
	// Behind is nil while the rosters show all that other brokers answered.
	Behind func() error
	// Tell sends to a grain.
	Tell func(kind, id string, m *messages.Wake)
	// Drain returns when the grains have had their turn at the store with what they were
	// told so far, so that they do not ask for more than it can take.
	Drain  func(context.Context) error
	Logger *slog.Logger

	Delay time.Duration // from a reason to look to the look, to which up to as much is added; default 0.5 s
	Again time.Duration // to the second look, at what was still on its way to the store; default 15 s
	Every time.Duration // between looks without a reason; default 10 min
	Pause time.Duration // at least, between two pages; default 20 ms
}

// Kind is how records of one kind are compared.
type Kind struct {
	Record string // kind in the store
	Grain  string // kind of grain
	// Shown lists the IDs on the roster, Shows says whether one is there.
	Shown func() []string
	Shows func(id string) bool
	// Differs says whether readers see something else than is stored, or the record's
	// time is over and nobody did anything about it.
	Differs func(r persistence.Record) bool
}

// Auditor looks when it is asked to, and now and then.
type Auditor struct {
	cfg  Config
	asks chan string // why
}

// New returns an auditor; Run makes it work.
func New(cfg Config) *Auditor {
	for _, d := range []struct {
		value *time.Duration
		or    time.Duration
	}{{&cfg.Delay, time.Second / 2}, {&cfg.Again, 15 * time.Second}, {&cfg.Every, 10 * time.Minute}, {&cfg.Pause, 20 * time.Millisecond}} {
		if *d.value == 0 {
			*d.value = d.or
		}
	}
	return &Auditor{cfg: cfg, asks: make(chan string, 64)}
}

// Look asks for a look at everything, soon. It never blocks.
func (a *Auditor) Look(why string) {
	select {
	case a.asks <- why:
	default: // as many looks are to come
	}
}

// Run looks when asked to until ctx ends. What went wrong is tried again.
func (a *Auditor) Run(ctx context.Context) {
	why := ""
	next := time.NewTimer(a.spread(a.cfg.Every))
	defer next.Stop()
	soon := false   // a look is about to come: more reasons do not put it off
	second := false // this look follows another one
	for {
		select {
		case <-ctx.Done():
			return
		case why = <-a.asks:
			second = false
			if !soon {
				soon = true
				next.Reset(a.cfg.Delay + rand.N(a.cfg.Delay))
			}
		case <-next.C:
			soon = false
			err := a.look(ctx, why)
			switch {
			case ctx.Err() != nil:
				return
			case err != nil:
				a.cfg.Logger.Warn("the store could not be compared with the rosters; trying again", "because", why, "error", err)
				next.Reset(a.spread(2 * a.cfg.Delay))
			case why != "" && !second:
				second = true
				next.Reset(a.cfg.Again)
			default:
				why, second = "", false
				next.Reset(a.spread(a.cfg.Every))
			}
		}
	}
}

// spread keeps brokers from looking all at the same time.
func (a *Auditor) spread(d time.Duration) time.Duration { return d*9/10 + rand.N(d/5) }
