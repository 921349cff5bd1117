package listen

import (
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"

	"github.com/valyala/fasthttp"
)

// Admission is what a port takes of a request's body, decided by the header alone.
type Admission struct {
	// MaxBytes bounds the body; a larger one is answered 413. 0 takes none of it:
	// the handler is called without it and has to refuse (see Withheld).
	MaxBytes int
	// Anonymous: the header does not say who sends it. All such bodies together
	// get an eighth of Config.MaxBodiesBytes, so that they leave room for the rest.
	Anonymous bool
}

const (
	// prefetched is what the HTTP library reads of a body with a length before it
	// calls the handler. So much costs no more than the header's buffer and is not
	// counted.
	prefetched = 8 << 10
	// growth is by how much a buffer that is full becomes larger.
	growth = 4
	// anonymousShare is the part of MaxBodiesBytes for Admission.Anonymous.
	anonymousShare = 8
)

// headerWithheld marks a request whose body stays where it is. A client that sends it
// refuses its own body, and that is all.
const headerWithheld = "Broker-Body-Withheld"

// Values of headerWithheld.
const (
	withheldTooLarge = "too-large"
	withheldRefused  = "refused"
)

// errFull: bodies that are being received or worked on take all the room there is.
var errFull = errors.New("listen: no room for another request body")

// Withheld says that a request announced a body that nobody has read: its
// Admission said 0. Whatever the handler answers, the connection ends after it.
func Withheld(rc *fasthttp.RequestCtx) bool {
	return len(rc.Request.Header.Peek(headerWithheld)) > 0
}

// bodies reads the request bodies of a port, once it is known that they may be sent.
type bodies struct {
	admit func(*fasthttp.RequestHeader) Admission
	most  int   // of one request, in bytes
	room  int64 // of all of them
	held  atomic.Int64
	small sync.Pool // *[]byte of prefetched bytes: larger ones are left to the collector
}

func newBodies(cfg Config) *bodies {
	b := &bodies{admit: cfg.Admit, most: cfg.MaxBodyBytes, room: cfg.MaxBodiesBytes}
	b.small.New = func() any { buffer := make([]byte, 0, prefetched); return &buffer }
	return b
}

// look sees a header before anything of the body is asked for. A body that is not
// wanted is taken off the request, so that nothing waits for it: no "100 Continue",
// no byte read, and the connection ends with the answer.
func (b *bodies) look(h *fasthttp.RequestHeader) {
	length := h.ContentLength() // -1: chunked, below: none
	if length == 0 || length < -1 {
		return
	}
	switch {
	case length > b.most:
		withhold(h, withheldTooLarge)
	default:
		if most := b.admission(h).MaxBytes; most <= 0 {
			withhold(h, withheldRefused)
		} else if length > most {
			withhold(h, withheldTooLarge)
		}
	}
}

func withhold(h *fasthttp.RequestHeader, why string) {
	h.Set(headerWithheld, why)
	h.SetContentLength(0)
	h.Del(fasthttp.HeaderExpect)
	h.SetConnectionClose()
}

func (b *bodies) admission(h *fasthttp.RequestHeader) Admission {
	if b.admit == nil {
		return Admission{MaxBytes: b.most, Anonymous: true}
	}
	a := b.admit(h)
	a.MaxBytes = min(a.MaxBytes, b.most)
	return a
}

// reading gives next requests whose body is complete, and answers those where it
// does not become so. The body lives as long as next runs.
func (b *bodies) reading(next fasthttp.RequestHandler) fasthttp.RequestHandler {
	return func(rc *fasthttp.RequestCtx) {
		switch string(rc.Request.Header.Peek(headerWithheld)) {
		case "":
			b.withBody(rc, next)
		case withheldTooLarge:
			transportError(rc, fasthttp.ErrBodyTooLarge)
			abandon(rc)
		default:
			rc.Request.SetBodyRaw(nil)
			next(rc)
			abandon(rc)
		}
	}
}

func (b *bodies) withBody(rc *fasthttp.RequestCtx, next fasthttp.RequestHandler) {
	stream := rc.Request.BodyStream()
	if stream == nil {
		next(rc)
		return
	}
	buffer := b.small.Get().(*[]byte)
	got := &body{from: b, bytes: (*buffer)[:0], length: rc.Request.Header.ContentLength(), most: prefetched}
	defer func() {
		rc.Request.SetBodyRaw(nil)
		b.held.Add(-got.counted)
		b.small.Put(buffer)
	}()
	if got.length < 0 || got.length > prefetched { // a shorter one was looked at and is here
		a := b.admission(&rc.Request.Header)
		if a.MaxBytes <= 0 { // the answer has changed since
			withhold(&rc.Request.Header, withheldRefused)
			rc.Request.SetBodyRaw(nil)
			next(rc)
			abandon(rc)
			return
		}
		got.most, got.room = a.MaxBytes, b.room
		if a.Anonymous {
			got.room /= anonymousShare
		}
	}
	err := got.read(stream)
	if err == nil && got.length < 0 && cutOff(rc.Conn()) {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		transportError(rc, err)
		abandon(rc)
		return
	}
	rc.Request.SetBodyRaw(got.bytes)
	next(rc)
}

func cutOff(c net.Conn) bool {
	e, ok := c.(interface{ ended() bool })
	return ok && e.ended()
}

// body is one request's, as it arrives.
type body struct {
	from    *bodies
	bytes   []byte
	length  int   // as announced; -1 = chunked
	most    int   // see Admission.MaxBytes
	room    int64 // of all bodies for this one to be let in
	counted int64 // of them, in from.held
}

func (b *body) read(stream io.Reader) error {
	for len(b.bytes) != b.length {
		if len(b.bytes) == cap(b.bytes) {
			if err := b.grow(); err != nil {
				return err
			}
		}
		n, err := stream.Read(b.bytes[len(b.bytes):cap(b.bytes)])
		b.bytes = b.bytes[:len(b.bytes)+n]
		switch {
		case len(b.bytes) > b.most:
			return fasthttp.ErrBodyTooLarge
		case err == io.EOF && (b.length < 0 || len(b.bytes) == b.length):
			return nil
		case err == io.EOF: // the library does not tell a body that was cut off
			return io.ErrUnexpectedEOF
		case err != nil:
			return err
		}
	}
	return nil
}

// grow makes room as bytes arrive, never for what was only announced.
func (b *body) grow() error {
	size := min(growth*cap(b.bytes), b.most+1)
	if b.length >= 0 {
		size = min(size, b.length)
	}
	if !b.from.take(int64(size), b.room) {
		return errFull
	}
	b.bytes = append(make([]byte, 0, size), b.bytes...)
	b.from.held.Add(-b.counted)
	b.counted = int64(size)
	return nil
}

func (b *bodies) take(n, room int64) bool {
	if b.held.Add(n) > room {
		b.held.Add(-n)
		return false
	}
	return true
}
