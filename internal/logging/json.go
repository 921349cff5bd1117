package logging

import (
	"bytes"
	"fmt"
	"log/slog"
	"time"
)

// openJSON makes a log whose lines programs read.
func openJSON(o Options, q *queue, closeOutput func() error) *Log {
	q.dropNotice = func(n int64) []byte {
		return fmt.Appendf(nil, `{"time":%q,"level":"WARN","msg":"lines were dropped because they could not be written fast enough","lines":%d}`+"\n",
			time.Now().Format(time.RFC3339Nano), n)
	}
	handler := slog.NewJSONHandler(lines{q}, &slog.HandlerOptions{Level: o.Level})
	return &Log{logger: slog.New(handler), queue: q, close: closeOutput}
}

// lines queues what the handler writes: one line at a time, in a buffer it uses again.
type lines struct{ queue *queue }

// Write implements io.Writer. It never waits. A line that is too long cannot be cut
// and stay JSON: it is dropped and counted.
func (l lines) Write(line []byte) (int, error) {
	if len(line) > maxLineLen {
		l.queue.dropped.Add(1)
		return len(line), nil
	}
	l.queue.put(bytes.Clone(line))
	return len(line), nil
}
