package ctl

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"opensessionmanager/internal/devhost"
	"opensessionmanager/internal/devhost/control"
)

// target says which running hosts a verb is for.
type target struct {
	dir  string
	host string
}

func (t *target) flags(cmd *cobra.Command, host string) {
	cmd.PersistentFlags().StringVar(&t.dir, "dir", "", "folder given to serve (required)")
	cmd.PersistentFlags().StringVar(&t.host, "host", host, "number of the host, or all")
	cobra.CheckErr(cmd.MarkPersistentFlagRequired("dir"))
}

// infos finds the hosts, in the order of their numbers.
func (t *target) infos() ([]devhost.Info, error) {
	folders := []string{filepath.Join(t.dir, "host-"+t.host)}
	if t.host == "all" {
		var err error
		if folders, err = filepath.Glob(filepath.Join(escaped(t.dir), "host-*")); err != nil {
			return nil, err
		}
		slices.SortFunc(folders, func(a, b string) int { return number(a) - number(b) })
	} else if n, err := strconv.Atoi(t.host); err != nil || n < 1 {
		return nil, fmt.Errorf("--host must be a number or all, not %q", t.host)
	}
	var infos []devhost.Info
	for _, folder := range folders {
		info, err := devhost.ReadInfo(folder)
		if err != nil {
			if t.host == "all" {
				continue // not running
			}
			return nil, fmt.Errorf("host %s does not run: %w", t.host, err)
		}
		infos = append(infos, info)
	}
	if len(infos) == 0 {
		return nil, fmt.Errorf("no host runs in %s", t.dir)
	}
	return infos, nil
}

// escaped keeps a folder's name from being a pattern.
func escaped(dir string) string {
	return strings.NewReplacer(`\`, `\\`, "*", `\*`, "?", `\?`, "[", `\[`).Replace(dir)
}

func number(folder string) int {
	n, err := strconv.Atoi(strings.TrimPrefix(filepath.Base(folder), "host-"))
	if err != nil {
		return 0
	}
	return n
}

// ask sends a request to every host of the target.
func (t *target) ask(ctx context.Context, r control.Request) ([]control.Answer, error) {
	infos, err := t.infos()
	if err != nil {
		return nil, err
	}
	answers := make([]control.Answer, len(infos))
	for i, info := range infos {
		if answers[i], err = control.Call(ctx, info.Socket, r); err != nil {
			return nil, fmt.Errorf("%s: %w", info.Name, err)
		}
		if answers[i].Error != "" {
			return nil, errors.New(info.Name + ": " + answers[i].Error)
		}
	}
	return answers, nil
}
