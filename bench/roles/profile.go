package roles

import (
	"fmt"
	"os"
	"runtime"
	"runtime/pprof"

	"opensessionmanager/bench/child"
)

// Runtime is what the Go runtime says of a process.
type Runtime struct {
	Goroutines int
	LiveHeap   uint64 // bytes, after a collection
	Stacks     uint64 // bytes
}

// profiling is what every role can be asked: profiles go to files.
func profiling() child.Commands {
	var open *os.File
	return child.Commands{
		"profile": child.Command(func(file string) (any, error) {
			f, err := os.Create(file)
			if err != nil {
				return nil, fmt.Errorf("roles: %w", err)
			}
			open = f
			return nil, pprof.StartCPUProfile(f)
		}),
		"profiled": child.Command(func(struct{}) (any, error) {
			pprof.StopCPUProfile()
			return nil, open.Close()
		}),
		"heap": child.Command(func(file string) (any, error) {
			runtime.GC()
			f, err := os.Create(file)
			if err != nil {
				return nil, fmt.Errorf("roles: %w", err)
			}
			return nil, firstError(pprof.Lookup("heap").WriteTo(f, 0), f.Close())
		}),
		"runtime": child.Command(func(struct{}) (any, error) {
			runtime.GC()
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			return Runtime{Goroutines: runtime.NumGoroutine(), LiveHeap: m.HeapAlloc, Stacks: m.StackInuse}, nil
		}),
	}
}
