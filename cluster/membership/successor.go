package membership

import (
	"encoding/json"
	"fmt"
)

// Epoch is the epoch of a document as a Registry keeps it, 0 if it is none.
func Epoch(document []byte) uint64 {
	var form struct {
		Epoch uint64 `json:"epoch"`
	}
	if len(document) > maxDocument || json.Unmarshal(document, &form) != nil || form.Epoch > maxEpoch {
		return 0
	}
	return form.Epoch
}

// Succeed returns a document with the same members whose epoch exceeds its own, and
// above, by more than the views that somebody else may have seen meanwhile. A registry
// that moved to another place begins with it: what the former place said is over.
func Succeed(document []byte, above uint64) ([]byte, error) {
	form := map[string]json.RawMessage{} // a later version's properties stay as they are
	epoch := Epoch(document)
	if epoch == 0 || json.Unmarshal(document, &form) != nil {
		return nil, fmt.Errorf("%w: it has no epoch", ErrForeign)
	}
	form["epoch"] = json.RawMessage(fmt.Sprint(max(epoch, min(above, maxEpoch-rebuildStep)) + rebuildStep))
	next, err := json.Marshal(form)
	if err != nil {
		return nil, fmt.Errorf("membership: encode the view: %w", err)
	}
	return next, nil
}
