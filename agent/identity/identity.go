// Package identity knows who this host is: a machine id that lasts, a boot id that
// changes when the host starts, an instance id that changes when the agent starts.
package identity

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"

	"opensessionmanager/agent/securefile"
)

const fileName = "machine-id"

var machineID = regexp.MustCompile(`^[0-9a-f]{32}$`)

// Identity is safe for concurrent use.
type Identity struct {
	bootID     string
	instanceID string
	path       string // "" keeps the machine id in memory only

	mu      sync.Mutex
	machine string
}

// Open reads the machine id kept in folder, or makes one and keeps it. A damaged
// file is an error rather than a reason for a new identity, since the broker
// would take the host for another one.
func Open(folder, bootID string) (*Identity, error) {
	id := &Identity{bootID: bootID, instanceID: random(), path: filepath.Join(folder, fileName)}
	content, err := os.ReadFile(id.path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return id, id.Renew()
	case err != nil:
		return nil, fmt.Errorf("identity: read machine id: %w", err)
	}
	id.machine = strings.TrimSpace(string(content))
	if !machineID.MatchString(id.machine) {
		return nil, fmt.Errorf("identity: %s does not hold 32 hex digits; remove it to get a new identity", id.path)
	}
	return id, nil
}

// InMemory returns an identity that is not kept: for simulated hosts. An empty
// machine id means a random one.
func InMemory(machine, bootID string) *Identity {
	if machine == "" {
		machine = random()
	}
	return &Identity{machine: machine, bootID: bootID, instanceID: random()}
}

// MachineID returns 32 hex digits.
func (id *Identity) MachineID() string {
	id.mu.Lock()
	defer id.mu.Unlock()
	return id.machine
}

// BootID returns what Open was given.
func (id *Identity) BootID() string { return id.bootID }

// InstanceID returns the id of this process's agent.
func (id *Identity) InstanceID() string { return id.instanceID }

// Renew replaces the machine id, keeping the new one before it is used: the agent
// does so when a living agent has the same identity (expectation F13).
func (id *Identity) Renew() error {
	fresh := random()
	if id.path != "" {
		if err := securefile.Write(id.path, []byte(fresh+"\n")); err != nil {
			return fmt.Errorf("identity: keep machine id: %w", err)
		}
	}
	id.mu.Lock()
	defer id.mu.Unlock()
	id.machine = fresh
	return nil
}

// ServerID returns base64 of "<hostname>-<ip>-<machine id>" (contract section
// 1.2): a host that changes its name or address becomes another server.
func ServerID(hostname, ip, machine string) string {
	return base64.StdEncoding.EncodeToString([]byte(hostname + "-" + ip + "-" + machine))
}

func random() string {
	var raw [16]byte
	_, _ = rand.Read(raw[:]) // never fails: crypto/rand ends the process first
	return hex.EncodeToString(raw[:])
}
