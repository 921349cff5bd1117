package circle

import "slices"

// choice is whom a broker should follow, as far as it can tell.
type choice struct {
	leader string // ID; "": nobody yet
	claim  bool   // it should lead itself, in this term
	term   uint64
}

// elect decides from what this broker knows of itself and of those it reaches. gone are
// brokers that certainly are no more.
//
// Nobody claims to lead while somebody it reaches still reaches a leader, or while
// somebody more senior is there who could.
func elect(self hello, alive []hello, gone map[string]bool) choice {
	best, highest := hello{}, self.Term
	if self.leads() && !(self.Sick && slices.ContainsFunc(alive, hello.fit)) {
		best = self
	}
	rival := false
	for _, h := range alive {
		highest = max(highest, h.Term)
		if !h.leads() {
			continue
		}
		if h.Term >= self.Term || h.Epoch > 0 && h.Epoch >= self.Epoch {
			rival = true
		}
		if best.ID == "" || h.outranks(best) {
			best = h
		}
	}
	switch {
	case best.ID == self.ID && best.ID != "":
		if rival { // its followers come to this one, in a term and with a view that are above both
			return choice{leader: self.ID, claim: true, term: highest + 1}
		}
		return choice{leader: self.ID, term: self.Term}
	case best.ID != "":
		return choice{leader: best.ID, term: best.Term}
	case self.Unable || self.Leaving || self.Since == 0:
		return choice{}
	}
	for _, h := range alive {
		led := h.Heard && h.Leader != self.ID && !gone[h.Leader]
		if led || !h.Leaving && h.senior(self) {
			return choice{}
		}
	}
	return choice{leader: self.ID, claim: true, term: highest + 1}
}
