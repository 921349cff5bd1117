package identity

import (
	"encoding/base64"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestOpen_KeepsTheMachineID(t *testing.T) {
	t.Parallel()
	folder := filepath.Join(t.TempDir(), "data")
	first, err := Open(folder, "boot-1")
	require.NoError(t, err)
	require.Regexp(t, "^[0-9a-f]{32}$", first.MachineID())
	info, err := os.Stat(filepath.Join(folder, fileName))
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
	second, err := Open(folder, "boot-2")
	require.NoError(t, err)
	require.Equal(t, first.MachineID(), second.MachineID())
	require.NotEqual(t, first.InstanceID(), second.InstanceID())
	require.Equal(t, "boot-2", second.BootID())
	require.NoError(t, second.Renew())
	require.NotEqual(t, first.MachineID(), second.MachineID())
	third, err := Open(folder, "boot-2")
	require.NoError(t, err)
	require.Equal(t, second.MachineID(), third.MachineID(), "the new identity is kept")
	entries, err := os.ReadDir(folder)
	require.NoError(t, err)
	require.Len(t, entries, 1, "no temporary file stays")
}

func TestOpen_DamagedFileIsAnError(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(folder, fileName), []byte("half"), 0o600))
	_, err := Open(folder, "b")
	require.ErrorContains(t, err, "32 hex digits")
}

// Contract section 1.2: a new id when host name or address change.
func TestServerID_HasTheVendorsForm(t *testing.T) {
	t.Parallel()
	id := InMemory("", "b")
	plain, err := base64.StdEncoding.DecodeString(ServerID("ip-10-0-0-1", "10.0.0.1", id.MachineID()))
	require.NoError(t, err)
	require.Equal(t, "ip-10-0-0-1-10.0.0.1-"+id.MachineID(), string(plain))
	require.Equal(t, "x", InMemory("x", "b").MachineID())
}
