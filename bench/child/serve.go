package child

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// Commands are what a role can be asked.
type Commands map[string]func(json.RawMessage) (any, error)

// Command makes a command of a function with a typed input.
func Command[In any](do func(In) (any, error)) func(json.RawMessage) (any, error) {
	return func(raw json.RawMessage) (any, error) {
		var in In
		if err := json.Unmarshal(raw, &in); err != nil {
			return nil, fmt.Errorf("child: input: %w", err)
		}
		return do(in)
	}
}

// Serve answers commands from in until it ends.
func Serve(in io.Reader, out io.Writer, commands Commands) error {
	decoder, encoder := json.NewDecoder(in), json.NewEncoder(out)
	for {
		var q question
		err := decoder.Decode(&q)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("child: %w", err)
		}
		if err := encoder.Encode(run(commands, q)); err != nil {
			return fmt.Errorf("child: %w", err)
		}
	}
}

func run(commands Commands, q question) answer {
	do, ok := commands[q.Command]
	if !ok {
		return answer{Error: "no such command"}
	}
	result, err := do(q.Input)
	if err != nil {
		return answer{Error: err.Error()}
	}
	output, err := json.Marshal(result)
	if err != nil {
		return answer{Error: err.Error()}
	}
	return answer{Output: output}
}
