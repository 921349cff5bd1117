package history

import (
	"cmp"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"time"

	"github.com/anishathalye/porcupine"
)

// Finding is one promise that was broken, or could not be checked.
type Finding struct {
	Check string
	Text  string
	// draw writes a picture of the history that shows it, if there is one.
	draw func(path string) error
}

func (f Finding) String() string { return f.Check + ": " + f.Text }

// Draw writes pictures of those findings that have one into a folder, as HTML.
func Draw(folder string, found []Finding) error {
	for i, f := range found {
		if f.draw == nil {
			continue
		}
		if err := f.draw(filepath.Join(folder, fmt.Sprintf("finding-%d.html", i+1))); err != nil {
			return fmt.Errorf("history: draw: %w", err)
		}
	}
	return nil
}

// Check holds a history against all promises. patience bounds the search for one
// partition; what is not decided by then is a finding, too.
func Check(h History, patience time.Duration) []Finding {
	c := &checker{h: h, patience: patience, ids: idsByName(h)}
	c.sessions()
	c.servers()
	c.permissions()
	c.doubled()
	c.refusedOnes()
	c.places()
	return c.found
}

type checker struct {
	h        History
	patience time.Duration
	ids      map[string]map[string]bool // name -> ids of sessions that were seen
	found    []Finding
}

func (c *checker) add(check, format string, args ...any) {
	c.found = append(c.found, Finding{Check: check, Text: fmt.Sprintf(format, args...)})
}

// idsByName finds the sessions of creates that were never answered.
func idsByName(h History) map[string]map[string]bool {
	ids := map[string]map[string]bool{}
	note := func(name, id string) {
		if name == "" || id == "" {
			return
		}
		if ids[name] == nil {
			ids[name] = map[string]bool{}
		}
		ids[name][id] = true
	}
	for _, op := range h.Operations {
		note(op.Name, op.Session)
		for id, sight := range op.Seen {
			note(sight.Name, id)
		}
	}
	for _, s := range h.Stays {
		note(s.Name, s.Session)
	}
	return ids
}

// creates are the operations that meant to make a session, by its id.
func (c *checker) creates() map[string][]Operation {
	made := map[string][]Operation{}
	for _, op := range c.h.Operations {
		if op.Kind != Create {
			continue
		}
		for id := range c.ids[op.Name] {
			if op.Session == "" || op.Session == id {
				made[id] = append(made[id], op)
			}
		}
	}
	return made
}

func (c *checker) sessions() {
	creates := c.creates()
	for _, id := range slices.Sorted(maps.Keys(creates)) {
		var line timeline
		rules := sessionRules{forgets: c.h.Forgets, withdrawn: true}
		for _, op := range creates[id] {
			rules.mayFail = rules.mayFail || op.MayFail
			if op.Outcome == Done {
				rules.withdrawn = false
			}
			if op.Outcome != Refused {
				line.write(op)
			}
		}
		for _, op := range c.h.Operations {
			switch {
			case op.Kind == Sessions && (op.IDs == nil || slices.Contains(op.IDs, id)):
				line.read(only(op, id))
			case op.Session != id:
			case op.Kind == Delete && op.Outcome != Refused && !op.Stray:
				line.write(op)
			case (op.Kind == Permit || op.Kind == Connect) && op.Outcome == Unknown:
			case op.Kind == Delete || op.Kind == Permit || op.Kind == Connect:
				line.read(op)
			}
		}
		c.check("session "+id, sessionModel(rules), line)
	}
}

// only is a describe as it concerns one session or server.
func only(op Operation, id string) Operation {
	sight, there := op.Seen[id]
	op.Session, op.Server, op.IDs, op.Seen = id, id, nil, nil
	if there {
		op.Seen = map[string]Sight{id: sight}
	}
	return op
}

func (c *checker) servers() {
	lines := map[string]*timeline{}
	for _, op := range c.h.Operations {
		if op.Kind == OpenServer || op.Kind == CloseServer {
			at(lines, op.Server).write(op)
		}
	}
	creates := c.creates()
	for _, stay := range c.h.Stays {
		made := creates[stay.Session]
		if len(made) == 0 {
			continue
		}
		landed := slices.MinFunc(made, func(a, b Operation) int { return cmp.Compare(a.Call, b.Call) })
		landed.Outcome, landed.Return, landed.Text = Done, max(stay.From, landed.Call), stay.Session
		at(lines, stay.Server).read(landed)
	}
	for server, line := range lines {
		for _, op := range c.h.Operations {
			if op.Kind == Servers && op.Outcome == Done && (op.IDs == nil || slices.Contains(op.IDs, server)) {
				line.read(only(op, server))
			}
		}
		c.check("server "+server, serverModel(), *line)
	}
}

func at(lines map[string]*timeline, key string) *timeline {
	if lines[key] == nil {
		lines[key] = &timeline{}
	}
	return lines[key]
}

func (c *checker) permissions() {
	lines := map[string]*timeline{}
	for _, op := range c.h.Operations {
		switch {
		case op.Kind == Peek:
			at(lines, op.Session).read(op)
		case op.Kind == Permit && op.Outcome == Done:
			at(lines, op.Session).read(op) // its effect is on the host when it is answered
		case op.Kind == Permit && op.Outcome == Unknown:
			at(lines, op.Session).write(op)
		}
	}
	for id, line := range lines {
		c.check("permissions of "+id, permissionsModel(), *line)
	}
}

func (c *checker) check(what string, model porcupine.Model, line timeline) {
	switch porcupine.CheckOperationsTimeout(model, line.steps, c.patience) {
	case porcupine.Ok:
	case porcupine.Unknown:
		c.add("not decided", "%s, with %d steps, within %v", what, len(line.steps), c.patience)
	default:
		c.found = append(c.found, Finding{Check: "not linearizable", Text: what + "\n" + story(line), draw: func(path string) error {
			_, info := porcupine.CheckOperationsVerbose(model, line.steps, c.patience)
			return porcupine.VisualizePath(model, info, path)
		}})
	}
}

// story tells a partition in words. Of equal reads in a row the first and the last are
// told.
func story(line timeline) string {
	steps := slices.DeleteFunc(slices.Clone(line.steps), func(s porcupine.Operation) bool { return s.Input.(step).settle })
	slices.SortFunc(steps, func(a, b porcupine.Operation) int { return cmp.Compare(a.Call, b.Call) })
	text, what := "", func(i int) string { return describe(steps[i].Input, nil) }
	for i, s := range steps {
		if i > 0 && i < len(steps)-1 && what(i) == what(i-1) && what(i) == what(i+1) {
			continue
		}
		end := "?"
		if s.Return < Never {
			end = fmt.Sprintf("%.4f", float64(s.Return)/2e9)
		}
		text += fmt.Sprintf("  %.4f to %s: client %d at broker %d: %s\n", float64(s.Call)/2e9, end, s.ClientId, s.Input.(step).op.Broker, what(i))
	}
	return text
}

// doubled: one request makes one session, one session runs on one host.
func (c *checker) doubled() {
	for name, ids := range c.ids {
		if len(ids) > 1 && slices.ContainsFunc(c.h.Operations, func(op Operation) bool { return op.Name == name }) {
			c.add("doubled", "create %s made %v", name, slices.Sorted(maps.Keys(ids)))
		}
	}
	if c.h.Doubles {
		return // of what is left of them in the end the driver takes care
	}
	bySession := map[string][]Stay{}
	for _, s := range c.h.Stays {
		for _, other := range bySession[s.Session] {
			if other.From < s.To && s.From < other.To {
				c.add("doubled", "session %s was on %s and %s at once", s.Session, other.Host, s.Host)
			}
		}
		bySession[s.Session] = append(bySession[s.Session], s)
	}
}

// refusedOnes: what was refused for good does not come to be.
func (c *checker) refusedOnes() {
	accepted := map[string]bool{}
	for _, op := range c.h.Operations {
		if op.Kind == Create && op.Outcome != Refused {
			accepted[op.Name] = true
		}
	}
	for _, op := range c.h.Operations {
		if op.Kind == Create && !accepted[op.Name] && len(c.ids[op.Name]) > 0 {
			c.add("refused", "create %s was refused with %s and made %v", op.Name, op.Code, slices.Sorted(maps.Keys(c.ids[op.Name])))
		}
	}
}

// places: no host ever had more sessions than it allows.
func (c *checker) places() {
	for host, limits := range c.h.Limits {
		var here []Stay
		for _, s := range c.h.Stays {
			if s.Host == host {
				here = append(here, s)
			}
		}
		for _, moment := range here {
			virtual, console, owned := 0, 0, 0
			for _, s := range here {
				switch {
				case s.From > moment.From || s.To <= moment.From:
				case s.Console:
					console++
				default:
					virtual++
					if s.Owner == moment.Owner && !moment.Console {
						owned++
					}
				}
			}
			c.exceeds(host, "virtual sessions", virtual, limits.Virtual)
			c.exceeds(host, "console sessions", console, limits.Console)
			c.exceeds(host, "virtual sessions of "+moment.Owner, owned, limits.PerUser)
		}
	}
}

func (c *checker) exceeds(host, what string, n, limit int) {
	if limit >= 0 && n > limit {
		c.add("overbooked", "host %s had %d %s, of %d", host, n, what, limit)
	}
}
