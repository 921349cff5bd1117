package persistence

import "context"

// WalkPage is the most records that Walk hands out at once.
const WalkPage = 500

// Walker is a Store that can walk over a kind at less cost than page by page. Rules are
// those of the function Walk.
type Walker interface {
	Walk(ctx context.Context, kind string, want func(id string) bool, each func([]Record) error) error
}

// Walk hands the records of a kind to each, in ascending byte order of ID and in pages
// of up to WalkPage. want is asked once for the ID of each record there is and says
// whether it is to be read; nil: all are. As with Scan a walk is not a snapshot, but
// what exists throughout is never skipped. The store waits while each runs, which may
// take its time between pages. It ends with the first error, also of each.
func Walk(ctx context.Context, s Store, kind string, want func(id string) bool, each func([]Record) error) error {
	if w, ok := s.(Walker); ok {
		return w.Walk(ctx, kind, want, each)
	}
	for after := ""; ; {
		page, err := s.Scan(ctx, kind, after, WalkPage)
		if err != nil {
			return err
		}
		var wanted []Record
		for _, r := range page {
			after = r.Key.ID
			if want == nil || want(after) {
				wanted = append(wanted, r)
			}
		}
		if len(wanted) > 0 {
			if err := each(wanted); err != nil {
				return err
			}
		}
		if len(page) < WalkPage {
			return nil
		}
	}
}
