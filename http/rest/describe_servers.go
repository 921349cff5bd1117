package rest

import (
	"encoding/binary"

	"opensessionmanager/actors/roster"
)

// describeServers answers from the newest snapshot, in order of host name and id.
func (s *Server) describeServers(c *call, in *describeServersRequest) error {
	limit, err := pageSize(in.MaxResults)
	if err != nil {
		return err
	}
	snapshot, refusal := s.cfg.Fleet.Snapshot()
	if refusal != nil {
		return refuse(refusal)
	}
	c.beginAnswer()
	c.out = append(appendName(c.out, "Servers"), '[')
	if len(in.ServerIDs) > 0 {
		return s.describeServersByID(c, in, snapshot, limit)
	}
	return s.listServers(c, in, snapshot, limit)
}

func (s *Server) listServers(c *call, in *describeServersRequest, snapshot *roster.Snapshot, limit int) error {
	var after roster.ServerCursor
	sum := sumQuery(opDescribeServers)
	if in.NextToken != "" {
		cursor, err := s.pages.open(in.NextToken, sum)
		if err != nil {
			return err
		}
		if after, err = parseServerCursor(cursor); err != nil {
			return err
		}
	}
	page := snapshot.Servers(after, limit)
	for i, server := range page.Servers {
		start := len(c.out)
		c.out = append(appendServer(c.out, server), ',')
		c.makeRoom(start, i, len(page.Servers))
	}
	c.out = append(closeArray(c.out), ',')
	if page.More {
		s.appendNextToken(c, sum, serverCursorBytes(page.Next))
	}
	c.endAnswer()
	return nil
}

func (s *Server) describeServersByID(c *call, in *describeServersRequest, snapshot *roster.Snapshot, limit int) error {
	ids, rest, err := s.idPage(opDescribeServers, in.ServerIDs, nil, in.NextToken, limit)
	if err != nil {
		return err
	}
	for i, id := range ids {
		start := len(c.out)
		if server, ok := snapshot.Server(id); ok {
			c.out = append(appendServer(c.out, server), ',')
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

// idsLeft is what remains of a list of ids after a page.
type idsLeft struct {
	more   bool
	sum    querySum
	cursor []byte
}

// idPage is the part of a list of ids that one page looks at. The list is part of
// the query a token is bound to, so a position in it is a safe cursor.
func (s *Server) idPage(op opName, ids []string, filters []keyValuePair, token string, limit int) ([]string, idsLeft, error) {
	var left idsLeft
	ids = withoutRepeats(ids)
	if token == "" && len(ids) <= limit {
		return ids, left, nil
	}
	left.sum = sumQuery(op, ids, filterList(filters))
	from := uint64(0)
	if token != "" {
		cursor, err := s.pages.open(token, left.sum)
		if err != nil {
			return nil, left, err
		}
		position, n := binary.Uvarint(cursor)
		if n <= 0 || position > uint64(len(ids)) {
			return nil, left, invalid("NextToken is not valid for this request")
		}
		from = position
	}
	to := min(int(from)+limit, len(ids))
	left.more = to < len(ids)
	left.cursor = binary.AppendUvarint(nil, uint64(to))
	return ids[from:to], left, nil
}

// withoutRepeats drops ids that were already asked for, in place.
func withoutRepeats(ids []string) []string {
	if len(ids) < 2 {
		return ids
	}
	seen := make(map[string]struct{}, len(ids))
	kept := ids[:0]
	for _, id := range ids {
		if _, again := seen[id]; !again {
			seen[id] = struct{}{}
			kept = append(kept, id)
		}
	}
	return kept
}

func (s *Server) appendNextToken(c *call, sum querySum, cursor []byte) {
	c.out = append(appendName(c.out, "NextToken"), '"')
	c.out = append(s.pages.append(c.out, sum, cursor), '"', ',')
}
