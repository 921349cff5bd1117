package embedded

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"opensessionmanager/persistence"
)

// The other processes of these tests are this test binary in a role.
const (
	roleVariable   = "EMBEDDED_TEST_ROLE"
	folderVariable = "EMBEDDED_TEST_FOLDER"
	seedVariable   = "EMBEDDED_TEST_SEED"
)

func playRole(role string) int {
	folder := os.Getenv(folderVariable)
	play := map[string]func(folder string) error{
		"open": func(folder string) error { _, err := Open(folder); return err },
		"fill": fillTheDisk,
		"count": func(folder string) error {
			seed, err := strconv.ParseUint(os.Getenv(seedVariable), 10, 64)
			if err != nil {
				return err
			}
			return countForEver(folder, seed)
		},
	}[role]
	if err := play(folder); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func process(t *testing.T, role, folder string, seed uint64) *exec.Cmd {
	self, err := os.Executable()
	require.NoError(t, err)
	c := exec.CommandContext(t.Context(), self)
	c.Env = append(os.Environ(), roleVariable+"="+role, folderVariable+"="+folder, fmt.Sprint(seedVariable, "=", seed))
	return c
}

func TestOpen_ASecondProcessIsToldAtOnce(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	s := open(t, folder)
	output, err := process(t, "open", folder, 0).CombinedOutput()
	require.Error(t, err)
	require.Contains(t, string(output), ErrInUse.Error())

	require.NoError(t, s.Close())
	output, err = process(t, "open", folder, 0).CombinedOutput()
	require.NoError(t, err, "once the first is gone: %s", output)
}

// F17: on a full disk writes are refused cleanly, reads go on, and writing works
// again when there is room. The full disk is a limit on the file's size.
func TestAFullDiskRefusesWritesUntilThereIsRoom(t *testing.T) {
	t.Parallel()
	output, err := process(t, "fill", t.TempDir(), 0).CombinedOutput()
	require.NoError(t, err, "%s", output)
}

func fillTheDisk(folder string) error {
	s, err := Open(folder)
	if err != nil {
		return err
	}
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &limit); err != nil {
		return err
	}
	full := limit
	full.Cur = 2 << 20
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &full); err != nil {
		return err
	}
	c := &checker{store: s}
	n := 0
	for ; c.save(thing(fmt.Sprint(n), 0, string(make([]byte, 100<<10)))) == nil; n++ {
		if n > 100 {
			return fmt.Errorf("the disk was never full")
		}
	}
	for range 3 {
		c.requireUnavailable(c.save(thing(fmt.Sprint(n), 0, string(make([]byte, 100<<10)))))
	}
	for i := range n {
		c.requireLoad(fmt.Sprint(i))
	}
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &limit); err != nil {
		return err
	}
	c.require(c.save(thing(fmt.Sprint(n), 0, "there is room")))
	c.require(s.Close())
	s, err = Open(folder)
	if err != nil {
		return err
	}
	c.store = s
	for i := range n + 1 {
		c.requireLoad(fmt.Sprint(i))
	}
	return c.err
}

// Kill -9 at random moments: whatever was acknowledged is there afterwards, whole,
// and at most the one write under way of each writer is ahead of it. This is the
// store's part of the promise that an accepted answer is kept. (It shows nothing
// about a power failure, where the disk's own honesty matters.)
func TestWhatWasAcknowledgedSurvivesKillMinus9(t *testing.T) {
	t.Parallel()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	rounds := 25
	if testing.Short() {
		rounds = 5
	}
	folder := t.TempDir()
	acknowledged := map[string]ack{}
	for round := range rounds {
		countAndKill(t, folder, random, acknowledged)
		requireAcknowledged(t, folder, round, acknowledged)
	}
	require.Len(t, acknowledged, countingWriters, "every writer was heard")
}

type ack struct{ value, version int64 }

const countingWriters = 6

func countAndKill(t *testing.T, folder string, random *rand.Rand, acknowledged map[string]ack) {
	child := process(t, "count", folder, random.Uint64())
	var complaints bytes.Buffer
	child.Stderr = &complaints
	output, err := child.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, child.Start())
	lines := bufio.NewScanner(output)
	for left := random.IntN(150); lines.Scan(); left-- {
		var id string
		var a ack
		_, err := fmt.Sscan(lines.Text(), &id, &a.value, &a.version)
		require.NoError(t, err, "line %q", lines.Text())
		acknowledged[id] = a
		if left == 0 {
			require.NoError(t, child.Process.Kill()) // then read what was still acknowledged
		}
	}
	_ = child.Wait()
	require.Empty(t, complaints.String())
}

func requireAcknowledged(t *testing.T, folder string, round int, acknowledged map[string]ack) {
	s := open(t, folder)
	for id, a := range acknowledged {
		r, err := s.Load(t.Context(), thing(id, 0, "").Key)
		require.NoError(t, err, "round %d: %s", round, id)
		value, err := decodeCount(r.Data)
		require.NoError(t, err, "round %d: %s", round, id)
		require.GreaterOrEqual(t, value, a.value, "round %d: %s lost an acknowledged write", round, id)
		require.LessOrEqual(t, value, a.value+1, "round %d: %s has writes that nobody made", round, id)
		require.GreaterOrEqual(t, r.Version, a.version, "round %d: %s", round, id)
	}
	require.NoError(t, s.Close())
}

// countForEver runs one writer per counter and prints each acknowledged value with
// a write of its own, so that no more than one per writer can get lost on the way.
func countForEver(folder string, seed uint64) error {
	s, err := Open(folder)
	if err != nil {
		return err
	}
	errs := make(chan error)
	var printing sync.Mutex
	for w := range countingWriters {
		go func() {
			errs <- count(s, fmt.Sprint("counter-", w), rand.New(rand.NewPCG(seed, uint64(w))), func(line string) error {
				printing.Lock()
				defer printing.Unlock()
				_, err := io.WriteString(os.Stdout, line)
				return err
			})
		}()
	}
	return <-errs
}

func count(s *Store, id string, random *rand.Rand, print func(string) error) error {
	c := &checker{store: s}
	r, err := c.load(id)
	if err != nil && err != persistence.ErrNotFound {
		return err
	}
	var value int64
	if err == nil {
		if value, err = decodeCount(r.Data); err != nil {
			return err
		}
	}
	r = thing(id, r.Version, "")
	for {
		value++
		size := random.IntN(2000)
		if random.IntN(20) == 0 {
			size = random.IntN(200_000) // moves pages about and makes the file grow
		}
		r.Data = encodeCount(value, size)
		if r.Version, err = c.saveVersion(r); err != nil {
			return err
		}
		if err := print(fmt.Sprintln(id, value, r.Version)); err != nil {
			return err
		}
	}
}

// encodeCount fills a record of the given size so that decodeCount notices a torn one.
func encodeCount(value int64, size int) []byte {
	data := binary.BigEndian.AppendUint64(nil, uint64(value))
	for i := range size {
		data = append(data, byte(int(value)+i))
	}
	return binary.BigEndian.AppendUint32(data, crc32.ChecksumIEEE(data))
}

func decodeCount(data []byte) (int64, error) {
	if len(data) < 12 {
		return 0, fmt.Errorf("record of %d bytes", len(data))
	}
	body, sum := data[:len(data)-4], binary.BigEndian.Uint32(data[len(data)-4:])
	if crc32.ChecksumIEEE(body) != sum {
		return 0, fmt.Errorf("torn record of %d bytes", len(data))
	}
	return int64(binary.BigEndian.Uint64(body)), nil
}
