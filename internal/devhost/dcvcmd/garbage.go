package dcvcmd

import (
	"bytes"
	"fmt"
	"io"
)

const hugeOutput = 64 << 20 // bytes

// writeGarbage prints nonsense where the output was expected.
func writeGarbage(w io.Writer, form string, output []byte) error {
	var nonsense io.Reader
	switch form {
	case "empty":
		return nil
	case "truncated":
		nonsense = bytes.NewReader(output[:len(output)/2])
	case "binary":
		nonsense = bytes.NewReader([]byte{0xff, 0x00, 0xfe, '{', 0x80, '\n', 0xc0, '"', 0x1b, '[', '2', 'J'})
	case "huge":
		nonsense = io.LimitReader(repeated('['), hugeOutput)
	default:
		nonsense = bytes.NewReader([]byte("Segmentation fault (core dumped)\n{ \"id\" : [\n"))
	}
	if _, err := io.Copy(w, nonsense); err != nil {
		return fmt.Errorf("dcv: write result: %w", err)
	}
	return nil
}

// repeated is an endless run of one byte.
type repeated byte

// Read fills p.
func (r repeated) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = byte(r)
	}
	return len(p), nil
}
