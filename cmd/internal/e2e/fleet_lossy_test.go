//go:build fleet

package e2e

import (
	"testing"
	"time"
)

// F5: for 20 seconds 30 of 100 packets are lost, between all.
func TestFleet_GoesOnAfterALossyNetwork(t *testing.T) {
	s := startSplit(t)
	all := append(addresses(s.brokers...), s.consulAt()...)
	for i := range len(s.hosts) {
		all = append(all, s.net().agent(i))
	}
	s.net().loseOneWay(30, all, addresses(s.brokers...))
	s.net().loseOneWay(30, addresses(s.brokers...), all)
	s.pass(20 * time.Second)
	s.healAndCheck()
}
