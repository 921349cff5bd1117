package memory_test

import (
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"opensessionmanager/persistence"
	"opensessionmanager/persistence/memory"
	"opensessionmanager/persistence/persistencetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestMemoryKeepsTheContract(t *testing.T) {
	t.Parallel()
	persistencetest.Run(t, func(testing.TB) persistence.Store { return memory.New() })
}

func TestMemory_AVersionIsNeverUsedTwice(t *testing.T) {
	t.Parallel()
	s := memory.New()
	r := persistence.Record{Key: persistence.Key{Kind: "session", ID: "s-1"}}
	first, err := s.Save(t.Context(), r)
	require.NoError(t, err)
	require.NoError(t, s.Delete(t.Context(), r.Key, first))
	_, err = s.Save(t.Context(), r)
	require.NoError(t, err)

	r.Version = first
	_, err = s.Save(t.Context(), r)
	require.ErrorIs(t, err, persistence.ErrConflict, "a writer from before the delete must not overwrite the new record")
}
