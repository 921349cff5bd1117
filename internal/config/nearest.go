package config

import "strconv"

// didYouMean suggests the known key that is nearest to a misspelt one, or nothing
// if none is near.
func didYouMean(key string, known []*option) string {
	if len(key) > 100 { // no real key is half as long; the comparison is quadratic
		return ""
	}
	best, distance := "", len(key)/3+1
	for _, o := range known {
		if d := editDistance(key, o.key); d < distance {
			best, distance = o.key, d
		}
	}
	if best == "" {
		return ""
	}
	return "did you mean " + best + "?"
}

// editDistance counts the insertions, deletions and replacements between a and b.
func editDistance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			replaced := diagonal
			if a[i] != b[j] {
				replaced++
			}
			diagonal = row[j+1]
			row[j+1] = min(replaced, row[j]+1, diagonal+1)
		}
	}
	return row[len(b)]
}

// shorten makes a key of unknown content fit for a message.
func shorten(key string) string {
	for _, r := range key {
		if r <= ' ' || r > '~' {
			return quote(key)
		}
	}
	if len(key) > 80 {
		return strconv.Quote(key[:80]) + "..."
	}
	return key
}
