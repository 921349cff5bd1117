package main

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// written prints with a console whose output is a file and returns what was written.
func written(t *testing.T, set func(*console), print func(*console)) string {
	t.Helper()
	file, err := os.Create(filepath.Join(t.TempDir(), "output"))
	require.NoError(t, err)
	defer file.Close()
	c := newConsole(file, func(string) string { return "" })
	set(c)
	print(c)
	text, err := os.ReadFile(file.Name())
	require.NoError(t, err)
	return string(text)
}

func TestConsole_IsPlainWithoutATerminal(t *testing.T) {
	t.Parallel()
	text := written(t, func(*console) {}, func(c *console) {
		c.title(1, 9, "A step")
		c.command("bin/dcvsm create-session", "--name x")
		c.showWaiting("the broker", 7*time.Second)
		c.answer("done", 1234*time.Millisecond)
	})
	require.Equal(t, "\n 1/9 A step\n"+
		"      $ bin/dcvsm create-session \\\n          --name x\n"+
		"      ... waiting for the broker, 7 s\n"+
		"      => done (1.2 s)\n", text)
}

func TestConsole_DrawsOverItsProgress(t *testing.T) {
	t.Parallel()
	text := written(t, func(c *console) { c.terminal = true }, func(c *console) {
		c.showWaiting("the broker", time.Second)
		c.note("ready")
	})
	require.Equal(t, "\r\x1b[K      ... waiting for the broker, 1 s\r\x1b[K      ready\n", text)
}

func TestConsole_ColoursCanBeRefused(t *testing.T) {
	t.Parallel()
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0) // a character device, as a terminal is
	require.NoError(t, err)
	defer null.Close()
	for variable, colours := range map[string]bool{"NO_COLOR": false, "OTHER": true} {
		c := newConsole(null, func(name string) string {
			if name == variable {
				return "1"
			}
			return ""
		})
		require.Equal(t, colours, c.colours, variable)
		require.True(t, c.terminal)
	}
	c := newConsole(null, func(name string) string { return map[string]string{"TERM": "dumb"}[name] })
	require.False(t, c.colours)
}
