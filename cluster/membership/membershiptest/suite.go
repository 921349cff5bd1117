// Package membershiptest is what every source of membership has to keep: one list of
// named cases that run over each shared backing.
package membershiptest

import (
	"testing"
	"time"

	"opensessionmanager/cluster/membership"
)

// Fleet is one backing that several sources share.
type Fleet interface {
	// Open returns the source of one broker, not joined yet, and the line by which it
	// reaches the backing. The suite has it leave in the end.
	Open(t testing.TB) (membership.Source, Line)
	// Pace is the least time between two removals of members that did not leave.
	Pace() time.Duration
}

// Line is one source's contact with the backing. While it is cut, all calls fail or hang.
type Line interface {
	Cut()
	Mend()
}

type contractCase struct {
	name  string
	check func(*world)
}

var contract = []contractCase{
	{"the first one forms the view alone", formsAlone},
	{"brokers that start together find one view", startTogether},
	{"a joiner appears for all with a higher epoch", joinerAppears},
	{"who leaves is out without a probe", leaveIsNotProbed},
	{"the last one leaves without waiting", lastLeaves},
	{"whoever comes after the last one left replaces it", afterTheLast},
	{"a crashed member is out after failed probes only", crashIsProbed},
	{"a member that answers probes stays though the source lost it", answeringStays},
	{"two crashed members are removed one by one", removedOneByOne},
	{"a suspect that fails probes is out at once", suspectIsOut},
	{"a suspect that answers stays", answeringSuspectStays},
	{"two suspects are removed one by one", suspectsOneByOne},
	{"a removed member learns it and has no contact", removedLearns},
	{"a removed broker joins again under a new ID", joinsAgain},
	{"an ID that was removed never joins again", oldIDStaysOut},
	{"contact ends without the source and without a majority", contactEnds},
	{"a majority keeps the contact while the source is down for all", majorityKeepsContact},
	{"a majority at another epoch keeps no contact", otherEpochIsNoContact},
	{"watchers see each view in order, from the current one on", watchInOrder},
	{"Join ends with its context, and says why", joinEnds},
	{"a source joins once", joinsOnce},
	{"what cannot be a member is refused", badMembers},
}

// Run holds one backing to the contract. open yields an empty one for each case and
// arranges for its end. Cases run in parallel. Every case also checks, over all views
// that all its brokers saw, that epochs only rise, that one epoch means one set of
// members, and that no view is without more than one member of the view before.
func Run(t *testing.T, open func(testing.TB) Fleet) {
	for _, c := range contract {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, open(t))
			c.check(w)
			w.checkHistory()
		})
	}
}
