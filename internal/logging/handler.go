package logging

import (
	"context"
	"log/slog"
)

// ComponentKey is the attribute that names the part of the program that logs, as in
// logger.With(logging.ComponentKey, "http/rest"). It has its own place in a line.
const ComponentKey = "component"

// Line is one event, ready to be laid out.
type Line struct {
	Record    slog.Record
	Component string
	Attrs     []byte // " key=value key=value", escaped
}

// handler lays lines out in the caller's goroutine and queues them.
type handler struct {
	queue     *queue
	level     slog.Leveler
	layout    Layout
	component string
	attrs     []byte // of With, laid out once
	group     string // "outer.inner." of WithGroup
}

// Enabled implements slog.Handler.
func (h *handler) Enabled(_ context.Context, level slog.Level) bool {
	return level >= h.level.Level()
}

// Handle implements slog.Handler. It never waits and never fails.
func (h *handler) Handle(_ context.Context, r slog.Record) error {
	line := Line{Record: r, Component: h.component, Attrs: h.attrs[:len(h.attrs):len(h.attrs)]}
	r.Attrs(func(a slog.Attr) bool {
		line.Attrs = h.append(line.Attrs, h.group, a, &line.Component)
		return len(line.Attrs) <= maxLineLen
	})
	h.queue.put(finish(h.layout(make([]byte, 0, 256), line)))
	return nil
}

// WithAttrs implements slog.Handler.
func (h *handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	next := *h
	next.attrs = h.attrs[:len(h.attrs):len(h.attrs)]
	for _, a := range attrs {
		next.attrs = next.append(next.attrs, h.group, a, &next.component)
	}
	return &next
}

// WithGroup implements slog.Handler.
func (h *handler) WithGroup(name string) slog.Handler {
	if name == "" {
		return h
	}
	next := *h
	next.group += name + "."
	return &next
}

func (h *handler) append(buf []byte, prefix string, a slog.Attr, component *string) []byte {
	a.Value = a.Value.Resolve()
	switch {
	case a.Equal(slog.Attr{}):
		return buf
	case a.Value.Kind() == slog.KindGroup:
		if a.Key != "" {
			prefix += a.Key + "."
		}
		for _, member := range a.Value.Group() {
			buf = h.append(buf, prefix, member, component)
		}
		return buf
	case prefix == "" && a.Key == ComponentKey:
		*component = a.Value.String()
		return buf
	}
	buf = append(buf, ' ')
	buf = appendKey(buf, prefix+a.Key)
	buf = append(buf, '=')
	return appendValue(buf, a.Value)
}

// finish cuts a line that is too long and ends it.
func finish(line []byte) []byte {
	const mark = "...(cut)\n"
	if len(line) > maxLineLen-len(mark) {
		return append(line[:maxLineLen-len(mark)], mark...)
	}
	return append(line, '\n')
}
