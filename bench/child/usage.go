package child

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"
)

// tick is the kernel's unit of CPU time in /proc, the same on every Linux that Go runs on.
const tick = 10 * time.Millisecond

var errProc = errors.New("child: /proc cannot be understood")

// CPU is the processor time the child has used so far, user and system. It is exact
// to 10 ms.
func (c *Child) CPU() (time.Duration, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", c.PID()))
	if err != nil {
		return 0, fmt.Errorf("child: %w", err)
	}
	return parseCPU(stat)
}

// parseCPU reads fields 14 and 15 of proc(5) stat. The second field, the program's
// name in parentheses, may hold anything.
func parseCPU(stat []byte) (time.Duration, error) {
	end := bytes.LastIndexByte(stat, ')')
	if end < 0 {
		return 0, errProc
	}
	fields := bytes.Fields(stat[end+1:])
	const user, system = 14 - 3, 15 - 3
	if len(fields) <= system {
		return 0, errProc
	}
	u, errUser := strconv.ParseInt(string(fields[user]), 10, 64)
	s, errSystem := strconv.ParseInt(string(fields[system]), 10, 64)
	if errUser != nil || errSystem != nil {
		return 0, errProc
	}
	return time.Duration(u+s) * tick, nil
}

// Memory is what a process has in memory, in bytes.
type Memory struct {
	Resident, Peak int64
}

// Memory reads the child's resident memory.
func (c *Child) Memory() (Memory, error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", c.PID()))
	if err != nil {
		return Memory{}, fmt.Errorf("child: %w", err)
	}
	return parseMemory(status)
}

func parseMemory(status []byte) (m Memory, err error) {
	for line := range bytes.Lines(status) {
		name, value, _ := bytes.Cut(line, []byte{':'})
		switch string(name) {
		case "VmRSS":
			m.Resident, err = kilobytes(value)
		case "VmHWM":
			m.Peak, err = kilobytes(value)
		}
		if err != nil {
			return Memory{}, err
		}
	}
	if m.Resident == 0 {
		return Memory{}, errProc
	}
	return m, nil
}

func kilobytes(value []byte) (int64, error) {
	number, ok := bytes.CutSuffix(bytes.TrimSpace(value), []byte(" kB"))
	n, err := strconv.ParseInt(string(number), 10, 64)
	if !ok || err != nil {
		return 0, errProc
	}
	return n << 10, nil
}
