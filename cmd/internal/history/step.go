package history

import (
	"strings"

	"github.com/anishathalye/porcupine"
)

// step is one moment of an operation, the unit that the models take.
type step struct {
	op Operation
	// settle is the second moment of an acknowledged write: from now on nobody sees what
	// was before.
	settle bool
	// id tells steps of one partition apart.
	id int
}

// timeline turns operations into what porcupine checks. Its times are doubled, so that
// the settling of a write stands between its answer and whatever follows.
type timeline struct{ steps []porcupine.Operation }

func (l *timeline) write(op Operation) {
	id := len(l.steps)
	if op.Outcome == Unknown {
		l.add(op, step{op: op, id: id}, 2*op.Call, Never)
		return
	}
	l.add(op, step{op: op, id: id}, 2*op.Call, 2*op.Return)
	if op.Outcome == Done {
		l.add(op, step{op: op, settle: true, id: id}, 2*op.Return+1, 2*op.Return+1)
	}
}

func (l *timeline) read(op Operation) {
	l.add(op, step{op: op, id: len(l.steps)}, 2*op.Call, 2*op.Return)
}

func (l *timeline) add(op Operation, s step, call, end int64) {
	l.steps = append(l.steps, porcupine.Operation{ClientId: op.Client, Input: s, Call: call, Return: end})
}

func describe(input, _ any) string {
	s := input.(step)
	words := []string{string(s.op.Kind)}
	if s.settle {
		return words[0] + " acknowledged"
	}
	for _, word := range []string{s.op.Text, string(s.op.Outcome), s.op.Code} {
		if word != "" {
			words = append(words, strings.TrimSpace(word))
		}
	}
	for _, sight := range s.op.Seen {
		words = append(words, sight.State, sight.Reason)
	}
	if (s.op.Kind == Sessions || s.op.Kind == Servers) && len(s.op.Seen) == 0 {
		words = append(words, "absent")
	}
	if s.op.Stray {
		words = append(words, "(not the owner)")
	}
	return strings.TrimSpace(strings.Join(words, " "))
}
