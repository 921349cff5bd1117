package fake_test

import (
	"bytes"
	"context"
	"image/jpeg"
	"image/png"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"opensessionmanager/agent/driver"
	"opensessionmanager/agent/driver/fake"
	"opensessionmanager/messages"
)

func create(t *testing.T, d *fake.Driver, id string) error {
	return d.Create(t.Context(), &messages.CreateSessionRequest{SessionId: id, Owner: "alice", Type: "virtual"})
}

func TestFake_KeepsSessions(t *testing.T) {
	t.Parallel()
	d := fake.New(nil)
	require.NoError(t, create(t, d, "s-2"))
	require.NoError(t, create(t, d, "s-1"))
	require.ErrorIs(t, create(t, d, "s-1"), driver.ErrExists)
	sessions, err := d.List(t.Context())
	require.NoError(t, err)
	require.Equal(t, "s-1", sessions[0].GetId())
	require.NoError(t, d.SetPermissions(t.Context(), "s-1", []byte("x")))
	require.Equal(t, "x", string(d.Permissions("s-1")))
	require.ErrorIs(t, d.SetPermissions(t.Context(), "s-9", nil), driver.ErrNotFound)
	require.NoError(t, d.Close(t.Context(), "s-1"))
	require.ErrorIs(t, d.Close(t.Context(), "s-1"), driver.ErrNotFound)
	require.Equal(t, 1, d.Count())
	d.Reset()
	require.Zero(t, d.Count())
	require.Nil(t, d.Permissions("s-1"))
}

func TestFake_TakesRealPictures(t *testing.T) {
	t.Parallel()
	d := fake.New(nil)
	d.Put(&messages.DcvSession{Id: "s-1"})
	shots, err := d.Screenshot(t.Context(), driver.Shot{SessionID: "s-1", MaxWidth: 4, Format: "png"})
	require.NoError(t, err)
	picture, err := png.Decode(bytes.NewReader(shots[0].GetData()))
	require.NoError(t, err)
	require.Equal(t, 4, picture.Bounds().Dx())
	shots, err = d.Screenshot(t.Context(), driver.Shot{SessionID: "s-1", Format: "jpeg"})
	require.NoError(t, err)
	_, err = jpeg.Decode(bytes.NewReader(shots[0].GetData()))
	require.NoError(t, err)
	_, err = d.Screenshot(t.Context(), driver.Shot{SessionID: "s-1", Format: "gif"})
	require.ErrorIs(t, err, driver.ErrUnsupported)
}

func TestFake_FailsOnDemand(t *testing.T) {
	t.Parallel()
	d := fake.New(nil)
	d.SetFaults(fake.Faults{NotRunning: 1})
	require.ErrorIs(t, create(t, d, "s-1"), driver.ErrNotRunning)
	require.NoError(t, create(t, d, "s-1"))
	d.SetFaults(fake.Faults{FailCreates: 1})
	require.ErrorIs(t, create(t, d, "s-2"), driver.ErrBadFile)
	require.NoError(t, create(t, d, "s-2"))
	d.SetFaults(fake.Faults{LateStart: true})
	require.ErrorIs(t, create(t, d, "s-3"), driver.ErrTimeout)
	require.Equal(t, 3, d.Count())
	d.SetFaults(fake.Faults{Unhealthy: true})
	_, err := d.List(t.Context())
	require.ErrorIs(t, err, driver.ErrNotRunning)
	d.SetFaults(fake.Faults{})
	require.True(t, d.Vanish("s-1"))
	require.False(t, d.Vanish("s-1"))

	ended, cancel := context.WithCancel(t.Context())
	cancel()
	d.SetFaults(fake.Faults{Stall: true})
	_, err = d.Describe(ended, "s-2")
	require.ErrorIs(t, err, driver.ErrTimeout)
	d.SetFaults(fake.Faults{StartDelay: time.Nanosecond})
	require.NoError(t, create(t, d, "s-4"))
	require.Equal(t, 6, d.Creates())
}
