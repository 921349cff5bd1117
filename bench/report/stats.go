// Package report turns measurements into ratios, and ratios into a table.
package report

import (
	"cmp"
	"math"
	"slices"
)

// Percentile is the smallest sample that at least p percent of all samples do not
// exceed (nearest rank); zero without samples. It sorts the samples.
func Percentile[T cmp.Ordered](samples []T, p float64) T {
	var zero T
	if len(samples) == 0 {
		return zero
	}
	slices.Sort(samples)
	rank := int(math.Ceil(p / 100 * float64(len(samples))))
	return samples[min(max(rank, 1), len(samples))-1]
}

// Median is the middle of the values, or the mean of the two in the middle; NaN
// without values. The values stay as they are.
func Median(values []float64) float64 {
	if len(values) == 0 {
		return math.NaN()
	}
	sorted := slices.Sorted(slices.Values(values))
	middle := len(sorted) / 2
	if len(sorted)%2 == 1 {
		return sorted[middle]
	}
	return (sorted[middle-1] + sorted[middle]) / 2
}

// Pairs are rounds of a measurement and its baseline, one after the other, so that
// what slows the machine down for a while slows both.
type Pairs struct {
	Measured, Baseline []float64
}

// Add notes one round of both.
func (p *Pairs) Add(measured, baseline float64) {
	p.Measured, p.Baseline = append(p.Measured, measured), append(p.Baseline, baseline)
}

// Ratio is the median of the rounds' ratios; NaN without a round whose baseline is
// positive.
func (p *Pairs) Ratio() float64 {
	var ratios []float64
	for i := range min(len(p.Measured), len(p.Baseline)) {
		if p.Baseline[i] > 0 {
			ratios = append(ratios, p.Measured[i]/p.Baseline[i])
		}
	}
	return Median(ratios)
}
