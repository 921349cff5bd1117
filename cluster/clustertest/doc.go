// Package clustertest tests brokers that are one fleet. Here they run in one process,
// over a registry and a store in memory, wired as in production; the stories about
// processes that die are in cmd/internal/e2e.
//
// The actor library races with itself where one process holds several brokers, so
// these tests are left out with the race detector.
package clustertest
