//go:build fleet

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/stretchr/testify/require"
)

// onlooker asks every broker all the time for some sessions that stay. A broker shows
// all of them as READY, or refuses with a reason, or does not answer; whatever else it
// says fails the test (promise 3).
type onlooker struct {
	f      *fleet
	ids    list
	owners map[string]string // of them, by id
	halt   context.CancelFunc
	all    sync.WaitGroup

	mu   sync.Mutex
	seen map[*broker][]glimpse
}

// glimpse is what a broker answered from a time on.
type glimpse struct {
	from    time.Time
	outcome string
}

const shown = "shown"

// watch makes some sessions and begins to ask.
func (f *fleet) watch() *onlooker {
	f.t.Helper()
	return f.watchSome(2 * len(f.brokers))
}

func (f *fleet) watchSome(n int) *onlooker {
	f.t.Helper()
	w := &onlooker{f: f, owners: map[string]string{}, seen: map[*broker][]glimpse{}}
	for i := range n {
		owner := fmt.Sprintf("watched-%d", i)
		made := f.at(f.brokers[i%len(f.brokers)]).create(virtual(owner))
		require.Len(f.t, made.SuccessfulList, 1, "%+v", made.UnsuccessfulList)
		w.owners[made.SuccessfulList[0].ID] = owner
	}
	for id := range w.owners {
		for _, b := range f.brokers {
			f.at(b).awaitState(id, "READY")
		}
		w.ids = append(w.ids, id)
	}
	var ctx context.Context
	ctx, w.halt = context.WithCancel(f.t.Context())
	f.t.Cleanup(w.stop)
	for _, b := range f.brokers {
		w.all.Go(func() {
			for ctx.Err() == nil {
				if outcome := w.look(ctx, b); ctx.Err() == nil {
					w.note(b, outcome)
				}
				rest(ctx, 100*time.Millisecond)
			}
		})
	}
	return w
}

func (w *onlooker) stop() {
	w.halt()
	w.all.Wait()
}

func (w *onlooker) look(ctx context.Context, b *broker) string {
	ctx, cancel := context.WithTimeout(ctx, requestTime)
	defer cancel()
	a, err := w.f.at(b).send(ctx, http.MethodPost, "/describeSessions", object{"SessionIds": w.ids})
	if err != nil {
		return "no answer"
	}
	if a.status != http.StatusOK {
		code := a.header.Get("X-Error-Code")
		if a.status != http.StatusServiceUnavailable || code == "" {
			w.f.t.Errorf("describe at %s: status %d %q: %s", b.url(), a.status, code, a.body)
		}
		return "503 " + code
	}
	var out describedSessions
	if err := json.Unmarshal(a.body, &out); err != nil {
		w.f.t.Errorf("describe at %s: %v", b.url(), err)
	}
	if len(out.Sessions) != len(w.ids) {
		w.f.t.Errorf("%s shows %d of %d sessions that exist", b.url(), len(out.Sessions), len(w.ids))
	}
	for _, s := range out.Sessions {
		if s.State != "READY" {
			w.f.t.Errorf("%s says that %s is %s: %s", b.url(), s.ID, s.State, s.StateReason)
		}
	}
	return shown
}

func (w *onlooker) note(b *broker, outcome string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if past := w.seen[b]; len(past) == 0 || past[len(past)-1].outcome != outcome {
		w.seen[b] = append(past, glimpse{time.Now(), outcome})
	}
}

// now is what a broker answered last.
func (w *onlooker) now(b *broker) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	past := w.seen[b]
	if len(past) == 0 {
		return ""
	}
	return past[len(past)-1].outcome
}

// await waits until all of some brokers answer so: shown, or something that is not.
func (w *onlooker) await(outcome string, brokers ...*broker) {
	w.f.t.Helper()
	await(w.f.t, "brokers to answer "+outcome, func() error {
		for _, b := range brokers {
			if got := w.now(b); (got == shown) != (outcome == shown) {
				return fmt.Errorf("%s: %s", b.url(), got)
			}
		}
		return nil
	})
}

// stays fails the test if one of some brokers answered otherwise since a time.
func (w *onlooker) stays(outcome string, since time.Time, brokers ...*broker) {
	w.f.t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, b := range brokers {
		past := w.seen[b]
		for i, g := range past {
			over := i+1 < len(past) && !past[i+1].from.After(since)
			if over || (g.outcome == shown) == (outcome == shown) {
				continue
			}
			if outcome != shown { // that is never a matter of time
				w.f.t.Errorf("%s showed sessions %v after the event, which it cannot know", b.url(), g.from.Sub(since).Round(time.Millisecond))
				continue
			}
			judge(w.f.t, false, "%s answered %q %v after the event", b.url(), g.outcome, g.from.Sub(since).Round(time.Millisecond))
		}
	}
}

// report logs what brokers answered since a time.
func (w *onlooker) report(since time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i, b := range w.f.brokers {
		var words []string
		for _, g := range w.seen[b] {
			words = append(words, fmt.Sprintf("%.1fs %s", g.from.Sub(since).Seconds(), g.outcome))
		}
		words = slices.Compact(words)
		w.f.t.Logf("broker %d answered: %s", i, strings.Join(words[max(0, len(words)-12):], ", "))
	}
}
