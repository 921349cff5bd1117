package e2e

import (
	"encoding/json"
	"net/http"
)

// object and list write JSON by hand.
type (
	object map[string]any
	list   []any
)

// What stories look at in answers; the rest is for the description to check.
type (
	session struct {
		ID               string `json:"Id"`
		Name             string
		Owner            string
		Type             string
		State            string
		Substate         string
		StateReason      string
		NumOfConnections int64
		Server           *server
	}
	server struct {
		ID                   string `json:"Id"`
		IP                   string `json:"Ip"`
		Port                 string
		WebURLPath           string `json:"WebUrlPath"`
		Availability         string
		UnavailabilityReason string
		ConsoleSessionCount  int
		VirtualSessionCount  int
		Tags                 []struct{ Key, Value string }
	}
	describedSessions struct {
		Sessions  []session
		NextToken string
	}
	describedServers struct{ Servers []server }
	failure          struct {
		SessionID     string `json:"SessionId"`
		FailureReason string
		FailureCode   string
	}
	// success is a session, or of deletions and permissions its id alone.
	success struct {
		session
		SessionID string `json:"SessionId"`
	}
	results struct {
		SuccessfulList   []success
		UnsuccessfulList []failure
	}
	serverResults struct {
		SuccessfulList   []struct{ ServerId string }
		UnsuccessfulList []failure
	}
	connectionData struct {
		Session         session
		ConnectionToken string
	}
	shots struct {
		SuccessfulList []struct {
			SessionScreenshot struct {
				SessionID string `json:"SessionId"`
				Images    []struct {
					Format  string
					Data    []byte
					Primary bool
				}
			}
		}
		UnsuccessfulList []failure
	}
)

func (s server) tag(key string) string {
	for _, t := range s.Tags {
		if t.Key == key {
			return t.Value
		}
	}
	return ""
}

// virtual is the request for a session, with more members if given.
func virtual(owner string, more ...object) object {
	return console(owner, append([]object{{"Type": "VIRTUAL"}}, more...)...)
}

func console(owner string, more ...object) object {
	request := object{"Name": "desktop of " + owner, "Owner": owner, "Type": "CONSOLE"}
	for _, m := range more {
		for k, v := range m {
			request[k] = v
		}
	}
	return request
}

// create asks for sessions.
func (c *client) create(items ...object) results {
	c.t.Helper()
	return call[results](c, http.MethodPost, "/createSessions", items)
}

// created asks for one session that must be accepted, and returns its id.
func (c *client) created(item object) string {
	c.t.Helper()
	r := c.create(item)
	if len(r.SuccessfulList) != 1 {
		c.t.Fatalf("the session was not accepted: %+v", r)
	}
	return r.SuccessfulList[0].ID
}

// refusal asks for one session that must be refused, and returns the reason.
func (c *client) refusal(item object) string {
	c.t.Helper()
	r := c.create(item)
	if len(r.UnsuccessfulList) != 1 {
		c.t.Fatalf("the session was accepted: %+v", r)
	}
	return r.UnsuccessfulList[0].FailureReason
}

// delete asks for the end of one session.
func (c *client) delete(id, owner string, force bool) results {
	c.t.Helper()
	return call[results](c, http.MethodPost, "/deleteSessions", list{object{"SessionId": id, "Owner": owner, "Force": force}})
}

// countAccepted is how many items of a request succeeded.
func countAccepted(a answer) int {
	var out results
	if json.Unmarshal(a.body, &out) != nil {
		return 0
	}
	return len(out.SuccessfulList)
}
