package logging

import (
	"context"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
)

// The buffer's bounds: lines, and bytes of one line. Together they bound its memory.
const (
	maxQueued  = 4096
	maxLineLen = 16 << 10
)

// queue hands lines to one goroutine that writes them.
type queue struct {
	lines      chan []byte
	output     io.Writer
	dropped    atomic.Int64
	dropNotice func(int64) []byte // the line that reports dropped ones

	stopping chan struct{}
	stopOnce sync.Once
	done     chan struct{}
}

func newQueue(output io.Writer) *queue {
	q := &queue{
		lines: make(chan []byte, maxQueued), output: output,
		stopping: make(chan struct{}), done: make(chan struct{}),
	}
	go q.run()
	return q
}

// put never waits. The line belongs to the queue from now on.
func (q *queue) put(line []byte) {
	select {
	case <-q.stopping:
		q.dropped.Add(1)
		return
	default:
	}
	select {
	case q.lines <- line:
	default:
		q.dropped.Add(1)
	}
}

func (q *queue) run() {
	defer close(q.done)
	reported := int64(0)
	for {
		select {
		case line := <-q.lines:
			reported = q.write(line, reported)
		case <-q.stopping:
			q.drain(reported)
			return
		}
	}
}

func (q *queue) drain(reported int64) {
	for {
		select {
		case line := <-q.lines:
			reported = q.write(line, reported)
		default:
			return
		}
	}
}

// write writes one line, after a notice if lines were lost since the last one.
// A line that cannot be written is lost: there is nowhere to complain.
func (q *queue) write(line []byte, reported int64) int64 {
	if lost := q.dropped.Load(); lost > reported {
		if _, err := q.output.Write(q.dropNotice(lost - reported)); err == nil {
			reported = lost
		}
	}
	if _, err := q.output.Write(line); err != nil {
		q.dropped.Add(1)
	}
	return reported
}

// stop lets the goroutine write what is queued and waits for its end.
func (q *queue) stop(ctx context.Context) error {
	q.stopOnce.Do(func() { close(q.stopping) })
	select {
	case <-q.done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("logging: buffered lines not written: %w", ctx.Err())
	}
}
