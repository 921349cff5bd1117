package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"opensessionmanager/agent"
)

// A full disk: what cannot be made durable is refused, reads go on, a balancer is told,
// nothing that was answered is lost, and room cures it without a restart (F17).
func TestDiskFull_WritesAreRefusedAndReadsGoOn(t *testing.T) {
	t.Parallel()
	b := newBroker(t)
	work := filepath.Join(b.dir, "work")
	require.NoError(t, os.Mkdir(work, 0o700))
	if err := syscall.Mount("tmpfs", work, "tmpfs", 0, "size=40m,mode=0700"); err != nil {
		t.Skipf("only root may mount a small disk: %v", err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(work, syscall.MNT_DETACH) })
	b.start()
	b.api = b.newClient("portal")
	b.statementFile = filepath.Join(b.dir, "statement")
	require.NoError(t, os.WriteFile(b.statementFile, []byte(b.newStatement()), 0o600))
	b.simulate("host", agent.Limits{MaxVirtual: -1, MaxPerUser: -1, MaxConsole: 1})
	b.api.awaitServer("host", "AVAILABLE", "")
	var ids []string
	ids = append(ids, b.api.created(virtual("alice")))
	b.api.awaitState(ids[0], "READY")

	filler := fill(t, work)
	await(t, "a broker that refuses and says so", func() error { // pages that are free already are used up first
		a, err := b.api.try(http.MethodPost, "/createSessions", list{virtual("bob")})
		require.NoError(t, err)
		if a.status == http.StatusOK {
			var out results
			require.NoError(t, json.Unmarshal(a.body, &out))
			require.Len(t, out.SuccessfulList, 1, "%s", a.body)
			ids = append(ids, out.SuccessfulList[0].ID)
			return errors.New("accepted")
		}
		require.Equal(t, http.StatusServiceUnavailable, a.status, "%s", a.body)
		require.Equal(t, "STORE_UNAVAILABLE", a.header.Get("X-Error-Code"))
		require.NotEmpty(t, a.header.Get("Retry-After"))
		if b.healthy() == nil { // a smaller record may still have found room
			return errors.New("refused, yet healthy")
		}
		return nil
	})
	b.api.awaitState(ids[0], "READY")

	require.NoError(t, os.Remove(filler))
	await(t, "a broker that is well again", b.healthy)
	ids = append(ids, b.api.created(virtual("carol")))
	b.proc.kill()
	b.start()
	for _, id := range ids {
		b.api.awaitState(id, "READY")
	}
}

// fill writes until the disk is full.
func fill(t *testing.T, folder string) (file string) {
	t.Helper()
	file = filepath.Join(folder, "filler")
	f, err := os.Create(file)
	require.NoError(t, err)
	defer f.Close()
	for size := 1 << 20; size > 0; {
		if _, err := f.Write(make([]byte, size)); err != nil {
			size /= 2
			require.ErrorIs(t, err, syscall.ENOSPC, fmt.Sprint(size))
		}
	}
	return file
}
