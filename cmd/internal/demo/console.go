package main

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"
)

// Time after which a person wonders whether anything happens, and after which a
// log file's reader does.
const (
	patience    = time.Second
	logPatience = 5 * time.Second
)

const indent = "      "

// style is how a terminal shows a text.
type style string

const (
	plain style = ""
	bold  style = "1"
	dim   style = "2"
	red   style = "31"
	green style = "32"
)

// console prints for a person: with colours and a moving progress line on a
// terminal, plain lines elsewhere. It is safe for concurrent use.
type console struct {
	stdout   *os.File
	terminal bool // progress may be drawn over
	colours  bool

	mu       sync.Mutex
	progress bool // the cursor stands in a progress line
}

func newConsole(out *os.File, getenv func(string) string) *console {
	info, err := out.Stat()
	terminal := err == nil && info.Mode()&os.ModeCharDevice != 0 && getenv("TERM") != "dumb"
	return &console{stdout: out, terminal: terminal, colours: terminal && getenv("NO_COLOR") == ""}
}

// in returns a text in a style.
func (c *console) in(s style, text string) string {
	if !c.colours || s == plain {
		return text
	}
	return "\x1b[" + string(s) + "m" + text + "\x1b[0m"
}

func (c *console) print(format string, arguments ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.erase()
	fmt.Fprintf(c.stdout, format+"\n", arguments...)
}

// erase takes the progress line away; the caller holds mu.
func (c *console) erase() {
	if c.progress {
		fmt.Fprint(c.stdout, "\r\x1b[K")
		c.progress = false
	}
}

// command shows what a person would type; more lines continue the first.
func (c *console) command(line string, more ...string) {
	text := "$ " + strings.Join(append([]string{line}, more...), " \\\n"+indent+"    ")
	for part := range strings.SplitSeq(text, "\n") {
		c.print("%s", c.in(dim, indent+strings.TrimPrefix(part, indent)))
	}
}

// note prints a line that belongs to the current step.
func (c *console) note(format string, arguments ...any) {
	c.print(indent+format, arguments...)
}

// title opens a step.
func (c *console) title(number, of int, text string) {
	c.print("\n%s %s", c.in(dim, fmt.Sprintf("%2d/%d", number, of)), c.in(bold, text))
}

// answer closes a step.
func (c *console) answer(text string, took time.Duration) {
	c.print(indent+"%s %s", c.in(green, "=> "+text), c.in(dim, "("+seconds(took)+")"))
}

// waiting says what is waited for, until the returned function is called.
func (c *console) waiting(what string) (done func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var shown sync.WaitGroup
	shown.Go(func() {
		start := time.Now()
		every := logPatience
		if c.terminal {
			every = patience
		}
		tick := time.NewTicker(every)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				c.showWaiting(what, time.Since(start))
			}
		}
	})
	return func() {
		cancel()
		shown.Wait()
		c.mu.Lock()
		defer c.mu.Unlock()
		c.erase()
	}
}

func (c *console) showWaiting(what string, since time.Duration) {
	text := fmt.Sprintf("%s... waiting for %s, %.0f s", indent, what, since.Seconds())
	if !c.terminal {
		c.print("%s", text)
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	fmt.Fprint(c.stdout, "\r\x1b[K", c.in(dim, text))
	c.progress = true
}

// failure prints why the demonstration ended early.
func (c *console) failure(err error) {
	head, rest, _ := strings.Cut(err.Error(), "\n")
	c.print("\n%s", c.in(red, head))
	if rest != "" {
		c.print("%s", rest)
	}
}

// seconds is a time as a person says it.
func seconds(d time.Duration) string {
	if d < time.Second {
		return fmt.Sprintf("%d ms", max(1, d.Milliseconds()))
	}
	return fmt.Sprintf("%.1f s", d.Seconds())
}
