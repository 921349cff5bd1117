package membership

import (
	"fmt"
	"time"
)

// Contact implements Source.
//
// A majority confirms a view by answering probes at the same epoch. It must be more
// than this broker itself: one that is alone in its view cannot know, without the
// registry, whether others went on without it.
func (k *Keeper) Contact() error {
	now := k.opt.Now()
	if at := k.confirmed.Load(); at != nil && age(now, *at) <= k.opt.TTL {
		return nil
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	switch {
	case k.phase == expelled:
		return ErrRemoved
	case k.phase != member:
		return ErrNotMember
	case k.majority(now):
		return nil
	}
	return fmt.Errorf("%w for %v", ErrNoContact, k.unconfirmed(now).Round(time.Millisecond))
}

// Confirmed implements Registered.
func (k *Keeper) Confirmed() bool {
	at := k.confirmed.Load()
	return at != nil && age(k.opt.Now(), *at) <= k.opt.lately()
}

// lately is for how long a confirmation by the registry is told to others.
func (o Options) lately() time.Duration { return o.TTL * 2 / 3 }

// majority says whether enough others confirm the view while the registry is down for all.
// That it serves one of them is known for some time before it counts: when it comes back it
// serves one broker a moment before the next.
func (k *Keeper) majority(now time.Time) bool {
	agree := 1
	for _, p := range k.probes {
		if !p.served.IsZero() && age(now, p.served) <= k.opt.TTL && age(now, p.servedSince) >= k.opt.lately() {
			return false // it is this broker that is cut off, whoever else is with it
		}
		if !p.confirmed.IsZero() && age(now, p.confirmed) <= k.opt.TTL {
			agree++
		}
	}
	return agree > 1 && 2*agree > len(k.held.Members)
}

// unconfirmed is for how long the registry has not shown this broker's view.
func (k *Keeper) unconfirmed(now time.Time) time.Duration {
	if at := k.confirmed.Load(); at != nil {
		return age(now, *at)
	}
	return 0
}

// age is the time since then by the monotonic or the wall clock, whichever says more:
// the former stands still while a virtual machine is suspended, the latter may be set.
func age(now, then time.Time) time.Duration {
	return max(now.Sub(then), now.Round(0).Sub(then.Round(0)))
}
