package report

import (
	"encoding/json"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestPercentile_IsTheNearestRank(t *testing.T) {
	t.Parallel()
	samples := []int{50, 15, 40, 20, 35}
	for p, want := range map[float64]int{0: 15, 5: 15, 20: 15, 30: 20, 40: 20, 50: 35, 99: 50, 100: 50} {
		require.Equal(t, want, Percentile(samples, p), "percentile %v", p)
	}
	require.Zero(t, Percentile([]int{}, 50))
}

func TestPercentile_AtLeastThatManyDoNotExceedIt(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		samples := rapid.SliceOfN(rapid.IntRange(-100, 100), 1, 200).Draw(t, "samples")
		p := rapid.Float64Range(0, 100).Draw(t, "p")
		got := Percentile(slices.Clone(samples), p)
		below, within := 0, 0
		for _, s := range samples {
			if s < got {
				below++
			}
			if s <= got {
				within++
			}
		}
		need := p / 100 * float64(len(samples))
		require.GreaterOrEqual(t, float64(within), need)
		require.True(t, float64(below) < need || below == 0, "a smaller one would do")
	})
}

func TestMedian_LeavesTheValuesAlone(t *testing.T) {
	t.Parallel()
	values := []float64{9, 1, 5, 3}
	require.Equal(t, 4.0, Median(values))
	require.Equal(t, []float64{9, 1, 5, 3}, values)
	require.Equal(t, 5.0, Median(values[:3]))
	require.True(t, math.IsNaN(Median(nil)))
}

// A machine that is slow for one round must not show in the ratio.
func TestPairs_ASlowRoundCancelsOut(t *testing.T) {
	t.Parallel()
	var p Pairs
	p.Add(90, 100)
	p.Add(9, 10)  // both slowed down
	p.Add(10, 90) // only one of both
	p.Add(91, 100)
	p.Add(5, 0) // a round without a baseline counts for nothing
	require.InDelta(t, 0.9, p.Ratio(), 0.011)
}

func TestRow_BudgetsBoundFromEitherSide(t *testing.T) {
	t.Parallel()
	require.True(t, Row{Ratio: 0.8, Budget: 0.8, AtLeast: true}.Kept())
	require.False(t, Row{Ratio: 0.79, Budget: 0.8, AtLeast: true}.Kept())
	require.True(t, Row{Ratio: 1.2, Budget: 1.2}.Kept())
	require.False(t, Row{Ratio: 1.21, Budget: 1.2}.Kept())
	require.True(t, Row{Ratio: 99}.Kept(), "no budget")
}

func TestReport_SaysWhatWasMissedInBothForms(t *testing.T) {
	t.Parallel()
	r := New(7)
	r.AddPairs(Row{Scenario: "describe", Measure: "by id", Unit: "req/s", Of: "bare", Budget: 0.8, AtLeast: true},
		Pairs{Measured: []float64{80, 70}, Baseline: []float64{100, 100}})
	r.Add(Row{Scenario: "memory", Measure: "odd", Ratio: math.NaN()})
	r.Note("remark %d", 1)
	require.False(t, r.Kept())

	var table, text strings.Builder
	require.NoError(t, r.WriteTable(&table))
	require.Contains(t, table.String(), "0.75")
	require.Contains(t, table.String(), "MISSED")
	require.Contains(t, table.String(), "remark 1")
	require.NoError(t, r.WriteJSON(&text))
	var back Report
	require.NoError(t, json.Unmarshal([]byte(text.String()), &back))
	require.Equal(t, r.Rows, back.Rows)
}
