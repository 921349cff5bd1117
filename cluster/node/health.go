package node

import (
	"context"
	"errors"
	"time"

	"opensessionmanager/persistence"
)

// probeBytes is the size of a probe: about that of the largest record, so that a disk
// on which only small ones still fit does not pass for a good one.
const probeBytes = 64 << 10

// storeFails says whether the store failed and no probe has succeeded since. That some
// small record was taken meanwhile does not count: an answer that changes with every
// write would send requests to a broker that cannot keep them.
func (n *Node) storeFails() bool {
	if n.committer.Health() != nil {
		n.failed.Store(true)
	}
	if !n.failed.Load() {
		return false
	}
	n.probeStore()
	return true
}

// probeWhileFailed probes also while nobody asks how the broker is: else the first
// request after a failure would be refused although the store is well.
func (n *Node) probeWhileFailed(ctx context.Context) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			if n.failed.Load() {
				n.probeStore()
			}
		case <-ctx.Done():
			return
		}
	}
}

// probeStore tries a write while the store is said to fail, once a second at most and one
// at a time: a broker that no balancer sends requests to would otherwise never find out
// that it is well again.
func (n *Node) probeStore() {
	now := time.Now().Unix()
	if n.probed.Swap(now) == now || n.probing.Swap(true) {
		return
	}
	key := persistence.Key{Kind: "probe", ID: "health"}
	n.committer.Load(key, func(r persistence.Record, err error) {
		if err == nil || errors.Is(err, persistence.ErrNotFound) {
			n.committer.Save(persistence.Record{Key: key, Version: r.Version, Data: make([]byte, probeBytes)}, n.probeDone)
		} else {
			n.probing.Store(false)
		}
	})
}

func (n *Node) probeDone(_ int64, err error) {
	if err == nil || errors.Is(err, persistence.ErrConflict) { // another broker's probe was first
		n.failed.Store(false)
	}
	n.probing.Store(false)
}
