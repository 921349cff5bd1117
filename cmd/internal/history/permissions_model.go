package history

import "github.com/anishathalye/porcupine"

// permissionsModel is the permissions file of one session on its host: a register,
// looked at on the host itself.
func permissionsModel() porcupine.Model {
	return porcupine.Model{
		Init: func() any { return "" },
		Step: func(state, input, _ any) (bool, any) {
			in := input.(step)
			if in.op.Kind == Peek {
				return state == in.op.Text, state
			}
			return true, in.op.Text
		},
		DescribeOperation: describe,
		DescribeState:     func(state any) string { return state.(string) },
	}
}
