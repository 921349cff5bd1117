package oauth_test

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"

	"opensessionmanager/persistence"
)

// F47: what a later version wrote into a client's record is still there after this one
// has changed it.
func TestClients_KeepWhatALaterVersionWrote(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	id, _, err := w.Clients().Register(t.Context(), "portal")
	require.NoError(t, err)
	key := persistence.Key{Kind: "api-client", ID: id}
	fields := func() (stored persistence.Record, fields map[string]any) {
		stored, err := w.store.Load(t.Context(), key)
		require.NoError(t, err)
		require.NoError(t, json.Unmarshal(stored.Data, &fields))
		return stored, fields
	}
	stored, before := fields()
	before["of_the_version_after"] = []any{"x", 1.0}
	data, err := json.Marshal(before)
	require.NoError(t, err)
	_, err = w.store.Save(t.Context(), persistence.Record{Key: key, Version: stored.Version, Data: data})
	require.NoError(t, err)

	require.NoError(t, w.Clients().Unregister(t.Context(), id))
	_, after := fields()
	all, err := w.Clients().Describe(t.Context())
	require.NoError(t, err)
	require.False(t, all[0].Active)
	before["active"] = false
	require.Equal(t, before, after)
}
