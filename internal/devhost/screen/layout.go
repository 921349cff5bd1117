package screen

import (
	"errors"
	"fmt"
	"image"
	"regexp"
	"strconv"
	"strings"
)

// Bounds of a layout. The total area of 17 megapixels (two 4K screens) keeps a
// picture under 70 MB of memory.
const (
	MaxDisplays = 4
	maxLayout   = 17_000_000 // pixels, of the rectangle around all displays
	minSide     = 64
	maxSide     = 8192
	maxOffset   = 1 << 16
)

// ErrLayout reports a layout that cannot be understood or is out of bounds.
var ErrLayout = errors.New("screen: bad display layout")

// DefaultLayout is one full HD display.
func DefaultLayout() []image.Rectangle { return []image.Rectangle{image.Rect(0, 0, 1920, 1080)} }

// ParseLayout reads the descriptor of `dcv set-display-layout`: displays separated
// by commas, each `WxH`, `WxH+X+Y` or `WxH-X+Y`; the first is the primary one.
func ParseLayout(descriptor string) ([]image.Rectangle, error) {
	form := regexp.MustCompile(`^(\d{1,5})x(\d{1,5})(?:([+-]\d{1,5})([+-]\d{1,5}))?$`)
	parts := strings.SplitN(descriptor, ",", MaxDisplays+1)
	if len(parts) > MaxDisplays {
		return nil, fmt.Errorf("%w: more than %d displays", ErrLayout, MaxDisplays)
	}
	var all image.Rectangle
	displays := make([]image.Rectangle, 0, len(parts))
	for _, part := range parts {
		m := form.FindStringSubmatch(strings.TrimSpace(part))
		if m == nil {
			return nil, fmt.Errorf("%w: %.80q is not WIDTHxHEIGHT+X+Y", ErrLayout, part)
		}
		w, h, x, y := number(m[1]), number(m[2]), number(m[3]), number(m[4])
		if w < minSide || h < minSide || w > maxSide || h > maxSide || max(x, -x, y, -y) > maxOffset {
			return nil, fmt.Errorf("%w: %.80q is not within %d to %d pixels", ErrLayout, part, minSide, maxSide)
		}
		d := image.Rect(x, y, x+w, y+h)
		displays, all = append(displays, d), all.Union(d)
	}
	if all.Dx()*all.Dy() > maxLayout {
		return nil, fmt.Errorf("%w: larger than %d pixels in all", ErrLayout, maxLayout)
	}
	return displays, nil
}

// number reads what the form has checked; a missing offset is 0.
func number(s string) int {
	n, err := strconv.Atoi(s)
	if err != nil {
		return 0
	}
	return n
}

// FormatLayout is the inverse of ParseLayout.
func FormatLayout(displays []image.Rectangle) string {
	parts := make([]string, len(displays))
	for i, d := range displays {
		parts[i] = fmt.Sprintf("%dx%d%+d%+d", d.Dx(), d.Dy(), d.Min.X, d.Min.Y)
	}
	return strings.Join(parts, ",")
}
