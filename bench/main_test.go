package main

import (
	"encoding/json"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"opensessionmanager/bench/child"
	"opensessionmanager/bench/report"
	"opensessionmanager/bench/roles"
	"opensessionmanager/persistence/consul/consultest"
)

// TestMain lets this test program be the children of the run that it tests.
func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == child.Flag {
		end(roles.Run(os.Args[2], os.Stdin, os.Stdout, os.Stderr))
		return
	}
	os.Exit(m.Run())
}

// A run in miniature: every role is played, and each scenario gives its rows.
func TestRun_InMiniature(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a dozen processes")
	}
	t.Parallel()
	var out, progress strings.Builder
	err := run(t.Context(), []string{"-json", "-scenario", "describe,engine,create", "-sessions", "50", "-agents", "20",
		"-engine-servers", "20", "-rounds", "1", "-round", "50ms"}, &out, &progress)
	require.NoError(t, err, progress.String())
	var r report.Report
	require.NoError(t, json.Unmarshal([]byte(out.String()), &r))
	var scenarios []string
	for _, row := range r.Rows {
		if row.Unit == "/s" { // so short a round may use no CPU that the kernel counts
			require.Positive(t, row.Measured, "%s, %s", row.Scenario, row.Measure)
		}
		if n := len(scenarios); n == 0 || scenarios[n-1] != row.Scenario {
			scenarios = append(scenarios, row.Scenario)
		}
	}
	require.Equal(t, []string{"describeSessions, 50 sessions", "placements in the engine, 20 servers",
		"createSessions, 20 agents, 10 in a request", "createSessions, 20 agents, 50 in a request"}, scenarios)
	require.Contains(t, progress.String(), "seed ")
}

// A fleet in miniature, with a real Consul: brokers meet, are asked, and one is killed.
func TestRun_AFleetInMiniature(t *testing.T) {
	if testing.Short() {
		t.Skip("starts Consul and a dozen processes")
	}
	t.Parallel()
	consultest.Require(t)
	var out, progress strings.Builder
	err := run(t.Context(), []string{"-json", "-scenario", "fleet", "-fleet-sessions", "50", "-fleet-agents", "10",
		"-engine-servers", "20", "-rounds", "1", "-round", "100ms"}, &out, &progress)
	require.NoError(t, err, progress.String())
	var r report.Report
	require.NoError(t, json.Unmarshal([]byte(out.String()), &r))
	for _, row := range r.Rows {
		if row.Unit == "/s" || row.Unit == "s" {
			require.Positive(t, row.Measured, "%s, %s", row.Scenario, row.Measure)
		}
	}
	require.Contains(t, out.String(), "first write to every session")
}

func TestParse_RefusesWhatItCannotDo(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{{"-scenario", "nothing"}, {"-sessions", "0"}, {"-sessions", "many"}, {"-rounds", "0"}, {"-round", "0"}, {"more"}} {
		_, err := parse(args, io.Discard)
		require.Error(t, err, "%v", args)
	}
	o, err := parse([]string{"-scenario", "create,describe", "-seed", "7"}, io.Discard)
	require.NoError(t, err)
	require.Equal(t, []string{"create", "describe"}, o.scenarios)
	require.EqualValues(t, 7, o.seed)
}
