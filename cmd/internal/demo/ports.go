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

// freePorts finds ports where nobody listens on this machine.
func freePorts() (ports, error) {
	var found []int
	for range portAttempts {
		port := lowestPort + rand.IntN(portRange)
		listener, err := net.Listen("tcp", ":"+strconv.Itoa(port))
		if err != nil {
			continue
		}
		defer listener.Close() // held, so that none is found twice
		if found = append(found, port); len(found) == 3 {
			return ports{client: found[0], agent: found[1], admin: found[2]}, nil
		}
	}
	return ports{}, errors.New("no free ports")
}

func local(port int) string { return "127.0.0.1:" + strconv.Itoa(port) }
