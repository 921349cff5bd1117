package rest

import (
	"slices"
	"strings"

	"opensessionmanager/actors/requirements"
	"opensessionmanager/actors/roster"
	"opensessionmanager/messages"
)

// maxResults is the default and the bound of a page (contract section 1.3).
const maxResults = 1000

// describeSessions answers from the newest snapshot: no lock, no actor. Ids that
// do not exist are simply absent.
func (s *Server) describeSessions(c *call, in *describeSessionsRequest) error {
	limit, err := pageSize(in.MaxResults)
	if err != nil {
		return err
	}
	query, err := sessionQuery(in.Filters)
	if err != nil {
		return err
	}
	snapshot, refusal := s.cfg.Fleet.Snapshot()
	if refusal != nil {
		return refuse(refusal)
	}
	c.beginAnswer()
	c.out = append(appendName(c.out, "Sessions"), '[')
	if len(in.SessionIDs) > 0 {
		return s.describeSessionsByID(c, in, snapshot, query, limit)
	}
	query.Limit = limit
	return s.listSessions(c, in, snapshot, query)
}

func (s *Server) listSessions(c *call, in *describeSessionsRequest, snapshot *roster.Snapshot, query roster.SessionQuery) error {
	sum := sumQuery(opDescribeSessions, nil, filterList(in.Filters))
	if in.NextToken != "" {
		cursor, err := s.pages.open(in.NextToken, sum)
		if err != nil {
			return err
		}
		if query.After, err = parseSessionCursor(cursor); err != nil {
			return err
		}
	}
	page := snapshot.Sessions(query)
	for i, session := range page.Sessions {
		start := len(c.out)
		c.out = append(appendSession(c.out, snapshot, session), ',')
		c.makeRoom(start, i, len(page.Sessions))
	}
	c.out = append(closeArray(c.out), ',')
	if page.More {
		s.appendNextToken(c, sum, sessionCursorBytes(page.Next))
	}
	c.endAnswer()
	return nil
}

func (s *Server) describeSessionsByID(c *call, in *describeSessionsRequest, snapshot *roster.Snapshot, query roster.SessionQuery, limit int) error {
	ids, rest, err := s.idPage(opDescribeSessions, in.SessionIDs, in.Filters, in.NextToken, limit)
	if err != nil {
		return err
	}
	for i, id := range ids {
		start := len(c.out)
		if session, ok := snapshot.Session(id); ok && selected(snapshot, session, &query) {
			c.out = append(appendSession(c.out, snapshot, session), ',')
		}
		c.makeRoom(start, i, len(ids))
	}
	c.out = append(closeArray(c.out), ',')
	if rest.more {
		s.appendNextToken(c, rest.sum, rest.cursor)
	}
	c.endAnswer()
	return nil
}

// sessionQuery reads the filters: values of one key are alternatives, and every
// key must be met.
func sessionQuery(filters []keyValuePair) (roster.SessionQuery, error) {
	var query roster.SessionQuery
	for _, f := range filters {
		tag, isTag := strings.CutPrefix(f.Key, "tag:")
		switch {
		case f.Key == "owner":
			query.Owners = append(query.Owners, f.Value)
		case isTag && tag != "":
			if query.Tags == nil {
				query.Tags = make(map[string][]string)
			}
			query.Tags[tag] = append(query.Tags[tag], f.Value)
		default:
			return query, invalid(`Unknown filter "` + shorten(f.Key, 100) + `": filters are owner and tag:<key>`)
		}
	}
	return query, nil
}

// selected applies filters to a session that was asked for by id.
func selected(snapshot *roster.Snapshot, session *roster.Session, query *roster.SessionQuery) bool {
	if len(query.Owners) > 0 && !slices.Contains(query.Owners, session.View.GetOwner()) {
		return false
	}
	if len(query.Tags) == 0 {
		return true
	}
	var facts *messages.ServerFacts
	if server, ok := snapshot.Server(session.View.GetServerId()); ok {
		facts = server.View.GetFacts()
	}
	for key, values := range query.Tags {
		if value, ok := requirements.TagValue(facts, key); !ok || !slices.Contains(values, value) {
			return false
		}
	}
	return true
}

func pageSize(asked *int64) (int, error) {
	if asked == nil {
		return maxResults, nil
	}
	if *asked < 1 || *asked > maxResults {
		return 0, invalid("MaxResults must be between 1 and 1000")
	}
	return int(*asked), nil
}

// makeRoom grows the answer once, after the first of n items, instead of many
// times: the others are about as long as the first.
func (c *call) makeRoom(start, i, n int) {
	if i == 0 && n > 1 {
		size := len(c.out) - start
		c.out = slices.Grow(c.out, (size+size/8)*(n-1)+512)
	}
}

// beginAnswer and endAnswer write the braces and the RequestId of every answer
// that has one.
func (c *call) beginAnswer() {
	c.out = append(c.out, `{"RequestId":"`...)
	c.out = append(c.out, c.requestID...)
	c.out = append(c.out, '"', ',')
}

func (c *call) endAnswer() { c.out = closeObject(c.out) }
