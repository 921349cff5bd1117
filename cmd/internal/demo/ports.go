package main

import (
	"errors"
	"math/rand/v2"
	"net"
	"strconv"
)

// ports of this demonstration's broker.
type ports struct{ client, agent, admin int }

// The range lies below the one that systems take outgoing connections from: those
// could otherwise sit on a port while the broker is dead.
const (
	lowestPort   = 20000
	portRange    = 10000
	portAttempts = 1000
)

// freePorts finds ports for a broker, or for a load balancer.
func freePorts() (ports, error) {
	found, err := unusedPorts(3)
	if err != nil {
		return ports{}, err
	}
	return ports{client: found[0], agent: found[1], admin: found[2]}, nil
}

// unusedPorts finds some ports where nobody listens on this machine.
func unusedPorts(n int) (found []int, err error) {
	for range portAttempts {
		port := lowestPort + rand.IntN(portRange)
		listener, err := net.Listen("tcp", ":"+strconv.Itoa(port))
		if err != nil {
			continue
		}
		defer listener.Close() // held, so that none is found twice
		if found = append(found, port); len(found) == n {
			return found, nil
		}
	}
	return nil, errors.New("no free ports")
}

func local(port int) string { return "127.0.0.1:" + strconv.Itoa(port) }
