package embedded

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	bolt "go.etcd.io/bbolt"
	"go.uber.org/goleak"

	"opensessionmanager/persistence"
	"opensessionmanager/persistence/persistencetest"
)

// TestMain also plays the other process of the tests that need one.
func TestMain(m *testing.M) {
	if role := os.Getenv(roleVariable); role != "" {
		os.Exit(playRole(role))
	}
	goleak.VerifyTestMain(m)
}

func open(t testing.TB, folder string) *Store {
	t.Helper()
	s, err := Open(folder)
	require.NoError(t, err)
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func thing(id string, version int64, data string) persistence.Record {
	return persistence.Record{Key: persistence.Key{Kind: "thing", ID: id}, Version: version, Data: []byte(data)}
}

func TestEmbeddedKeepsTheContract(t *testing.T) {
	t.Parallel()
	persistencetest.Run(t, func(t testing.TB) persistence.Store { return open(t, t.TempDir()) })
}

func TestOpen_FindsWhatWasSavedBefore(t *testing.T) {
	t.Parallel()
	folder := filepath.Join(t.TempDir(), "made", "on", "demand")
	s := open(t, folder)
	version, err := s.Save(t.Context(), thing("a", 0, "kept"))
	require.NoError(t, err)
	require.NoError(t, s.Close())

	found, err := open(t, folder).Load(t.Context(), thing("a", 0, "").Key)
	require.NoError(t, err)
	require.Equal(t, thing("a", version, "kept"), found)
}

func TestOpen_NobodyElseMayReadTheFile(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	path := filepath.Join(folder, FileName)
	mode := func() os.FileMode {
		info, err := os.Stat(path)
		require.NoError(t, err)
		return info.Mode().Perm()
	}
	require.NoError(t, open(t, folder).Close())
	require.Equal(t, os.FileMode(0o600), mode())

	require.NoError(t, os.Chmod(path, 0o644), "as a careless copy may")
	require.NoError(t, open(t, folder).Close())
	require.Equal(t, os.FileMode(0o600), mode())
}

func TestOpen_RefusesAnotherSchema(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	s := open(t, folder)
	require.NoError(t, s.db.Update(func(tx *bolt.Tx) error {
		return tx.Bucket(metaBucket).Put(schemaKey, []byte("7"))
	}))
	require.NoError(t, s.Close())
	before, err := os.ReadFile(filepath.Join(folder, FileName))
	require.NoError(t, err)

	for range 2 { // a refusal leaves no lock behind
		_, err = Open(folder)
		require.ErrorIs(t, err, ErrSchema)
		require.ErrorContains(t, err, `"7"`)
	}
	after, err := os.ReadFile(filepath.Join(folder, FileName))
	require.NoError(t, err)
	require.Equal(t, before, after, "the file must not be changed")
}

func TestOpen_RefusesAFileOfSomebodyElse(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	db, err := bolt.Open(filepath.Join(folder, FileName), 0o600, nil)
	require.NoError(t, err)
	require.NoError(t, db.Update(func(tx *bolt.Tx) error {
		_, err := tx.CreateBucket([]byte("theirs"))
		return err
	}))
	require.NoError(t, db.Close())
	_, err = Open(folder)
	require.ErrorIs(t, err, ErrDamaged)
}

// A file that is cut off or partly overwritten must end in an error, at Open or at
// the call that meets the damage, and never take the process down.
func TestADamagedFileIsAnErrorNotACrash(t *testing.T) {
	t.Parallel()
	whole := fileOfRecords(t, 2000)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	sizes := []int{1, 100, 4096, 8191, 8192, 12288, 16384, len(whole) / 2, len(whole) - 4096}
	for range 20 {
		sizes = append(sizes, random.IntN(len(whole)))
	}
	for _, size := range sizes {
		requireNoCrash(t, fmt.Sprintf("cut off at %d of %d", size, len(whole)), whole[:size])
	}
	for range 40 {
		wrong := append([]byte(nil), whole...)
		from := random.IntN(len(wrong))
		fill := byte(random.IntN(2) * 0xff)
		for i := from; i < min(from+4096, len(wrong)); i++ {
			wrong[i] = fill
		}
		requireNoCrash(t, fmt.Sprintf("4096 times %#x at %d of %d", fill, from, len(wrong)), wrong)
	}
}

func fileOfRecords(t *testing.T, n int) []byte {
	folder := t.TempDir()
	s := open(t, folder)
	ops := make([]persistence.Op, n)
	for i := range ops {
		ops[i].Record = thing(fmt.Sprintf("%08d", i), 0, "some data, some data, some data, some data, some data")
	}
	for _, r := range s.Apply(t.Context(), ops) {
		require.NoError(t, r.Err)
	}
	require.NoError(t, s.Close())
	whole, err := os.ReadFile(filepath.Join(folder, FileName))
	require.NoError(t, err)
	return whole
}

func requireNoCrash(t *testing.T, what string, content []byte) {
	folder := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(folder, FileName), content, 0o600))
	s, err := Open(folder)
	if err != nil {
		require.ErrorIs(t, err, ErrDamaged, what)
		return
	}
	if _, err := s.Scan(t.Context(), "thing", "", 5000); err != nil {
		require.ErrorIs(t, err, persistence.ErrUnavailable, what)
	}
	for _, r := range s.Apply(t.Context(), []persistence.Op{{Record: thing("new", 0, "x")}}) {
		if r.Err != nil && !errors.Is(r.Err, persistence.ErrUnavailable) && !errors.Is(r.Err, persistence.ErrUncertain) {
			t.Errorf("%s: save: %v", what, r.Err)
		}
	}
	_ = s.Close()
}

// After a delete the sequence goes on, so a writer that slept through it is fenced.
func TestAVersionIsNeverUsedTwice(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	s := open(t, folder)
	first, err := s.Save(t.Context(), thing("a", 0, "one"))
	require.NoError(t, err)
	require.NoError(t, s.Delete(t.Context(), thing("a", 0, "").Key, first))
	require.NoError(t, s.Close())

	s = open(t, folder)
	_, err = s.Save(t.Context(), thing("a", 0, "again"))
	require.NoError(t, err)
	_, err = s.Save(t.Context(), thing("a", first, "stale"))
	require.ErrorIs(t, err, persistence.ErrConflict)
}

func TestABatchWithNothingToWriteDoesNotTouchTheDisk(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	s := open(t, folder)
	_, err := s.Save(t.Context(), thing("a", 0, "one"))
	require.NoError(t, err)
	before, err := os.ReadFile(filepath.Join(folder, FileName))
	require.NoError(t, err)

	_, err = s.Save(t.Context(), thing("a", 0, "refused"))
	require.ErrorIs(t, err, persistence.ErrConflict)
	after, err := os.ReadFile(filepath.Join(folder, FileName))
	require.NoError(t, err)
	require.Equal(t, before, after)
}

// A sync that fails after the meta page was written leaves the outcome open, and
// the store refuses further writes while reads go on.
func TestAFailedSyncIsUncertainAndStopsWriting(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir())
	version, err := s.Save(t.Context(), thing("a", 0, "one"))
	require.NoError(t, err)
	var current int
	require.NoError(t, s.db.View(func(tx *bolt.Tx) error { current = tx.ID(); return nil }))

	failure := errors.New("write failed")
	require.ErrorIs(t, s.judge(failure, current+1), persistence.ErrUnavailable, "the meta page was not written")
	_, err = s.Save(t.Context(), thing("b", 0, "two"))
	require.NoError(t, err)

	require.ErrorIs(t, s.judge(failure, current+1), persistence.ErrUncertain, "the meta page was written")
	_, err = s.Save(t.Context(), thing("a", version, "three"))
	require.ErrorIs(t, err, persistence.ErrUnavailable)
	found, err := s.Load(t.Context(), thing("a", 0, "").Key)
	require.NoError(t, err)
	require.Equal(t, "one", string(found.Data))
}
