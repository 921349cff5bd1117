//go:build !windows

package main

import "context"

// asService runs the program as it is: service managers of Unix systems want
// nothing but a process that ends on SIGTERM.
func asService(run func(context.Context) error) func(context.Context) error { return run }
