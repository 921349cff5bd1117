package replicated

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"opensessionmanager/persistence"
	"opensessionmanager/persistence/embedded"
)

func entry(id string, version int64, gone bool) persistence.Op {
	return persistence.Op{Record: persistence.Record{Key: persistence.Key{Kind: "k", ID: id}, Version: version}, Delete: gone}
}

// A mark that is old enough to be forgotten is passed on only where it decides.
func TestCompare_OldMarksAreNotSpread(t *testing.T) {
	t.Parallel()
	s, err := Open(t.Context(), Config{Permit: func() error { return nil }})
	require.NoError(t, err)
	defer func() { require.NoError(t, s.Close()) }()
	s.SetRole(Role{Self: "a", Leader: "a", Term: 1})
	require.NoError(t, s.Ready(t.Context()))
	young := s.horizon() + 1<<40
	for _, op := range []persistence.Op{
		entry("1-old-mark-here", 5, true), entry("2-young-mark-here", young, true),
		entry("3-deleted-here", 9, true), entry("4-deleted-there", 5, false),
	} {
		require.NoError(t, s.copy.take(t.Context(), nil, []persistence.Op{op}))
	}
	a := s.compare("b", request{Term: 1, After: key{"k", "0"}, Changes: allToWire([]persistence.Op{
		entry("3-deleted-here", 5, false), entry("4-deleted-there", 9, true),
		entry("5-old-mark-there", 5, true), entry("6-young-mark-there", young, true),
	})})
	require.Equal(t, allToWire([]persistence.Op{entry("2-young-mark-here", young, true), entry("3-deleted-here", 9, true)}), a.Changes)
	require.ElementsMatch(t, []key{{"k", "4-deleted-there"}, {"k", "6-young-mark-there"}}, a.Want)
}

// slow is a disk that lets something happen while it keeps a change.
type slow struct {
	*embedded.Store
	meanwhile func()
}

func (d *slow) Keep(ctx context.Context, changes []persistence.Op) error {
	if d.meanwhile != nil {
		d.meanwhile()
	}
	return d.Store.Keep(ctx, changes)
}

// What is made again while its mark is forgotten stays, in memory and on the disk.
func TestPrune_LeavesWhatIsMadeAgain(t *testing.T) {
	t.Parallel()
	disk, err := embedded.Open(t.TempDir())
	require.NoError(t, err)
	d := &slow{Store: disk}
	c := newCopied(Config{Disk: d}.withDefaults())
	defer func() { require.NoError(t, c.close(t.Context())) }()
	require.NoError(t, c.take(t.Context(), nil, []persistence.Op{entry("x", 5, true), entry("y", 5, true)}))
	pruned := make(chan error, 1)
	d.meanwhile = func() {
		go func() { pruned <- c.prune(context.Background(), 7) }()
	}
	require.NoError(t, c.take(t.Context(), nil, []persistence.Op{entry("x", 9, false)}))
	require.NoError(t, <-pruned)
	var kept []persistence.Op
	require.NoError(t, d.Kept(t.Context(), func(op persistence.Op) { kept = append(kept, op) }))
	require.Len(t, kept, 1)
	require.Equal(t, int64(9), kept[0].Record.Version)
	found, ok := c.get(entry("x", 0, false).Record.Key)
	require.True(t, ok)
	require.Equal(t, int64(9), found.Record.Version)
}

// However changes come, the disk has what is in memory.
func TestCopied_TheDiskHasWhatIsInMemory(t *testing.T) {
	t.Parallel()
	disk, err := embedded.Open(t.TempDir())
	require.NoError(t, err)
	c := newCopied(Config{Disk: disk}.withDefaults())
	defer func() { require.NoError(t, c.close(t.Context())) }()
	rapid.Check(t, func(r *rapid.T) {
		require.NoError(r, c.clear(context.Background()))
		for range rapid.IntRange(1, 5).Draw(r, "batches") {
			var batch []persistence.Op
			for range rapid.IntRange(1, 3).Draw(r, "changes") {
				batch = append(batch, entry(rapid.SampledFrom([]string{"x", "y", "z"}).Draw(r, "id"),
					rapid.Int64Range(1, 20).Draw(r, "version"), rapid.Bool().Draw(r, "gone")))
			}
			require.NoError(r, c.take(context.Background(), nil, batch))
		}
		n := 0
		require.NoError(r, disk.Kept(context.Background(), func(op persistence.Op) {
			n++
			found, _ := c.get(op.Record.Key)
			require.Equal(r, found.Record.Version, op.Record.Version)
			require.Equal(r, found.Delete, op.Delete)
		}))
		require.Equal(r, c.entries.Len(), n)
	})
}
