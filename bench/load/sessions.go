package load

import (
	"encoding/json"
	"fmt"
	"strings"
)

// Counts is how many sessions are in which state.
type Counts map[string]int

// Walk calls each for every session on every page.
func (c *Client) Walk(token string, each func(id, owner, state string)) error {
	for next := ""; ; {
		body, err := c.Do(Request("POST", "/describeSessions", token, fmt.Sprintf(`{"NextToken":%q}`, next)))
		if err != nil {
			return err
		}
		var page struct {
			Sessions []struct {
				ID    string `json:"Id"`
				Owner string
				State string
			}
			NextToken string
		}
		if err := json.Unmarshal(body, &page); err != nil {
			return fmt.Errorf("load: page: %w", err)
		}
		for _, s := range page.Sessions {
			each(s.ID, s.Owner, s.State)
		}
		if next = page.NextToken; next == "" {
			return nil
		}
	}
}

// Count counts the sessions by state.
func (c *Client) Count(token string) (Counts, error) {
	counts := Counts{}
	err := c.Walk(token, func(_, _, state string) { counts[state]++ })
	return counts, err
}

// Delete asks for the end of every session that is READY or in the making.
func (c *Client) Delete(token string) error {
	var items []string
	err := c.Walk(token, func(id, owner, state string) {
		if state != "DELETED" && state != "DELETING" {
			items = append(items, fmt.Sprintf(`{"SessionId":%q,"Owner":%q,"Force":true}`, id, owner))
		}
	})
	const batch = 100
	for len(items) > 0 && err == nil {
		n := min(batch, len(items))
		_, err = c.Do(Request("POST", "/deleteSessions", token, "["+strings.Join(items[:n], ",")+"]"))
		items = items[n:]
	}
	return err
}
