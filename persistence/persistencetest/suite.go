// Package persistencetest is what every store has to keep: one list of named
// cases that run against each backend, and through each wrapper.
package persistencetest

import (
	"testing"

	"opensessionmanager/persistence"
)

type contractCase struct {
	name  string
	check func(*testing.T, persistence.Store)
}

// Run holds one backend to the contract. open yields an empty store of its own for
// each case, and arranges for whatever it needs to be cleaned up; a case may close
// the store itself. Cases run in parallel.
func Run(t *testing.T, open func(testing.TB) persistence.Store) {
	for _, group := range [][]contractCase{recordCases, scanCases, batchCases, boundCases, concurrentCases} {
		for _, c := range group {
			t.Run(c.name, func(t *testing.T) {
				t.Parallel()
				s := open(t)
				t.Cleanup(func() { _ = s.Close() })
				c.check(t, s)
			})
		}
	}
}
