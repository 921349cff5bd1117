package screen

import (
	"fmt"
	"image"
	"image/color"
	"image/draw"
	"math"
	"strings"
	"unicode"

	"golang.org/x/image/font"
	"golang.org/x/image/font/gofont/gobold"
	"golang.org/x/image/font/gofont/goregular"
	"golang.org/x/image/font/opentype"
	"golang.org/x/image/math/fixed"
	"golang.org/x/image/vector"
)

// Painter holds the fonts. It is safe for concurrent use.
type Painter struct {
	regular, bold *opentype.Font
}

// NewPainter reads the fonts, which are part of the program.
func NewPainter() (*Painter, error) {
	regular, err := opentype.Parse(goregular.TTF)
	if err != nil {
		return nil, fmt.Errorf("screen: font: %w", err)
	}
	bold, err := opentype.Parse(gobold.TTF)
	if err != nil {
		return nil, fmt.Errorf("screen: font: %w", err)
	}
	return &Painter{regular: regular, bold: bold}, nil
}

// canvas draws in units that are pixels of a display 1080 high, so that every
// size of display looks alike.
type canvas struct {
	img  *image.RGBA
	area image.Rectangle
	unit float64
	*Painter
}

func (p *Painter) canvas(img *image.RGBA, area image.Rectangle) *canvas {
	unit := min(float64(area.Dy())/1080, float64(area.Dx())/1600)
	return &canvas{img: img, area: area, unit: unit, Painter: p}
}

// width and height of the area in units.
func (c *canvas) width() float64  { return float64(c.area.Dx()) / c.unit }
func (c *canvas) height() float64 { return float64(c.area.Dy()) / c.unit }

// gradient fills the whole area from top to bottom.
func (c *canvas) gradient(top, bottom color.RGBA) {
	h := float64(max(c.area.Dy()-1, 1))
	for y := range c.area.Dy() {
		line := image.Rect(c.area.Min.X, c.area.Min.Y+y, c.area.Max.X, c.area.Min.Y+y+1)
		draw.Draw(c.img, line, image.NewUniform(mix(top, bottom, float64(y)/h)), image.Point{}, draw.Src)
	}
}

func mix(a, b color.RGBA, t float64) color.RGBA {
	part := func(x, y uint8) uint8 { return uint8(math.Round(float64(x) + (float64(y)-float64(x))*t)) }
	return color.RGBA{part(a.R, b.R), part(a.G, b.G), part(a.B, b.B), part(a.A, b.A)}
}

// fill paints the path that trace draws, in units, as far as it lies in the box.
func (c *canvas) fill(col color.Color, x, y, w, h float64, trace func(*path)) {
	box := image.Rect(int(math.Floor(x*c.unit)), int(math.Floor(y*c.unit)),
		int(math.Ceil((x+w)*c.unit)), int(math.Ceil((y+h)*c.unit))).Add(c.area.Min).Intersect(c.area)
	if box.Empty() {
		return
	}
	r := vector.NewRasterizer(box.Dx(), box.Dy())
	origin := box.Min.Sub(c.area.Min)
	trace(&path{r, c.unit, float64(origin.X), float64(origin.Y)})
	r.Draw(c.img, box, image.NewUniform(col), image.Point{})
}

// path takes units and knows which pixel is the rasterizer's first.
type path struct {
	r          *vector.Rasterizer
	unit, x, y float64
}

func (p *path) at(x, y float64) (float32, float32) {
	return float32(x*p.unit - p.x), float32(y*p.unit - p.y)
}

func (p *path) move(x, y float64) { p.r.MoveTo(p.at(x, y)) }
func (p *path) line(x, y float64) { p.r.LineTo(p.at(x, y)) }
func (p *path) curve(ax, ay, bx, by, x, y float64) {
	a1, a2 := p.at(ax, ay)
	b1, b2 := p.at(bx, by)
	c1, c2 := p.at(x, y)
	p.r.CubeTo(a1, a2, b1, b2, c1, c2)
}

// rounded fills a rectangle with round corners.
func (c *canvas) rounded(col color.Color, x, y, w, h, radius float64) {
	const k = 0.5523 // how far a cubic curve's handles are from a quarter circle's ends
	r, o := radius, radius*(1-k)
	c.fill(col, x, y, w, h, func(p *path) {
		p.move(x+r, y)
		p.line(x+w-r, y)
		p.curve(x+w-o, y, x+w, y+o, x+w, y+r)
		p.line(x+w, y+h-r)
		p.curve(x+w, y+h-o, x+w-o, y+h, x+w-r, y+h)
		p.line(x+r, y+h)
		p.curve(x+o, y+h, x, y+h-o, x, y+h-r)
		p.line(x, y+r)
		p.curve(x, y+o, x+o, y, x+r, y)
		p.r.ClosePath()
	})
}

func (c *canvas) circle(col color.Color, x, y, radius float64) {
	c.rounded(col, x-radius, y-radius, 2*radius, 2*radius, radius)
}

// style is how text looks; size is in units.
type style struct {
	size float64
	bold bool
	col  color.Color
}

// face never fails for the fonts above; a nil face draws nothing.
func (c *canvas) face(s style) font.Face {
	f := c.regular
	if s.bold {
		f = c.bold
	}
	face, err := opentype.NewFace(f, &opentype.FaceOptions{Size: max(s.size*c.unit, 4), DPI: 72, Hinting: font.HintingFull})
	if err != nil {
		return nil
	}
	return face
}

// text writes at most width units, anchored left (0), centre (0.5) or right (1)
// of x, and returns the width in units it took.
func (c *canvas) text(s style, message string, x, baseline, width, anchor float64) float64 {
	face := c.face(s)
	if face == nil {
		return 0
	}
	defer face.Close()
	message = shorten(face, printable(message), fixed.Int26_6(width*c.unit*64))
	took := float64(font.MeasureString(face, message)) / 64
	d := font.Drawer{Dst: c.img, Src: image.NewUniform(s.col), Face: face, Dot: fixed.Point26_6{
		X: fixed.Int26_6((float64(c.area.Min.X) + x*c.unit - took*anchor) * 64),
		Y: fixed.Int26_6((float64(c.area.Min.Y) + baseline*c.unit) * 64),
	}}
	d.DrawString(message)
	return took / c.unit
}

// printable bounds what strangers put into names.
func printable(s string) string {
	s = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '·'
		}
		return r
	}, s)
	if runes := []rune(s); len(runes) > 300 {
		return string(runes[:300])
	}
	return s
}

func shorten(face font.Face, s string, width fixed.Int26_6) string {
	if font.MeasureString(face, s) <= width {
		return s
	}
	runes := []rune(s)
	for n := len(runes) - 1; n > 0; n-- {
		if short := string(runes[:n]) + "…"; font.MeasureString(face, short) <= width {
			return short
		}
	}
	return ""
}
