package child

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestParseCPU_AProgramMayHaveAnyName(t *testing.T) {
	t.Parallel()
	got, err := parseCPU([]byte("42 (a) b (c) S 1 42 42 0 -1 4194304 100 0 0 0 250 50 0 0 20 0 9 0 100 0 0"))
	require.NoError(t, err)
	require.Equal(t, 3*time.Second, got)

	for _, broken := range []string{"", "42 (a S 1", "42 (a) S 1 2 3", "42 (a) S 1 42 42 0 -1 4194304 100 0 0 0 x 50 0"} {
		_, err := parseCPU([]byte(broken))
		require.ErrorIs(t, err, errProc, "%q", broken)
	}
}

func TestParseMemory_ReadsResidentAndPeak(t *testing.T) {
	t.Parallel()
	got, err := parseMemory([]byte("Name:\tbench\nVmHWM:\t    2048 kB\nVmRSS:\t    1024 kB\nThreads:\t9\n"))
	require.NoError(t, err)
	require.Equal(t, Memory{Resident: 1 << 20, Peak: 2 << 20}, got)

	for _, broken := range []string{"", "VmRSS:\t12\n", "VmRSS:\tx kB\n"} {
		_, err := parseMemory([]byte(broken))
		require.ErrorIs(t, err, errProc, "%q", broken)
	}
}

func TestServe_AnswersEachCommandInTurn(t *testing.T) {
	t.Parallel()
	in := strings.NewReader(`{"Command":"double","Input":21}{"Command":"fail","Input":null}{"Command":"unknown","Input":null}`)
	var out bytes.Buffer
	require.NoError(t, Serve(in, &out, Commands{
		"double": Command(func(n int) (any, error) { return 2 * n, nil }),
		"fail":   func(json.RawMessage) (any, error) { return nil, errors.New("no") },
	}))
	require.Equal(t, `{"Output":42}
{"Error":"no","Output":null}
{"Error":"no such command","Output":null}
`, out.String())
}
