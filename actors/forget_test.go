package actors

import (
	"fmt"
	"testing"
	"time"

	"opensessionmanager/messages"
)

// A host that was switched off for good, and what was still to be closed there.
func TestServer_ForgottenWithClosesThatAreOwedIsGivenBack(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	h := w.host("a").connect()
	w.accepted("s-1", "ann")
	w.awaitState("s-1", ready)
	h.disconnect()
	await(t, "the host to be unreachable", func() error { w.clock.Advance(time.Second); return stateIs(w, "s-1", unknown) })
	w.delete("s-1", "ann", true)
	w.awaitState("s-1", deleted)
	await(t, "the grain to be given back", func() error {
		w.clock.Advance(w.deps.Config.DropServer / 4)
		if w.server("a") != nil || w.peers.active(messages.KindServer, "a") {
			return fmt.Errorf("still there")
		}
		return nil
	})
	h.connect()
	await(t, "what was owed to be done", func() error {
		if running := h.running(); len(running) > 0 {
			return fmt.Errorf("%v", running)
		}
		return nil
	})
}

func (p *localPeers) active(kind, id string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.grains[kind+"/"+id] != nil
}
