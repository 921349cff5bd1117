package consul

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"opensessionmanager/persistence"
)

// Records of a session's size against one server on this machine that syncs its log to
// disk, one save per call and in batches as persistence.Committer makes them. The
// custom metric is what to compare; only its ratio says anything about another machine.
func BenchmarkSave_OneByOne(b *testing.B) {
	s := open(b)
	var n int
	for b.Loop() {
		n++
		save(b, s, record(fmt.Sprint(n), 0, string(make([]byte, 700))))
	}
	b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "writes/s")
}

func BenchmarkSave_Parallel(b *testing.B) {
	s := open(b)
	b.SetParallelism(16)
	b.RunParallel(func(pb *testing.PB) {
		id := fmt.Sprint(prefixes.Add(1))
		var version int64
		for pb.Next() {
			version = save(b, s, record(id, version, string(make([]byte, 700))))
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "writes/s")
}

func BenchmarkApply(b *testing.B) {
	for _, size := range []int{63, 1024} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			s := open(b)
			ops := make([]persistence.Op, size)
			var n int
			for b.Loop() {
				for i := range ops {
					n++
					ops[i] = put(fmt.Sprint(n), 0, string(make([]byte, 700)))
				}
				for _, r := range s.Apply(b.Context(), ops) {
					require.NoError(b, r.Err)
				}
			}
			b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "writes/s")
		})
	}
}

func BenchmarkLoad(b *testing.B) {
	s := open(b)
	save(b, s, record("a", 0, string(make([]byte, 700))))
	for b.Loop() {
		_, err := s.Load(b.Context(), record("a", 0, "").Key)
		require.NoError(b, err)
	}
}

// A walk over 5,000 records in pages of a thousand.
func BenchmarkScan(b *testing.B) {
	const records = 5000
	s := open(b)
	ops := make([]persistence.Op, records)
	for i := range ops {
		ops[i] = put(fmt.Sprintf("%05d", i), 0, string(make([]byte, 700)))
	}
	for _, r := range s.Apply(b.Context(), ops) {
		require.NoError(b, r.Err)
	}
	for b.Loop() {
		var after string
		var found int
		for {
			page, err := s.Scan(b.Context(), "thing", after, 1000)
			require.NoError(b, err)
			if found += len(page); len(page) == 0 {
				break
			}
			after = page[len(page)-1].Key.ID
		}
		require.Equal(b, records, found)
	}
}

// What a broker of three reads of 100,000 sessions when the fleet changes: one list of
// keys, and its third of the records.
func BenchmarkWalk_AThird(b *testing.B) {
	const records = 100_000
	s := open(b)
	ops := make([]persistence.Op, 0, 1000)
	for i := range records {
		if ops = append(ops, put(fmt.Sprintf("%08x-0000-4000-8000-%012x", i, i), 0, string(make([]byte, 700)))); len(ops) == cap(ops) {
			for _, r := range s.Apply(b.Context(), ops) {
				require.NoError(b, r.Err)
			}
			ops = ops[:0]
		}
	}
	b.ResetTimer()
	for b.Loop() {
		n, read := 0, 0
		require.NoError(b, persistence.Walk(b.Context(), s, "thing", func(string) bool { n++; return n%3 == 0 },
			func(page []persistence.Record) error { read += len(page); return nil }))
		require.Equal(b, records/3, read)
	}
}
