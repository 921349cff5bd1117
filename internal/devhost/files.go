package devhost

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"opensessionmanager/internal/devhost/dcvcmd"
)

const (
	infoFile   = "host.json"
	socketFile = "control.sock"
	// maxSocketPath is what fits into a unix socket address on every system.
	maxSocketPath = 100
	maxInfo       = 64 << 10 // bytes
)

func (h *Host) makeDir() error {
	if err := os.MkdirAll(h.cfg.Dir, 0o700); err != nil {
		return fmt.Errorf("devhost: folder: %w", err)
	}
	if err := os.MkdirAll(h.initLogDir(), 0o700); err != nil {
		return fmt.Errorf("devhost: folder: %w", err)
	}
	return nil
}

// listenControl opens the control socket, which only the owner of the process can
// reach. A path too long for a socket is replaced by a short one in a private
// temporary folder; host.json says which.
func (h *Host) listenControl() (string, error) {
	if running, err := ReadInfo(h.cfg.Dir); err == nil && answers(running.Socket) {
		return "", fmt.Errorf("devhost: %s is already served by process %d", h.cfg.Dir, running.PID)
	}
	path := filepath.Join(h.cfg.Dir, socketFile)
	if len(path) > maxSocketPath {
		dir, err := os.MkdirTemp("", "dcvdev")
		if err != nil {
			return "", fmt.Errorf("devhost: control socket: %w", err)
		}
		path = filepath.Join(dir, socketFile)
	} else if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return "", fmt.Errorf("devhost: control socket: %w", err)
	}
	listener, err := net.Listen("unix", path)
	if err != nil {
		return "", fmt.Errorf("devhost: control socket: %w", err)
	}
	h.control = listener
	if err := os.Chmod(path, 0o600); err != nil {
		return "", fmt.Errorf("devhost: control socket: %w", err)
	}
	return path, nil
}

func answers(socket string) bool {
	conn, err := net.DialTimeout("unix", socket, time.Second)
	if err != nil {
		return false
	}
	_ = conn.Close() // it has told what it could
	return true
}

// publish writes the `dcv` command and, last, host.json: who sees that file may
// use the host.
func (h *Host) publish() error {
	if err := replaceFile(h.info.DCV, []byte(wrapper(h.info.Name, h.cfg.Command, h.info.Socket)), 0o700); err != nil {
		return err
	}
	info, err := json.MarshalIndent(h.info, "", "  ")
	if err != nil {
		return fmt.Errorf("devhost: encode %s: %w", infoFile, err)
	}
	return replaceFile(filepath.Join(h.cfg.Dir, infoFile), append(info, '\n'), 0o600)
}

func (h *Host) unpublish() error {
	err := os.Remove(filepath.Join(h.cfg.Dir, infoFile))
	if errors.Is(err, os.ErrNotExist) {
		err = nil
	}
	if socket := h.info.Socket; socket != "" && filepath.Dir(socket) != h.cfg.Dir {
		err = errors.Join(err, os.RemoveAll(filepath.Dir(socket)))
	}
	return err
}

// wrapper is the text of the `dcv` command: a script, since the file must know
// both a program and a host.
func wrapper(name string, command []string, socket string) string {
	words := append(append([]string{}, command...), dcvcmd.Argument, socket)
	for i, w := range words {
		words[i] = "'" + strings.ReplaceAll(w, "'", `'\''`) + "'"
	}
	comment := strings.Map(func(r rune) rune {
		if r < ' ' {
			return ' '
		}
		return r
	}, name)
	return "#!/bin/sh\n# Generated: the dcv command of stand-in host " + comment + ".\nexec " + strings.Join(words, " ") + " \"$@\"\n"
}

// replaceFile writes a file in one step: readers see the old one or the new one.
func replaceFile(path string, data []byte, mode os.FileMode) error {
	temporary, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return fmt.Errorf("devhost: write %s: %w", path, err)
	}
	_, err = temporary.Write(data)
	err = errors.Join(err, temporary.Chmod(mode), temporary.Sync(), temporary.Close())
	if err == nil {
		err = os.Rename(temporary.Name(), path)
	}
	if err != nil {
		return fmt.Errorf("devhost: write %s: %w", path, errors.Join(err, os.Remove(temporary.Name())))
	}
	return nil
}

// ReadInfo reads the host.json of a host's folder. It exists while the host runs,
// and after a crash.
func ReadInfo(dir string) (Info, error) {
	var info Info
	data, err := readBounded(filepath.Join(dir, infoFile), maxInfo)
	if err != nil {
		return info, err
	}
	if err := json.Unmarshal(data, &info); err != nil {
		return Info{}, fmt.Errorf("devhost: %s: %w", infoFile, err)
	}
	return info, nil
}

func readBounded(path string, limit int64) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("devhost: %w", err)
	}
	defer file.Close()
	data, err := io.ReadAll(io.LimitReader(file, limit+1))
	if err != nil {
		return nil, fmt.Errorf("devhost: %w", err)
	}
	if int64(len(data)) > limit {
		return nil, fmt.Errorf("devhost: %s is larger than %d bytes", path, limit)
	}
	return data, nil
}

// AwaitInfo waits until a host's folder says that the host runs.
func AwaitInfo(ctx context.Context, dir string) (Info, error) {
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	for {
		info, err := ReadInfo(dir)
		if err == nil && answers(info.Socket) {
			return info, nil
		}
		select {
		case <-ctx.Done():
			return Info{}, fmt.Errorf("devhost: no host in %s: %w", dir, ctx.Err())
		case <-ticker.C:
		}
	}
}
