package report

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"runtime"
	"text/tabwriter"
	"time"
)

// Row is one measure of a scenario beside what it is compared with.
type Row struct {
	Scenario string
	Measure  string
	// Measured and Baseline are in Unit; Of says what the baseline is, "" if there is none.
	Measured float64
	Baseline float64
	Unit     string
	Of       string
	Ratio    float64
	// Budget bounds Ratio: from below with AtLeast, else from above; 0 = no budget.
	Budget  float64
	AtLeast bool
}

// Kept says whether the row is within its budget. A row without one is.
func (r Row) Kept() bool {
	switch {
	case r.Budget == 0:
		return true
	case r.AtLeast:
		return r.Ratio >= r.Budget
	default:
		return r.Ratio <= r.Budget
	}
}

// Report is the outcome of one run.
type Report struct {
	Began time.Time
	Seed  uint64
	CPUs  int
	Rows  []Row
	Notes []string
}

// New begins a report.
func New(seed uint64) *Report {
	return &Report{Began: time.Now(), Seed: seed, CPUs: runtime.NumCPU()}
}

// Add appends a row. A ratio that could not be computed becomes 0, which JSON can say.
func (r *Report) Add(row Row) {
	if math.IsNaN(row.Ratio) || math.IsInf(row.Ratio, 0) {
		row.Ratio = 0
	}
	r.Rows = append(r.Rows, row)
}

// AddPairs appends a row made of rounds: medians, and the median of the ratios.
func (r *Report) AddPairs(row Row, pairs Pairs) {
	row.Measured, row.Baseline, row.Ratio = Median(pairs.Measured), Median(pairs.Baseline), pairs.Ratio()
	r.Add(row)
}

// Note adds a remark below the table.
func (r *Report) Note(format string, args ...any) {
	r.Notes = append(r.Notes, fmt.Sprintf(format, args...))
}

// Kept says whether every budget was kept.
func (r *Report) Kept() bool {
	for _, row := range r.Rows {
		if !row.Kept() {
			return false
		}
	}
	return true
}

// WriteJSON writes the report as one JSON object.
func (r *Report) WriteJSON(w io.Writer) error {
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	return encoder.Encode(r)
}

// WriteTable writes the report for people.
func (r *Report) WriteTable(w io.Writer) error {
	fmt.Fprintf(w, "%s, %d CPUs, seed %d, took %s\n\n", r.Began.UTC().Format("2006-01-02"), r.CPUs, r.Seed,
		time.Since(r.Began).Round(time.Second))
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	scenario := ""
	for _, row := range r.Rows {
		if row.Scenario != scenario {
			scenario = row.Scenario
			fmt.Fprintf(table, "%s\tmeasured\tbaseline\t\tratio\tbudget\t\n", scenario)
		}
		baseline, ratio := figure(row.Baseline), figure(row.Ratio)
		if row.Of == "" {
			baseline, ratio = "", ""
		}
		fmt.Fprintf(table, "  %s\t%s %s\t%s\t%s\t%s\t%s\t%s\n", row.Measure, figure(row.Measured), row.Unit,
			baseline, row.Of, ratio, row.bound(), row.verdict())
	}
	if err := table.Flush(); err != nil {
		return err
	}
	for _, note := range r.Notes {
		fmt.Fprintf(w, "\n%s\n", note)
	}
	return nil
}

func (r Row) bound() string {
	switch {
	case r.Budget == 0:
		return ""
	case r.AtLeast:
		return ">= " + figure(r.Budget)
	default:
		return "<= " + figure(r.Budget)
	}
}

func (r Row) verdict() string {
	switch {
	case r.Budget == 0:
		return ""
	case r.Kept():
		return "kept"
	default:
		return "MISSED"
	}
}

// figure has three significant digits, and no exponent.
func figure(v float64) string {
	switch a := math.Abs(v); {
	case math.IsNaN(v):
		return "-"
	case a >= 100:
		return fmt.Sprintf("%.0f", v)
	case a >= 10:
		return fmt.Sprintf("%.1f", v)
	default:
		return fmt.Sprintf("%.2f", v)
	}
}
